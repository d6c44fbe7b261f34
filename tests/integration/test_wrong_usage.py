"""Bad input: a message that names the thing, the right exit status, and nothing half-done."""

import os
import socket
import subprocess

import pytest

from tests.harness import trees
from tests.harness.ports import free_port
from tests.harness.processes import BIN, DONE, FAILED, NOT_FOUND, UNAVAILABLE, USAGE, Cli, environment
from tests.harness.waiting import wait_until

# Words, what the message must name.
WRONG_WORDS = [
    (["publish", "Upper/Case", "."], "Upper/Case"),
    (["publish", "a/b/c/d/e", "."], "a/b/c/d/e"),
    (["publish", "", "."], "reference"),
    (["publish", "a//b", "."], "a//b"),
    (["publish", "../b", "."], "../b"),
    (["publish", "data:ta g", "."], "ta g"),
    (["publish", "data:" + "t" * 129, "."], "ttt"),
    (["publish", "data", ".", "-t", "-bad"], "-bad"),
    (["publish", "data", ".", "--label", "novalue"], "novalue"),
    (["publish", "data", ".", "--expect", "sha256:12"], "12"),
    (["publish", "data", ".", "--expect-absent", "--expect", "sha256:" + "0" * 64], "expect"),
    (["publish", "data@sha256:" + "0" * 64, "."], "data@sha256"),
    (["publish", "data"], ""),
    (["pull", "data"], ""),
    (["pull", "data@sha256:zz", "target"], "zz"),
    (["pull", "data@md5:00", "target"], "md5"),
    (["pull", "data", "target", "more"], "more"),
    (["pull", "data", "target", "--no-such-flag"], "--no-such-flag"),
    (["pull", "data", "target", "-o", "xml"], "xml"),
    (["no-such-command"], "no-such-command"),
    ([], ""),
    (["ls", "--server", "fs-a:http"], "fs-a:http"),
    (["ls", "--server", "fs-a:70000"], "fs-a:70000"),
    (["pull", "fs.example:70000/data", "target"], "fs.example:70000"),
    (["status", "--agent", "agent.sock"], "agent.sock"),
    (["untag", "data"], ""),
    (["tag", "data", "b@d"], "b@d"),
]


@pytest.mark.parametrize("words,named", WRONG_WORDS, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "")
def test_wrong_words_are_refused_with_2(world, words, named):
    # No server is asked: the words alone are wrong.
    refused = subprocess.run(
        [BIN / "aetherfs", *words], capture_output=True, text=True, timeout=20, env=environment(world.directory), cwd=world.directory
    )
    assert refused.returncode == USAGE, refused
    assert named in refused.stderr, refused
    assert refused.stdout == ""
    assert not world.path("target").exists()


@pytest.mark.parametrize("binary", ["aetherfs", "aetherfs-agent", "aetherfs-server"])
def test_unknown_flags_and_keys_are_named(world, binary):
    config = world.path("config.yaml")
    config.write_text("no_such_key: 1\n")
    command = ["ls"] if binary == "aetherfs" else []
    for words, named in (["--no-such-flag"], "no-such-flag"), (["--config", str(config)], "no_such_key"):
        refused = subprocess.run(
            [BIN / binary, *command, *words], capture_output=True, text=True, timeout=20, env=environment(world.directory)
        )
        assert refused.returncode == USAGE, refused
        assert named in refused.stderr, refused


@pytest.mark.parametrize("binary,flag,value", [
    ("aetherfs-server", "--listen", "nonsense"),
    ("aetherfs-server", "--listen", "127.0.0.1:70000"),
    ("aetherfs-server", "--http-listen", "127.0.0.1:http"),
    ("aetherfs-server", "--store", "ftp://host/x"),
    ("aetherfs-server", "--store", "s3://"),
    ("aetherfs-server", "--cache-memory", "lots"),
    ("aetherfs-server", "--poll-interval", "-1s"),
    ("aetherfs-agent", "--server", "fs-a:http"),
    ("aetherfs-agent", "--server", "fs-a:70000"),
    ("aetherfs-agent", "--listen", "127.0.0.1:70000"),
    ("aetherfs-agent", "--subscribe", "Not A Name"),
    ("aetherfs-agent", "--keep", "0"),
    ("aetherfs-agent", "--keep", "many"),
])
def test_wrong_values_are_named(world, binary, flag, value):
    # --root below the test's directory, should the value be accepted by mistake.
    rest = ["--root", world.path("root")] if binary == "aetherfs-agent" else []
    refused = subprocess.run(
        [BIN / binary, *map(str, rest), flag, value], capture_output=True, text=True, timeout=20, env=environment(world.directory)
    )
    assert refused.returncode == USAGE, refused
    assert value in refused.stderr and flag.lstrip("-") in refused.stderr, refused


