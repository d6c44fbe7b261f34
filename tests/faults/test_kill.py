"""kill -9 at any moment, of the command line, the agent and the server.

Each of the three is killed at 200 random moments of publish, pull and switch. What must hold every time:
no acknowledged publish is lost, no consumer sees a mixture of versions, and what was interrupted resumes
or is cleaned up. Every file of a version says which version it is (tests/harness/versions.py), and a
watcher process reads the consumer's tree all the while.
"""

import json
import os
import random
import select
import shutil
import statistics
import subprocess
import time

import pytest

from tests.harness import trees, versions
from tests.harness.processes import DONE
from tests.harness.publications import Publications
from tests.harness.waiting import wait_until
from tests.harness.watcher import Watcher

KILLS = 200
SEED = 20260926


class Moments:
    """Random moments within an operation: a kill that comes too late tests nothing. How long it takes is
    measured undisturbed, at first and now and then in between, as machines grow slower and faster.
    `operation` carries it out and returns the seconds that it took."""

    MEASURED_EVERY = 10

    def __init__(self, seed: int, operation):
        self.random = random.Random(seed)
        self.operation = operation
        self.took = [operation() for _ in range(3)]
        self.asked = 0

    def next(self) -> float:
        self.asked += 1
        if self.asked % self.MEASURED_EVERY == 0:
            self.took.append(self.operation())
        return self.random.random() * statistics.median(self.took[-3:]) * 1.05


def kill_after(process: subprocess.Popen, delay_s: float) -> bool:
    """Kills a process that long after now. True if it was still running."""
    handle = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([handle], [], [], delay_s)
    finally:
        os.close(handle)
    if not ended:
        process.kill()
    process.wait()
    return not ended


def leftovers(world) -> list:
    """Files beside the pull's target that a pull may have left."""
    known = {"source", "target", "check", "store", "home", "report"}
    return [p.name for p in world.directory.iterdir() if p.name not in known and not p.name.endswith((".log", ".sock", "-root"))]


def test_a_command_goes_on_soon_after_its_server_is_back(world):
    source = trees.write(world.path("source"), {"a": "0"})
    world.cli.publish("data", source)
    for i in range(3):
        world.server.kill()
        trees.write(source, {"a": str(i + 1)})
        process = world.cli.start("publish", "data", source, "-o", "json")
        # It has tried and waits to try again.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        world.server.start()
        back = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert process.returncode == DONE, err
        # gRPC by itself looks after a connection that nobody waits for every five seconds.
        assert time.monotonic() - back < 3, out


def test_the_command_line_killed_in_publish_and_pull(world):
    published, cli = Publications(world), world.cli
    client, target = world.client(), world.path("target")

    def publish() -> float:
        started = time.monotonic()
        published.publish()
        return time.monotonic() - started

    def pull() -> float:
        published.publish()
        started = time.monotonic()
        cli.pull("data", target)
        return time.monotonic() - started

    publishing, pulling = Moments(SEED, publish), Moments(SEED + 1, pull)
    killed = shown = 0
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    for i in range(KILLS):
        if i % 2 == 0:
            delay_s = publishing.next()
            number, source = published.write_next()
            process = cli.start("publish", "data", source, "-o", "json", **quiet)
            killed += kill_after(process, delay_s)
            output = process.stdout.read()
            if output:
                # Acknowledged, whether or not it was killed on its way out.
                published.digests[number] = json.loads(output)["digest"]
                assert client.digest("data") == published.digests[number]
            else:
                assert process.returncode != DONE
        else:
            delay_s = pulling.next()
            held = versions.check(target)
            process = cli.start("pull", "data", target, "-o", "json", **quiet)
            killed += kill_after(process, delay_s)
            process.stdout.close()
            # A publish that was killed may have been committed all the same, though nobody was told.
            newest = max(published.digests)
            now = versions.check(target)
            assert now == held or newest <= now < published.next_version, f"{now} is neither {held} nor {newest} or newer"
            shown += now != held
        process.stdout.close()
    assert killed >= KILLS // 2, f"only {killed} of {KILLS} kills hit a running process"

    published.check_history()
    published.check_every_version_can_be_had(10)
    published.publish()
    cli.pull("data", target)
    assert versions.check(target) == max(published.digests)
    shutil.rmtree(world.path("check"), ignore_errors=True)
    assert leftovers(world) == [], "the next pull removed what the killed ones left"


