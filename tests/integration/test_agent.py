"""What a sidecar does for its consumers and producers, on a local store and on S3."""

import ctypes
import json
import os
import socket
import stat
import struct

import grpc
import pytest

from tests.harness import trees
from tests.harness.api import stubs
from tests.harness.processes import CONFLICT, DONE, NOT_FOUND, USAGE, Cli
from tests.harness.waiting import wait_until


def publish(world, text: str, reference: str = "data", **files) -> str:
    """A version whose file `a` holds the text; its digest."""
    source = trees.write(world.path("source"), {"a": text, **files})
    return world.cli.publish(reference, source)["digest"]


def active_text(agent, reference: str = "data"):
    return (agent.link(reference) / "a").read_text()


def test_a_subscription_follows_every_version(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    link = agent.link("data")
    assert link.is_symlink() and not os.path.isabs(os.readlink(link)), "the symlink is relative"
    assert active_text(agent) == "1"
    for text in ("2", "3", "4"):
        world.wait_active(agent, "data", publish(world, text))
        assert active_text(agent) == text


def test_a_subscribed_tree_is_what_was_published(any_world):
    world = any_world
    source = trees.make_varied(world.path("source"))
    digest = world.cli.publish("data", source)["digest"]
    agent = world.new_agent("--subscribe", "data").start("/readyz")
    world.wait_active(agent, "data", digest)
    target = agent.link("data").resolve()
    trees.assert_same(source, target)
    writable = [p for p in target.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_mode & 0o222]
    assert not writable, "files are read-only"


def test_files_that_did_not_change_are_hard_links(world):
    first = publish(world, "1", b="x" * 100_000)
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    before = (agent.link("data") / "b").stat().st_ino
    status = world.wait_active(agent, "data", publish(world, "2", b="x" * 100_000))
    assert (agent.link("data") / "b").stat().st_ino == before
    assert status.last_update.reused_bytes >= 100_000
    assert status.last_update.downloaded_bytes < 50_000


def test_what_a_consumer_has_open_stays_as_it_was(world):
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    with open(agent.link("data") / "a") as opened:
        for text in ("2", "3", "4", "5"):
            world.wait_active(agent, "data", publish(world, text))
        assert opened.read() == "1"


def test_status_tells_and_watch_streams(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    text = world.cli.run("status", status=DONE).stdout
    assert "data" in text
    assert first in world.cli.run("status", "-o", "json", status=DONE).stdout

    watch = world.cli.start("watch", "data", "-o", "json")
    try:
        assert first in watch.stdout.readline()
        second = publish(world, "2")
        line = watch.stdout.readline()
        assert second in line
        json.loads(line)
    finally:
        watch.terminate()
        watch.communicate(timeout=20)


def test_pin_holds_and_unpin_goes_on(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    second = publish(world, "2")
    world.wait_active(agent, "data", second)

    world.cli.run("pin", "data", first, status=DONE)
    world.wait_active(agent, "data", first)
    third = publish(world, "3")
    # A second subscription that has the new version shows that the news came.
    other = world.new_agent("--subscribe", "data").start("/readyz")
    world.wait_active(other, "data", third)
    assert active_text(agent) == "1"
    assert world.client(agent).subscription("data").pinned_digest == first

    world.cli.run("unpin", "data", status=DONE)
    world.wait_active(agent, "data", third)


def test_a_pin_survives_a_restart(world):
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    world.cli.run("pin", "data", first, status=DONE)
    publish(world, "2")
    assert agent.terminate() == 0
    agent.start("/readyz")
    status = world.wait_active(agent, "data", first)
    assert status.pinned_digest == first and active_text(agent) == "1"


def test_pin_to_a_version_that_does_not_exist_is_3_and_changes_nothing(world):
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    world.cli.run("pin", "data", "sha256:" + "0" * 64, status=NOT_FOUND)
    assert active_text(agent) == "1"
    assert world.client(agent).subscription("data").pinned_digest == ""


def test_back_switches_at_once_also_with_the_server_away(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    world.wait_active(agent, "data", publish(world, "2"))
    world.server.terminate()
    world.cli.run("back", "data", status=DONE)
    assert active_text(agent) == "1"
    assert world.client(agent).subscription("data").pinned_digest == first


def test_only_as_many_versions_are_kept_as_asked(world):
    agent = world.new_agent("--keep", "3", "--subscribe", "data").start()
    digests = []
    for text in "123456":
        digests.append(publish(world, text))
        world.wait_active(agent, "data", digests[-1])
    # What is too many goes behind the switch.
    kept = lambda: list(world.client(agent).subscription("data").kept_digests)
    wait_until(lambda: kept() == digests[:-4:-1], lambda: f"the newest three, newest first: {kept()}")
    wait_until(lambda: len(agent.snapshots("data")) == 3, lambda: f"three are kept: {agent.snapshots('data')}")


def test_unsubscribe_stops_following(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    world.cli.run("unsubscribe", "data", status=DONE)
    assert world.client(agent).subscription("data") is None
    world.cli.run("unsubscribe", "data", status=NOT_FOUND)


def test_an_agent_restarted_without_any_server_serves_what_it_has(any_world):
    world = any_world
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    assert world.server.terminate() == 0
    assert agent.terminate() == 0
    agent.start("/readyz")
    assert active_text(agent) == "1"
    status = world.client(agent).subscription("data")
    assert status.active_digest == first

    world.server.start()
    world.wait_active(agent, "data", publish(world, "2"), timeout_s=60)


def test_an_agent_that_no_server_answers_says_so_once(world):
    with socket.create_server(("127.0.0.1", 0)) as away:
        away.settimeout(30)
        agent = world.new_agent("--subscribe", "data", servers="%s:%d" % away.getsockname())
        agent.start("/healthz")
        for _ in range(4):  # attempts, each cut off
            away.accept()[0].close()
        wait_until(lambda: "no server answers" in agent.log(), "the log says so")
        assert agent.log().count("no server answers") == 1, agent.log()


def test_an_agent_killed_at_rest_has_all_its_subscriptions_again(world):
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    agent.kill()
    agent.start("/readyz")
    world.wait_active(agent, "data", publish(world, "2"))


def test_readyz_waits_for_every_declared_subscription(world):
    world.server
    agent = world.new_agent("--subscribe", "data", "--subscribe", "data:stable").start()
    publish(world, "1")
    world.wait_active(agent, "data", world.client().digest("data"))
    assert agent.get("/healthz")[0] == 200
    assert agent.get("/readyz")[0] == 503, "data:stable is not there yet"
    world.cli.run("tag", "data", "stable", status=DONE)
    agent.wait_for("/readyz")


def test_a_subscription_may_come_before_its_dataset(any_world):
    world = any_world
    world.server
    agent = world.new_agent("--subscribe", "data").start()
    wait_until(lambda: world.client(agent).subscription("data"), "the subscription is known")
    world.wait_active(agent, "data", publish(world, "1"))


def subscribe(world, agent, **settings):
    message = stubs().agent.Subscription(**{"reference": "data", **settings})
    return world.client(agent).agent.Subscribe(stubs().agent.SubscribeRequest(subscription=message), timeout=60)


def test_include_and_exclude_choose_files(world):
    source = trees.write(
        world.path("source"), {"en/a.txt": "1", "en/b.bin": "2", "de/a.txt": "3", "fr/deep/a.txt": "4", "top.txt": "5"}
    )
    digest = world.cli.publish("data", source)["digest"]
    agent = world.agent
    subscribe(world, agent, include=["en", "**/a.txt"], exclude=["*/*.bin", "fr/**"])
    world.wait_active(agent, "data", digest)
    root = agent.link("data").resolve()
    files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    assert files == ["de/a.txt", "en/a.txt"]


def test_a_subscription_may_have_a_path_of_its_own(world):
    digest = publish(world, "1")
    agent = world.agent
    subscribe(world, agent, path="models/current")
    world.wait_active(agent, "data", digest)
    assert (agent.root / "models/current/a").read_text() == "1"


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", ".aetherfs/snapshots", "a/../../b"])
def test_a_path_outside_the_root_is_refused(world, path):
    publish(world, "1")
    agent = world.agent
    with pytest.raises(grpc.RpcError) as refused:
        subscribe(world, agent, path=path)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert path in refused.value.details() or "path" in refused.value.details()


def script(world, name: str, text: str):
    path = world.path(name)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_version_that_its_check_refuses_never_becomes_active(world):
    first = publish(world, "good 1")
    agent = world.agent
    # It runs in the staged directory, and is told its name.
    check = script(world, "check", 'test "$PWD" = "$AETHERFS_DIR" && exec grep -q good "$AETHERFS_DIR/a"\n')
    subscribe(world, agent, check=[str(check)])
    world.wait_active(agent, "data", first)
    second = publish(world, "bad 2")
    client = world.client(agent)
    wait_until(lambda: second in client.subscription("data").bad_digests, lambda: f"marked bad: {client.subscription('data')}")
    assert active_text(agent) == "good 1"
    third = publish(world, "good 3")
    world.wait_active(agent, "data", third)
    assert active_text(agent) == "good 3"


def test_notify_runs_after_every_switch(world):
    first = publish(world, "1")
    agent = world.agent
    seen = world.path("seen")
    notify = script(world, "notify", f'cat "{agent.link("data")}/a" >>{seen}; echo >>{seen}\n')
    subscribe(world, agent, notify=[str(notify)])
    world.wait_active(agent, "data", first)
    wait_until(lambda: seen.exists() and seen.read_text() == "1\n", "told of the first version")
    publish(world, "2")
    wait_until(lambda: seen.read_text() == "1\n2\n", lambda: f"told of the second version: {seen.read_text()}")


def test_a_second_agent_on_the_same_root_is_refused(world):
    agent = world.agent
    second = world.new_agent(root=agent.root).start(wait="")
    assert second.process.wait(30) not in (0, None)
    assert str(agent.root) in second.log()
    assert agent.running()


def test_the_socket_is_for_owner_and_group(world):
    mode = world.agent.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


def agent_publish(world, agent, path, **settings):
    request = stubs().agent.PublishRequest(reference="data", path=str(path), **settings)
    return world.client(agent).agent.Publish(request, timeout=60)


def test_an_agent_publishes(any_world):
    world = any_world
    source = trees.make_varied(world.path("source"))
    answer = agent_publish(world, world.agent, source, tags=["latest", "v1"], message="by the agent")
    assert world.client().digest("data", "v1") == answer.result.digest
    world.cli.pull("data", world.path("target"))
    trees.assert_same(source, world.path("target"))


def test_the_command_line_publishes_through_an_agent(world):
    source = trees.make_varied(world.path("source"))
    agent = world.agent
    published = Cli(world.directory).json("publish", "data", source, "--agent", agent.address)
    assert world.client().digest("data") == published["digest"]


def publication(world, agent, identifier):
    request = stubs().agent.GetPublicationRequest(publication_id=identifier)
    return world.client(agent).agent.GetPublication(request, timeout=20, wait_for_ready=True)


def test_an_asynchronous_publish_survives_a_restart_and_waits_for_the_server(any_world):
    world = any_world
    agent = world.agent
    source = trees.make_varied(world.path("source"))
    world.server.kill()
    identifier = agent_publish(world, agent, source, asynchronous=True).publication_id
    assert identifier
    agent.kill()
    agent.start()
    state = stubs().agent.Publication
    assert publication(world, agent, identifier).state in (state.STATE_WAITING, state.STATE_RUNNING)
    world.server.start()
    done = wait_until(
        lambda: (found := publication(world, agent, identifier)).state == state.STATE_DONE and found,
        lambda: f"published: {publication(world, agent, identifier)}",
        60,
    )
    assert world.client().digest("data") == done.result.digest
    world.cli.pull("data", world.path("target"))
    trees.assert_same(source, world.path("target"))


def test_an_asynchronous_publish_that_can_never_succeed_says_why(world):
    agent = world.agent
    identifier = agent_publish(world, agent, world.path("nowhere"), asynchronous=True)
    state = stubs().agent.Publication.STATE_FAILED
    failed = wait_until(
        lambda: (found := publication(world, agent, identifier.publication_id)).state == state and found, "failed"
    )
    assert "nowhere" in failed.error


def test_graceful_shutdown_finishes_publishes_and_ends_the_process(world):
    agent = world.agent
    source = trees.make_varied(world.path("source"))
    agent_publish(world, agent, source, asynchronous=True)
    world.client(agent).agent.GracefulShutdown(stubs().agent.GracefulShutdownRequest(), timeout=60)
    assert agent.process.wait(30) == 0
    assert world.client().digest("data") is not None, "what was accepted is published"


def test_agent_commands_say_what_is_wrong(world):
    agent = world.agent
    cli = world.cli
    cli.run("subscribe", "Not A Name", status=USAGE)
    cli.run("pin", "data", "sha256:abc", status=USAGE)
    cli.run("back", "data", status=NOT_FOUND)
    publish(world, "1")
    cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", world.client().digest("data"))
    # There is no older version to go back to.
    assert cli.run("back", "data").status in (NOT_FOUND, CONFLICT, 1)


def test_yaml_describes_subscriptions(world):
    digest = publish(world, "1", **{"skip.bin": "x"})
    notified = world.path("notified")
    config = world.path("agent.yaml")
    config.write_text(
        f"""
keep: 3
subscriptions:
  - reference: data
    path: city
    keep: 5
    exclude: ["*.bin"]
    notify: [touch, {notified}]
"""
    )
    agent = world.new_agent("--config", str(config)).start("/readyz")
    world.wait_active(agent, "data", digest)
    assert [p.name for p in (agent.root / "city").iterdir()] == ["a"]
    wait_until(notified.exists, "notified")


def test_yaml_with_an_unknown_key_is_refused_by_name(world):
    config = world.path("agent.yaml")
    config.write_text("subscriptions:\n  - reference: data\n    pth: city\n")
    agent = world.new_agent("--config", str(config)).start(wait="")
    assert agent.process.wait(30) == USAGE
    assert "pth" in agent.log()


def test_the_symlinks_directory_sees_one_rename(world):
    """A consumer with inotify is woken once a switch."""
    first = publish(world, "1")
    agent = world.agent
    world.cli.run("subscribe", "data", status=DONE)
    world.wait_active(agent, "data", first)
    with Inotify(agent.link("data").parent) as watch:
        world.wait_active(agent, "data", publish(world, "2"))
        assert watch.moves_to("latest") == 1


class Inotify:
    """IN_MOVED_TO events of one directory, by libc; Python has no binding of its own."""

    IN_MOVED_TO = 0x80

    def __init__(self, directory):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.fd, os.fsencode(directory), self.IN_MOVED_TO) >= 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def moves_to(self, name: str) -> int:
        data, count = os.read(self.fd, 1 << 16), 0
        while data:
            _, _, _, length = struct.unpack_from("iIII", data)
            count += data[16 : 16 + length].rstrip(b"\0").decode() == name
            data = data[16 + length :]
        return count
