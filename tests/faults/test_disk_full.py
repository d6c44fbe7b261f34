"""A full disk, under the agent and under the store. Needs root: it mounts small file systems."""

import contextlib
import subprocess

import pytest

from tests.harness import trees
from tests.harness.processes import DONE, Cli
from tests.harness.waiting import wait_until


@contextlib.contextmanager
def small_disk(path, size: str):
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True)
    assert mounted.returncode == 0, f"these tests need the right to mount a tmpfs: {mounted.stderr}"
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def resize(path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", path], check=True)


def noise(world, mebibytes: int, seed: int):
    return trees.make_noise(world.path(f"source{seed}"), mebibytes, seed)


@pytest.fixture
def full_agent(world):
    """An agent on a disk of 16 MiB with a version of 2 MiB active."""
    with small_disk(world.path("disk"), "16m") as disk:
        first = world.cli.publish("data", noise(world, 2, 1))["digest"]
        agent = world.new_agent("--subscribe", "data", "--keep", "1", root=disk / "root", name="agent").start("/readyz")
        world.wait_active(agent, "data", first)
        yield agent, disk, first
        agent.close()


def test_an_agent_without_room_keeps_the_old_version_says_so_and_goes_on_by_itself(world, full_agent):
    agent, disk, first = full_agent
    second = world.cli.publish("data", noise(world, 24, 2))["digest"]
    client = world.client(agent)
    failing = wait_until(
        lambda: (found := client.subscription("data")).error and found, lambda: f"an error is told: {client.subscription('data')}"
    )
    assert failing.active_digest == first
    assert "MiB" in failing.error and "24" in failing.error, f"how much is needed: {failing.error}"
    trees.assert_same(world.path("source1"), agent.link("data").resolve())
    assert world.cli.run("status", "--agent", agent.address, status=DONE).stdout
    # Still ready: it has a version of everything that it declared.
    assert agent.get("/readyz")[0] == 200

    resize(disk, "64m")
    world.wait_active(agent, "data", second, timeout_s=90)
    trees.assert_same(world.path("source2"), agent.link("data").resolve())


def test_a_disk_that_fills_up_on_the_way_leaves_the_old_version(world, full_agent):
    agent, disk, first = full_agent
    # Somebody else takes the room that was there when the plan was made: nearly all of it.
    with open(disk / "somebody else", "wb") as file:
        file.write(bytes(9 << 20))
    second = world.cli.publish("data", noise(world, 8, 3))["digest"]
    client = world.client(agent)
    wait_until(lambda: client.subscription("data").error, "an error is told")
    assert client.subscription("data").active_digest == first
    trees.assert_same(world.path("source1"), agent.link("data").resolve())
    agent.kill()
    agent.start("/readyz")
    trees.assert_same(world.path("source1"), agent.link("data").resolve())
    (disk / "somebody else").unlink()
    world.wait_active(agent, "data", second, timeout_s=90)
    trees.assert_same(world.path("source3"), agent.link("data").resolve())


def test_pull_without_room_fails_clearly_and_leaves_the_target(world):
    with small_disk(world.path("disk"), "8m") as disk:
        world.cli.publish("data", noise(world, 2, 1), "-t", "small")
        world.cli.publish("data", noise(world, 24, 2), "-t", "large")
        cli = world.cli
        cli.pull("data:small", disk / "target")
        refused = cli.run("pull", "data:large", disk / "target")
        assert refused.status != DONE and "MiB" in refused.stderr, refused
        trees.assert_same(world.path("source1"), disk / "target")
        cli.run("pull", "data:small", disk / "fresh", status=DONE)


def test_a_full_store_refuses_publishes_and_goes_on_serving(world):
    with small_disk(world.path("disk"), "16m") as disk:
        server = world.new_server(store=f"file://{disk}/store").start()
        cli = Cli(world.directory, server)
        first = cli.publish("data", noise(world, 4, 1))["digest"]
        refused = cli.run("publish", "data", noise(world, 24, 2))
        assert refused.status != DONE and "space" in refused.stderr.lower(), refused
        assert world.client(server).digest("data") == first
        cli.pull("data", world.path("target"))
        trees.assert_same(world.path("source1"), world.path("target"))
        assert server.get("/readyz")[0] == 200

        resize(disk, "128m")
        second = cli.publish("data", world.path("source2"))["digest"]
        assert world.client(server).digest("data") == second
        server.close()