def test_the_agent_killed_in_update_and_switch(world):
    published = Publications(world)
    first = published.publish()
    agent = world.new_agent("--subscribe", "data", name="agent").start("/readyz")
    link = agent.link("data")

    def update() -> float:
        # What a kill must hit begins with the publish that makes it; so the clock starts before that.
        started = time.monotonic()
        world.wait_active(agent, "data", published.publish())
        return time.monotonic() - started

    with Watcher(link, world.path("report")) as watcher:
        world.wait_active(agent, "data", first)
        moments = Moments(SEED + 2, update)
        for _ in range(KILLS):
            delay_s = moments.next()
            number, source = published.write_next()
            publish = world.cli.start("publish", "data", source, "-o", "json")
            time.sleep(delay_s)
            agent.kill()
            out, err = publish.communicate(timeout=60)
            assert publish.returncode == DONE, err
            published.digests[number] = json.loads(out)["digest"]
            assert versions.check(link.resolve()) in (number, number - 1, *published.digests)
            # It is serving what it had as soon as it is up; the next round kills it at another point of its start.
            agent.start(wait="")
        newest = max(published.digests)
        world.wait_active(agent, "data", published.digests[newest], timeout_s=60)
        report = watcher.finish()
    assert report["mixture"] is None, report["mixture"]
    assert report["looks"] > KILLS and report["versions"] == sorted(report["versions"]), "never back to an older one"
    assert report["versions"][-1] == newest
    assert versions.check(link.resolve()) == newest
    # After one undisturbed start nothing is left but what is kept.
    agent.kill()
    agent.start("/readyz")
    world.wait_active(agent, "data", published.digests[newest])
    wait_until(lambda: len(agent.snapshots("data")) <= 2, lambda: f"two versions are kept: {agent.snapshots('data')}")
    wait_until(lambda: not agent.staging(), lambda: f"staging is clean: {agent.staging()}")
    published.check_history()


def test_the_server_killed_in_publish_and_switch(world):
    published, server = Publications(world), world.server
    first = published.publish()
    agent = world.new_agent("--subscribe", "data", name="agent").start("/readyz")

    def update() -> float:
        started = time.monotonic()
        world.wait_active(agent, "data", published.publish())
        return time.monotonic() - started

    with Watcher(agent.link("data"), world.path("report")) as watcher:
        world.wait_active(agent, "data", first)
        moments = Moments(SEED + 3, update)
        acknowledged = 0
        for _ in range(KILLS):
            delay_s = moments.next()
            number, source = published.write_next()
            publish = world.cli.start("publish", "data", source, "-o", "json")
            time.sleep(delay_s)
            server.kill()
            server.start(wait="")
            out, err = publish.communicate(timeout=90)
            if publish.returncode == DONE:
                published.digests[number] = json.loads(out)["digest"]
                acknowledged += 1
                assert world.client().digest("data") == published.digests[number]
            else:
                assert not out, err
        assert acknowledged >= KILLS * 9 // 10, f"{acknowledged}: publishes go on once the server is back"
        newest = max(published.digests)
        world.wait_active(agent, "data", world.client().digest("data"), timeout_s=60)
        report = watcher.finish()
    assert report["mixture"] is None, report["mixture"]
    assert report["versions"][-1] >= newest
    published.check_history()
    published.check_every_version_can_be_had(10)
    # What killed writers left in the store under temporary names is gone after a start.
    server.terminate()
    server.start()
    temporary = [p for p in world.store_directory.rglob("*") if p.is_file() and "tmp" in p.name.lower()]
    assert len(temporary) < 5, temporary
