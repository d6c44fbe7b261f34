"""Servers that keep parts on disk (--cache-dir, --cache-disk)."""

import subprocess

from tests.harness import trees
from tests.harness.processes import BIN, FAILED, USAGE, environment
from tests.harness.waiting import wait_until


def restarted(server):
    """With what is on its disk, and nothing in memory."""
    assert server.terminate() == 0
    server.start()
    wait_until(lambda: server.metric("aetherfs_disk_cache_scanning") == 0, "what is on disk is known")
    return server


def test_a_restarted_server_serves_from_disk_what_the_store_no_longer_has(world):
    source = trees.make_noise(world.path("source"), 12)
    server = world.new_server("--cache-dir", str(world.path("cache")), "--cache-disk", "256MiB").start()
    world._server = server
    world.cli.publish("data", source)
    restarted(server)  # what was just uploaded is in memory
    world.cli.pull("data", world.path("first"))
    restarted(server)
    for kind in ("blocks", "manifests"):
        (directory,) = world.store_directory.rglob(kind)
        directory.rename(world.path(f"{kind}-elsewhere"))
    world.cli.pull("data", world.path("second"))
    trees.assert_same(world.path("second"), source)
    assert server.metric("aetherfs_store_read_bytes_total") == 0
    assert server.metric("aetherfs_part_bytes_total", 'level="disk"') > 12 * 2**20


def test_a_killed_server_makes_use_of_what_it_wrote(world):
    source = trees.make_noise(world.path("source"), 12)
    server = world.new_server("--cache-dir", str(world.path("cache")), "--cache-disk", "256MiB").start()
    world._server = server
    world.cli.publish("data", source)
    restarted(server)
    world.cli.pull("data", world.path("first"))
    server.kill()
    server.start()
    world.cli.pull("data", world.path("second"))
    trees.assert_same(world.path("second"), source)
    assert server.metric("aetherfs_disk_cache_corrupt_total") == 0


def test_a_second_server_on_the_directory_is_refused(world):
    flags = ["--cache-dir", str(world.path("cache")), "--cache-disk", "64MiB"]
    world.new_server(*flags).start()
    refused = subprocess.run(
        [BIN / "aetherfs-server", "--store", "memory:", "--listen", "127.0.0.1:0", "--http-listen", "", *flags],
        capture_output=True, text=True, timeout=20, env=environment(world.directory)
    )
    assert refused.returncode == FAILED, refused
    assert f"--cache-dir: another server uses {world.path('cache')}" in refused.stderr, refused


def test_directory_and_size_go_together(world):
    for flags, named in (
        (["--cache-dir", str(world.path("cache"))], "--cache-disk"),
        (["--cache-disk", "1GiB"], "--cache-dir"),
        (["--cache-dir", str(world.path("cache")), "--cache-disk", "1MiB"], "64.0 MiB"),
    ):
        refused = subprocess.run(
            [BIN / "aetherfs-server", *flags], capture_output=True, text=True, timeout=20, env=environment(world.directory)
        )
        assert refused.returncode == USAGE, refused
        assert named in refused.stderr, refused
