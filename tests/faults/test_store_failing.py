"""An S3 that answers with errors, cuts, lies and silence: a proxy in front of a real one."""

import random

import pytest

from tests.harness import trees
from tests.harness.api import stubs
from tests.harness.processes import DONE, FAILED, UNAVAILABLE, Cli
from tests.harness.proxy import Fault, FaultyProxy
from tests.harness.waiting import wait_until
from tests.harness.world import World


@pytest.fixture
def proxied(gateway):
    """A world whose server reaches S3 through a proxy that misbehaves on command."""
    with FaultyProxy(gateway.endpoint) as proxy, World.over(gateway, proxy.endpoint) as world:
        world.server
        yield world, proxy
        proxy.faults.clear()


def publish(world, text: str, **files) -> str:
    return world.cli.publish("data", trees.write(world.path("source"), {"a": text, **files}))["digest"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500, times=3),
        Fault("status", 503, "SlowDown", {"Retry-After": "1"}, times=2),
        Fault("status", 429, "TooManyRequests", times=2),
        Fault("refuse", times=3),
        Fault("cut", times=3),
        Fault("cut", method="PUT", after=True, times=2),
        Fault("status", 500, method="PUT", path="/journal/", after=True, times=1),
        Fault("refuse", method="PUT", path="/journal/", after=True, times=1),
        Fault("status", 409, "ConditionalRequestConflict", method="PUT", times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.method or 'any'}{'-answer-lost' if fault.after else ''}",
)
def test_passing_trouble_is_waited_out(proxied, fault):
    world, proxy = proxied
    proxy.faults.append(fault)
    digest = publish(world, "1", b="b" * 300_000)
    proxy.faults.clear()
    changes = world.client().history("data")
    assert [change.publication.snapshot.digest for change in changes] == [digest], "published once, not twice"
    world.cli.pull("data", world.path("target"))
    trees.assert_same(world.path("source"), world.path("target"))


def test_a_store_that_stays_away_fails_the_publish_clearly_and_reads_go_on(proxied):
    world, proxy = proxied
    first = publish(world, "1", b="b" * 300_000)
    world.cli.pull("data", world.path("warm"))
    proxy.faults.append(Fault("refuse"))
    source = trees.write(world.path("source"), {"a": "2"})
    refused = world.cli.run("publish", "data", source, status=UNAVAILABLE, timeout_s=150)
    assert refused.stderr.strip(), "it says why"

    # What the server knows it still serves, and says how old it is.
    cold = Cli(world.path("cold"), world.server)
    pulled = cold.pull("data", world.path("target"))
    assert pulled["digest"] == first
    trees.assert_same(world.path("warm"), world.path("target"))
    proxy.faults.clear()
    second = world.cli.publish("data", source)["digest"]
    assert world.client().digest("data") == second and second != first
    assert len(world.client().history("data")) == 2


def test_stale_answers_say_so(proxied):
    world, proxy = proxied
    publish(world, "1")
    request = stubs().dataset.LookupRequest(dataset="data", tag="latest")
    fresh = world.client().dataset.Lookup(request, timeout=20).freshness
    assert not fresh.stale
    proxy.faults.append(Fault("status", 500))

    def stale():
        return world.client().dataset.Lookup(request, timeout=60).freshness.stale

    wait_until(stale, "marked as stale", 90)
    proxy.faults.clear()
    wait_until(lambda: not stale(), "fresh again", 60)


def test_requests_that_can_never_succeed_are_not_repeated(proxied):
    world, proxy = proxied
    publish(world, "1")
    proxy.faults.append(Fault("status", 403, "AccessDenied", method="PUT"))
    source = trees.write(world.path("source"), {"a": "2"})
    refused = world.cli.run("publish", "data", source)
    assert refused.status not in (DONE, UNAVAILABLE), refused
    assert proxy.seen["PUT", "status"] <= 3, proxy.seen


def test_flipped_bits_are_never_pulled_and_are_counted(proxied):
    world, proxy = proxied
    source = trees.make_varied(world.path("source"))
    world.cli.publish("data", source)
    world.server.terminate()
    world.server.start()  # with nothing in its cache
    proxy.faults.append(Fault("corrupt", method="GET", path="/blocks/"))
    refused = world.cli.run("pull", "data", world.path("target"))
    assert refused.status == FAILED, refused
    assert not world.path("target").exists()
    assert "digest" in refused.stderr or "corrupt" in refused.stderr, refused
    assert world.server.metric("aetherfs_integrity_failures_total", 'source="client"') > 0, "counted"
    proxy.faults.clear()
    # The bad bytes are in no cache.
    world.cli.pull("data", world.path("target"))
    trees.assert_same(source, world.path("target"))


@pytest.mark.parametrize("kind", ["corrupt", "truncate"])
def test_bytes_that_are_wrong_once_are_fetched_again(proxied, kind):
    world, proxy = proxied
    source = trees.make_varied(world.path("source"))
    world.cli.publish("data", source)
    world.server.terminate()
    world.server.start()
    proxy.faults.append(Fault(kind, method="GET", path="/blocks/", times=1))
    world.cli.pull("data", world.path("target"))
    assert proxy.seen["GET", kind] == 1
    trees.assert_same(source, world.path("target"))


def test_an_agent_keeps_its_version_while_the_store_lies(proxied):
    world, proxy = proxied
    first = publish(world, "1")
    agent = world.new_agent("--subscribe", "data", name="agent").start("/readyz")
    world.wait_active(agent, "data", first)
    proxy.faults.append(Fault("corrupt", method="GET", path="/blocks/"))
    # Through another server, so that this one's cache does not have the new bytes already.
    other = world.new_server().start()
    source = trees.write(world.path("source"), {"a": random.Random(2).randbytes(100_000)})
    second = Cli(world.directory, other).publish("data", source)["digest"]
    client = world.client(agent)
    wait_until(lambda: client.subscription("data").error, lambda: f"an error is told: {client.subscription('data')}", 60)
    assert client.subscription("data").active_digest == first
    assert (agent.link("data") / "a").read_text() == "1"
    assert agent.metric("aetherfs_agent_integrity_failures_total") > 0, "counted"
    proxy.faults.clear()
    world.wait_active(agent, "data", second, timeout_s=90)


def test_a_store_that_ignores_create_if_absent_gets_no_publishes(gateway):
    class Forgetful(FaultyProxy):
        """Drops the header that makes a PUT conditional."""

        def forward(self, handler, body):
            del handler.headers["If-None-Match"]
            return super().forward(handler, body)

    with Forgetful(gateway.endpoint) as proxy, World.over(gateway, proxy.endpoint) as world:
        server = world.new_server().start(wait="")
        try:
            wait_until(lambda: server.get("/healthz")[0] == 200 or not server.running(), "up, or ended")
            if server.running():
                source = trees.write(world.path("source"), {"a": "1"})
                refused = Cli(world.directory, server).run("publish", "data", source)
                assert refused.status != DONE, refused
            log = server.log().lower()
            assert "absent" in log or "condition" in log or "if-none-match" in log, log
        finally:
            server.close()
