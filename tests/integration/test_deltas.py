"""An update costs what really changed: deltas from the publisher's disk to every consumer's, by real processes."""

import random

import pytest

from tests.harness import trees
from tests.harness.processes import DONE
from tests.harness.waiting import wait_until

LINES = 40_000
CHANGED_LINES = 30


def write_version(world, number: int):
    """A table of two megabytes; every version has some other lines, all over the file."""
    rng = random.Random(1)
    lines = [f"{i:08},{rng.getrandbits(64):016x},place {rng.randrange(1000)}\n" for i in range(LINES)]
    for version in range(2, number + 1):
        for k in range(CHANGED_LINES):
            i = (version * 977 + k * (LINES // CHANGED_LINES)) % LINES
            lines[i] = f"{i:08},changed in version {version},place {k}\n"
    files = {"table.csv": "".join(lines), "same.bin": random.Random(2).randbytes(200_000), "VERSION": f"{number}\n"}
    return trees.write(world.path("source"), files)


def publish(world, number: int, *flags):
    return world.cli.publish("data", write_version(world, number), *flags)


def chunk_bytes(world, old: str, new: str) -> int:
    """What the step costs without deltas."""
    return world.cli.json("diff", f"data@{old}", f"data@{new}")["download_bytes"]


def stored_deltas(world) -> list:
    return sorted(path for path in world.store_directory.rglob("*/deltas/*") if path.is_file())


def test_an_update_is_received_as_a_delta(any_world):
    world = any_world
    first = publish(world, 1)
    assert first["delta_bytes"] == 0
    world.cli.pull("data", world.path("target"))
    agent = world.new_agent("--subscribe", "data").start("/readyz")
    world.wait_active(agent, "data", first["digest"])

    second = publish(world, 2)
    by_chunks = chunk_bytes(world, first["digest"], second["digest"])
    assert 0 < second["delta_bytes"] < by_chunks / 20

    pulled = world.cli.pull("data", world.path("target"))
    assert pulled["digest"] == second["digest"]
    assert pulled["delta_bytes"] == second["delta_bytes"] and pulled["delta_failures"] == 0
    assert pulled["downloaded_bytes"] == pulled["delta_bytes"] and pulled["requests"] == 1
    trees.assert_same(world.path("source"), world.path("target"))

    status = world.wait_active(agent, "data", second["digest"])
    assert status.last_update.delta_bytes == second["delta_bytes"]
    assert status.last_update.downloaded_bytes == second["delta_bytes"]
    assert status.last_update.reused_bytes >= 200_000
    told = world.cli.json("status", "--agent", agent.address)
    assert f"'delta_bytes': {second['delta_bytes']}" in str(told)
    assert agent.metric("aetherfs_agent_delta_failures_total") == 0
    trees.assert_same(world.path("source"), agent.link("data").resolve(), modes=False)


def test_a_consumer_some_versions_behind_gets_a_chain(any_world):
    world = any_world
    first = publish(world, 1)
    world.cli.pull("data", world.path("target"))
    agent = world.new_agent("--subscribe", "data").start("/readyz")
    world.wait_active(agent, "data", first["digest"])
    assert agent.terminate() == 0

    steps = [publish(world, number) for number in (2, 3, 4)]
    last = steps[-1]["digest"]
    chain = sum(step["delta_bytes"] for step in steps)
    update = world.cli.json("diff", f"data@{first['digest']}", "data")["update"]
    assert update["by"] == "deltas" and update["deltas"] == 3 and update["delta_bytes"] == chain
    assert chain < update["block_bytes"] / 20

    pulled = world.cli.pull("data", world.path("target"))
    assert pulled["digest"] == last and pulled["delta_failures"] == 0
    assert pulled["delta_bytes"] == chain
    assert pulled["downloaded_bytes"] == chain and pulled["requests"] == 3
    trees.assert_same(world.path("source"), world.path("target"))
    assert [path.name for path in world.directory.iterdir() if ".target" in path.name] == [], "nothing is left over"

    agent.start("/readyz")
    status = world.wait_active(agent, "data", last)
    assert status.last_update.delta_bytes == chain
    assert status.last_update.downloaded_bytes == chain
    trees.assert_same(world.path("source"), agent.link("data").resolve(), modes=False)
    assert agent.staging() == []
    # Back to where it came from there is no delta; it is still on disk.
    world.cli.run("pin", "--agent", agent.address, "data", first["digest"], status=DONE)
    world.wait_active(agent, "data", first["digest"])


def test_diff_log_and_inspect_tell_how_large_an_update_is(world):
    first, second = publish(world, 1), publish(world, 2)
    (delta,) = world.client().history("data")[0].publication.deltas
    assert delta.size + delta.parts_size == second["delta_bytes"]
    sent = second["delta_bytes"]
    size = f"{sent} B" if sent < 1024 else f"{sent / 1024:.1f} KiB"
    line = f"from {first['digest'].removeprefix('sha256:')[:12]} {size}"
    assert f"delta {line}" in world.cli.run("log", "data", status=DONE).stdout
    assert line in world.cli.run("inspect", "data", status=DONE).stdout
    step = world.cli.run("diff", f"data@{first['digest']}", "data", status=DONE).stdout
    assert f"to receive: {size} as a delta" in step
    back = world.cli.run("diff", "data", f"data@{first['digest']}", status=DONE).stdout
    assert "in blocks" in back and "delta" not in back
    update = world.cli.json("diff", f"data@{first['digest']}", "data")["update"]
    assert update["delta_bytes"] == second["delta_bytes"]


def test_a_publish_without_deltas_is_fetched_in_blocks(world):
    first = publish(world, 1)
    world.cli.pull("data", world.path("target"))
    second = publish(world, 2, "--no-delta")
    assert second["delta_bytes"] == 0
    pulled = world.cli.pull("data", world.path("target"))
    assert pulled["delta_bytes"] == 0
    assert pulled["downloaded_bytes"] >= chunk_bytes(world, first["digest"], second["digest"])
    trees.assert_same(world.path("source"), world.path("target"))


# Where a bit is flipped: in the head's first bytes, in its middle, and in the patches at the end.
@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_a_harmed_delta_is_done_without_and_counted(world, place):
    first = publish(world, 1)
    world.cli.pull("data", world.path("target"))
    agent = world.new_agent("--subscribe", "data").start("/readyz")
    world.wait_active(agent, "data", first["digest"])
    assert agent.terminate() == 0
    second = publish(world, 2)
    (delta,) = stored_deltas(world)
    trees.bits_flipped(delta, int(delta.stat().st_size * place))
    world.server.terminate()  # it has the delta in its cache
    world.server.start()

    finished = world.cli.run("pull", "data", world.path("target"), "-o", "json", status=DONE)
    assert finished.json["digest"] == second["digest"] and finished.json["delta_failures"] == 1
    assert "note: " in finished.stderr and "WARNING" not in finished.stderr
    trees.assert_same(world.path("source"), world.path("target"))

    agent.start("/readyz")
    world.wait_active(agent, "data", second["digest"])
    trees.assert_same(world.path("source"), agent.link("data").resolve(), modes=False)
    wait_until(
        lambda: agent.metric("aetherfs_agent_delta_failures_total") == 1,
        lambda: f"one failure: {agent.metric('aetherfs_agent_delta_failures_total')}",
    )


def test_a_missing_delta_is_done_without(world):
    publish(world, 1)
    world.cli.pull("data", world.path("target"))
    second = publish(world, 2)
    (delta,) = stored_deltas(world)
    delta.unlink()
    world.server.terminate()
    world.server.start()
    pulled = world.cli.pull("data", world.path("target"))
    assert pulled["digest"] == second["digest"] and pulled["delta_failures"] == 1
    trees.assert_same(world.path("source"), world.path("target"))


def test_a_target_that_was_changed_by_hand_becomes_the_version_all_the_same(world):
    publish(world, 1)
    world.cli.pull("data", world.path("target"))
    publish(world, 2)
    table = world.path("target/table.csv")
    table.write_text(table.read_text().replace("place 7\n", "PLACE 7\n"))
    world.cli.pull("data", world.path("target"))
    trees.assert_same(world.path("source"), world.path("target"))
