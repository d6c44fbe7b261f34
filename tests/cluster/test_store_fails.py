"""Three servers over an S3 that is away, slow, fails requests, cuts answers short or flips their bits."""

import pytest

from tests.harness import trees
from tests.harness.cluster import Cluster
from tests.harness.processes import DONE, UNAVAILABLE
from tests.harness.proxy import Fault
from tests.harness.publications import Publications
from tests.harness.waiting import wait_until

AGENTS = 6
VERSIONS = 6
SIZE_MIB = 8


@pytest.fixture
def cluster(gateway):
    with Cluster(gateway=gateway) as made:
        yield made


def blow_wire(cluster):
    cluster.wire.cut()
    return cluster.wire.heal


def cut_cables(cluster):
    for server in cluster.servers:
        cluster.network.cut(server.host, cluster.store_host)
    return lambda: cluster.network.rejoin(cluster.store_host)


# Its length is not a time but what the product makes of it: all that has a patience of its own has lost it when
# the store comes back. A request to the store is tried 6 times within about 2 s where connections are refused, a
# connection that nobody answers is given up after 5 s, a journal is waited for 3 s before an old answer is given,
# and the publish has the patience that it is told. An outage of a minute would show nothing else.
@pytest.mark.parametrize("take_away", [blow_wire, cut_cables], ids=["connections-reset", "silence"])
def test_with_s3_gone_reads_go_on_publishes_are_refused_and_all_recovers(cluster, take_away):
    published = Publications(cluster)
    first = published.publish()
    agents = cluster.new_agents(AGENTS, "--subscribe", "data")
    cluster.wait_all_active(agents, "data", first)
    give_back = take_away(cluster)

    source = trees.write(cluster.path("refused"), {"text": "refused"})
    refused = cluster.cli_of(cluster.servers[0]).start("publish", "data", source, "--patience", "5s")
    # A consumer that comes now gets what the servers know.
    late = cluster.new_agents(1, "--subscribe", "data")[0]
    cluster.assert_all_hold([*agents, late], "data", published.newest)
    for server in cluster.servers:
        cluster.cli_of(server).run("pull", "data", cluster.path(f"warm-{server.name}"), "--patience", "20s", status=DONE)
        trees.assert_same(agents[0].link("data").resolve(), cluster.path(f"warm-{server.name}"))
    wait_until(lambda: cluster.total("aetherfs_server_stale_answers_total") > 0, "old answers are told as such")
    cluster.wait_formed()  # peers are not the store
    error = refused.communicate(timeout=60)[1]
    assert refused.returncode == UNAVAILABLE and error.strip(), f"refused with {refused.returncode}: {error}"

    give_back()
    second = published.publish()
    cluster.wait_all_active([*agents, late], "data", second)
    cluster.assert_all_hold([*agents, late], "data", published.newest)
    for server in cluster.servers:
        wait_until(lambda: len(cluster.history("data", server)) >= 2, f"{server.name} has caught up")
        published.check_history(server)


def test_a_slow_s3_is_waited_for(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    cluster.cli.publish("data", tree)
    cluster.restart_cold()
    cluster.s3.faults.append(Fault("slow", seconds=0.5))
    cluster.wire.throttle(4 << 20, "down")
    agents = cluster.new_agents(AGENTS, "--subscribe", "data")
    cluster.assert_all_hold(agents, "data", tree)
    newer = trees.make_noise(cluster.path("source"), 2, seed=2)
    digest = cluster.cli.publish("data", newer)["digest"]
    cluster.wait_all_active(agents, "data", digest)
    cluster.assert_all_hold(agents, "data", newer)
    assert cluster.s3.seen["GET", "slow"] and cluster.s3.seen["PUT", "slow"]


FAILING = [
    Fault("status", 500, share=0.1),
    Fault("status", 503, "SlowDown", share=0.1),
    Fault("status", 500, method="PUT", after=True, share=0.1),
]


def trouble(*faults):
    return [Fault(**{**fault.__dict__}) for fault in faults]


@pytest.mark.parametrize(
    "faults",
    [
        FAILING,
        [Fault("truncate", method="GET", share=0.2), Fault("cut", method="GET", share=0.2)],
        # So few blocks are read, each once for all agents, that a share of them might be none.
        [Fault("corrupt", method="GET", path="/blocks/", times=4)],
    ],
    ids=["a-fifth-fails", "bodies-cut-short", "flipped-bits"],
)
def test_with_an_s3_that_fails_now_and_then_every_version_arrives_whole(cluster, faults):
    tree = trees.make_noise(cluster.path("big"), SIZE_MIB)
    cluster.cli.publish("big", tree)
    published = Publications(cluster)
    published.publish()
    cluster.restart_cold()
    cluster.s3.faults.extend(trouble(*faults))
    agents = cluster.new_agents(AGENTS, "--subscribe", "data", "--subscribe", "big")
    cluster.assert_all_hold(agents, "big", tree)
    for i in range(VERSIONS):
        digest = published.publish(cluster.cli_of(cluster.servers[i % 3]))
        cluster.wait_all_active(agents, "data", digest)
        cluster.assert_all_hold(agents, "data", published.newest)
    harmed = sum(count for (_, kind), count in cluster.s3.seen.items() if kind != "passed")
    assert harmed > 3, cluster.s3.seen
    cluster.s3.faults.clear()
    # What was bad is in no cache, and the journal has every version once.
    for server in cluster.servers:
        cluster.cli_of(server).pull("big", cluster.path(f"after-{server.name}"))
        trees.assert_same(tree, cluster.path(f"after-{server.name}"))
        published.check_history(server)
        assert len(cluster.history("data", server)) == VERSIONS + 1, "published once, not twice"


def test_a_wire_to_s3_that_breaks_off_and_flips_bits_is_survived(cluster):
    tree = trees.make_noise(cluster.path("source"), SIZE_MIB)
    cluster.cli.publish("data", tree)
    cluster.restart_cold()
    cluster.wire.truncate(3 << 20)  # in the middle of a part
    cluster.wire.corrupt(5 << 20)
    agents = cluster.new_agents(AGENTS, "--subscribe", "data")
    cluster.assert_all_hold(agents, "data", tree)
    assert cluster.wire.counts()["harmed"] > 0