@pytest.mark.parametrize("binary", ["aetherfs-agent", "aetherfs-server"])
@pytest.mark.parametrize("flag", ["--listen", "--http-listen"])
def test_an_address_in_use_is_told_in_one_plain_line(world, binary, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "%s:%d" % taken.getsockname()
        flags = {"--listen": "127.0.0.1:0", "--http-listen": "127.0.0.1:0", flag: address}
        flags |= {"--root": world.path("root")} if binary == "aetherfs-agent" else {"--store": "memory:"}
        refused = subprocess.run(
            [BIN / binary, *(str(word) for pair in flags.items() for word in pair)],
            capture_output=True, text=True, timeout=20, env=environment(world.directory)
        )
    assert refused.returncode == FAILED, refused
    errors = [line for line in refused.stderr.splitlines() if " INFO " not in line]
    assert len(errors) == 1 and errors[0].startswith(f"{binary}: {flag}: "), refused
    assert address in errors[0]


def test_help_and_version_are_not_errors(world):
    for binary in ("aetherfs", "aetherfs-agent", "aetherfs-server"):
        for words in (["--help"], ["--version"]):
            shown = subprocess.run([BIN / binary, *words], capture_output=True, text=True, timeout=20)
            assert shown.returncode == DONE and shown.stdout, shown
    assert Cli(world.directory).run("version", status=DONE).stdout


def test_what_does_not_exist_is_3_and_named(world):
    source = trees.write(world.path("source"), {"a": "1"})
    cli = world.cli
    cli.publish("data", source)
    for words, named in (
        (["pull", "missing", "target"], "missing"),
        (["pull", "data:v9", "target"], "v9"),
        (["pull", "data@sha256:" + "1" * 64, "target"], "1111"),
        (["tags", "missing"], "missing"),
        (["log", "missing"], "missing"),
        (["inspect", "data:v9"], "v9"),
        (["diff", "data", "data:v9"], "v9"),
        (["tag", "data:v9", "latest"], "v9"),
        (["untag", "data", "v9"], "v9"),
        (["verify", "data:v9"], "v9"),
        (["publish", "data", world.path("nowhere")], "nowhere"),
    ):
        refused = cli.run(*words, status=NOT_FOUND)
        assert named in refused.stderr, refused
    assert not world.path("target").exists()


def test_no_server_is_5_and_names_the_address(world):
    source = trees.write(world.path("source"), {"a": "1"})
    address = f"127.0.0.1:{free_port()}"
    cli = Cli(world.directory, address)
    for words in (["ls"], ["pull", "data", "target"], ["publish", "data", source]):
        refused = cli.run(*words, "--patience", "1s", status=UNAVAILABLE)
        assert address in refused.stderr, refused
    assert not world.path("target").exists()
    socket_path = world.path("no.sock")
    refused = Cli(world.directory).run("status", "--agent", f"unix://{socket_path}", status=UNAVAILABLE)
    assert "no.sock" in refused.stderr


def unchanged(world, dataset: str = "data") -> None:
    assert world.client().digest(dataset) is None, "nothing was published"


def test_sockets_pipes_and_devices_are_refused_by_name(world):
    cli = world.cli
    for name in ("socket", "pipe", "device"):
        source = trees.write(world.path(f"with {name}"), {"a": "1"})
        path = source / f"the-{name}"
        if name == "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        elif name == "pipe":
            os.mkfifo(path)
        else:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
        refused = cli.run("publish", "data", source, status=USAGE)
        assert f"the-{name}" in refused.stderr, refused
    unchanged(world)


def test_names_that_are_not_utf_8_are_refused_and_shown_safely(world):
    source = trees.write(world.path("source"), {"a": "1"})
    (os.fsencode(source) + b"/bad\xff\x1bname")
    with open(os.fsencode(source) + b"/bad\xff\x1bname", "w"):
        pass
    refused = world.cli.run("publish", "data", source, status=USAGE)
    assert "bad" in refused.stderr and "\x1b" not in refused.stderr
    unchanged(world)


def test_a_file_that_never_stops_changing_fails_the_publish(world):
    source = trees.write(world.path("source"), {"a": "1"})
    # Written to all the time, faster than anybody reads it.
    program = """
import os, sys
with open(sys.argv[1], "wb", 0) as file:
    file.write(bytes(1 << 24))
    while True:
        for offset in range(0, 1 << 24, 1 << 18):
            os.pwrite(file.fileno(), os.urandom(1 << 12), offset)
"""
    writer = subprocess.Popen(["/usr/bin/python3", "-c", program, str(source / "changing")])
    wait_until(lambda: (source / "changing").exists() and (source / "changing").stat().st_size == 1 << 24, "written to")
    try:
        refused = world.cli.run("publish", "data", source)
        # The one thing that must not be is a version that no moment ever had and that says it is fine.
        assert refused.status != DONE and "changing" in refused.stderr, refused
    finally:
        writer.kill()
        writer.wait()
    unchanged(world)


def test_a_symlink_that_leaves_the_tree_is_kept_as_a_link_and_not_followed(world):
    secret = world.path("secret")
    secret.write_text("not published")
    source = trees.write(world.path("source"), {"a": "1"})
    (source / "out").symlink_to("../secret")
    world.cli.publish("data", source)
    world.cli.pull("data", world.path("deep/er/target"))
    pulled = world.path("deep/er/target/out")
    assert pulled.is_symlink() and os.readlink(pulled) == "../secret" and not pulled.exists()


def test_pull_does_not_write_through_a_symlink_in_the_target(world):
    source = trees.write(world.path("source"), {"sub/a": "new"})
    world.cli.publish("data", source)
    outside = trees.write(world.path("outside"), {"a": "precious"})
    target = world.path("target")
    target.mkdir()
    (target / "sub").symlink_to(outside)
    world.cli.pull("data", target)
    assert (outside / "a").read_text() == "precious"
    trees.assert_same(source, target)


def test_pull_into_a_file_is_refused_and_the_file_stays(world):
    world.cli.publish("data", trees.write(world.path("source"), {"a": "1"}))
    target = world.path("target")
    target.write_text("a file")
    refused = world.cli.run("pull", "data", target)
    assert refused.status in (FAILED, USAGE) and "target" in refused.stderr
    assert target.read_text() == "a file"


def test_results_go_to_stdout_and_messages_to_stderr(world):
    source = trees.write(world.path("source"), {"a": "1"})
    cli = world.cli
    published = cli.run("publish", "data", source, "--quiet", status=DONE)
    assert published.stderr == ""
    assert "\x1b" not in published.stdout, "no colours but on a terminal"
    refused = cli.run("pull", "missing", "target", "-o", "json")
    assert refused.stdout == "" and refused.stderr
