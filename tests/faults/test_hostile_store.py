"""What lies in the store was changed behind the server's back: it is found out, never activated, counted."""

import random

import pytest

from tests.harness import trees
from tests.harness.processes import DONE, FAILED, UNAVAILABLE, Cli
from tests.harness.waiting import wait_until


def objects(world, kind: str) -> list:
    return sorted(path for path in world.store_directory.rglob(f"*/{kind}/*") if path.is_file())


def restarted(world) -> Cli:
    """A server that remembers nothing, and a command line that remembers nothing."""
    world.server.terminate()
    world.server.start()
    return Cli(world.path("fresh"), world.server)


@pytest.fixture
def published(world):
    source = trees.make_varied(world.path("source"))
    world.cli.publish("data", source)
    return world


def truncate(path):
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before[: len(before) * 2 // 3])
    return before


def empty(path):
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"")
    return before


def append(path):
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before + b"more")
    return before


def remove(path):
    before = path.read_bytes()
    path.unlink()
    return before


def exchange(path):
    """A well-formed object of the same kind, but another one."""
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(OTHERS[path.parent.name])
    return before


OTHERS = {}


@pytest.mark.parametrize("harm", [trees.bits_flipped, truncate, empty, remove, exchange], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("kind", ["blocks", "manifests"])
def test_a_harmed_object_fails_the_pull_and_leaves_the_target(published, kind, harm):
    world = published
    if harm is exchange:
        world.cli.publish("other", trees.write(world.path("other"), {"x": "y" * 1000}))
        OTHERS[kind] = next(p for p in objects(world, kind) if "/other/" in str(p)).read_bytes()
    target = trees.write(world.path("target"), {"what was there": "stays"})
    path = next(p for p in objects(world, kind) if "/data/" in str(p))
    before = harm(path)
    cli = restarted(world)
    refused = cli.run("pull", "data", target)
    # A whole object that is gone cannot be told from one that was never there; the rest is corrupt.
    assert refused.status not in (DONE, UNAVAILABLE) if harm is remove else refused.status == FAILED, refused
    assert trees.read(target).keys() == {"what was there"}

    path.write_bytes(before)
    cli.pull("data", target)
    trees.assert_same(world.path("source"), target)


@pytest.mark.parametrize("harm", [trees.bits_flipped, truncate, empty, append], ids=lambda harm: harm.__name__)
def test_a_harmed_journal_entry_is_found_out(published, harm):
    world = published
    entry = objects(world, "journal")[0]
    before = harm(entry)
    cli = restarted(world)
    refused = cli.run("pull", "data", world.path("target"))
    assert refused.status == FAILED, refused
    assert "data" in refused.stderr
    assert not world.path("target").exists()
    # Nor is anything written behind it.
    source = trees.write(world.path("source"), {"a": "2"})
    assert cli.run("publish", "data", source).status != DONE
    assert len(objects(world, "journal")) == 1

    entry.write_bytes(before)
    restarted(world).pull("data", world.path("target"))


def test_a_harmed_checkpoint_does_not_hide_the_journal(world):
    for i in range(40):
        world.cli.publish("data", trees.write(world.path("source"), {"a": str(i)}))
    checkpoints = wait_until(lambda: objects(world, "checkpoints"), "a checkpoint was written")
    trees.bits_flipped(checkpoints[-1])
    cli = restarted(world)
    result = cli.run("pull", "data", world.path("target"))
    if result.status == DONE:
        # Read around it: the entries are all there.
        assert world.path("target/a").read_text() == "39"
    else:
        assert result.status == FAILED and not world.path("target").exists(), result


def test_an_agent_never_activates_what_was_tampered_with(published):
    world = published
    agent = world.new_agent("--subscribe", "data", name="agent").start("/readyz")
    first = world.client().digest("data")
    world.wait_active(agent, "data", first)
    # The news arrives while the agent is away; the block is harmed before it comes back.
    agent.terminate()
    added = random.Random(3).randbytes(150_000)
    (world.path("source") / "added").write_bytes(added)
    known = set(objects(world, "blocks"))
    second = world.cli.publish("data", world.path("source"))["digest"]
    (block,) = set(objects(world, "blocks")) - known
    before = trees.bits_flipped(block)
    restarted(world)
    agent.start("/readyz")
    client = world.client(agent)
    wait_until(lambda: client.subscription("data").error, "an error is told", 60)
    assert client.subscription("data").active_digest == first
    assert not (agent.link("data") / "added").exists()
    assert agent.metric("aetherfs_agent_integrity_failures_total") > 0, "counted"
    block.write_bytes(before)
    world.wait_active(agent, "data", second, timeout_s=90)
    assert (agent.link("data") / "added").read_bytes() == added


def test_bits_flipped_on_the_agents_own_disk_are_found_by_verify(published):
    world = published
    agent = world.new_agent("--subscribe", "data", name="agent").start("/readyz")
    world.wait_active(agent, "data", world.client().digest("data"))
    world.cli.run("verify", agent.link("data"), status=DONE)
    trees.bits_flipped(agent.link("data").resolve() / "random/64k+1")
    found = world.cli.run("verify", agent.link("data"), status=FAILED)
    assert "64k+1" in found.stdout + found.stderr
