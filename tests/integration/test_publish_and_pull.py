"""The main job on a local store and on S3: publish, look, pull, move tags."""

import json
import random

from tests.harness import trees
from tests.harness.processes import CONFLICT, DONE, FAILED, NOT_FOUND, Cli

PUBLISH_FIELDS = (
    "dataset tags digest files bytes chunks new_chunks new_bytes uploaded_bytes delta_bytes seq unchanged seconds"
).split()
PULL_FIELDS = "digest files bytes downloaded_bytes reused_bytes delta_bytes requests seconds".split()


def test_what_is_pulled_is_what_was_published(any_world):
    source = trees.make_varied(any_world.path("source"))
    cli = any_world.cli

    published = cli.publish("maxmind/city", source)
    assert set(PUBLISH_FIELDS) <= published.keys()
    assert published["dataset"] == "maxmind/city" and published["tags"] == ["latest"]
    assert not published["unchanged"] and published["seq"] == 1
    regular = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    assert published["files"] == len(regular)
    assert published["bytes"] == sum(path.stat().st_size for path in regular)

    pulled = cli.pull("maxmind/city", any_world.path("target"))
    assert set(PULL_FIELDS) <= pulled.keys()
    assert pulled["digest"] == published["digest"]
    # The zeros in it are one chunk, fetched once and used again.
    assert 0 < pulled["downloaded_bytes"] < pulled["bytes"]
    trees.assert_same(source, any_world.path("target"))


def test_same_content_published_again_changes_nothing(any_world):
    source = trees.make_varied(any_world.path("source"))
    cli = any_world.cli
    first = cli.publish("data", source)
    again = cli.publish("data", source)
    assert again["unchanged"] and again["digest"] == first["digest"] and again["seq"] == first["seq"]
    assert again["uploaded_bytes"] == 0 and again["new_chunks"] == 0
    assert len(any_world.client().history("data")) == 1


def test_second_version_sends_only_what_is_new(any_world):
    source = trees.make_varied(any_world.path("source"))
    cli = any_world.cli
    cli.publish("data", source)
    (source / "one").write_text("two")
    second = cli.publish("data", source)
    assert second["seq"] == 2 and not second["unchanged"]
    assert second["new_chunks"] == 1 and second["new_bytes"] == 3
    # Little more than the manifest.
    assert second["uploaded_bytes"] < 64 * 1024


def test_pull_over_an_existing_directory_makes_it_exactly_that_version(any_world):
    source = trees.make_varied(any_world.path("source"))
    target = any_world.path("target")
    cli = any_world.cli
    cli.publish("data", source)
    cli.pull("data", target)

    (source / "one").unlink()
    (source / "new file").write_text("new")
    (source / "text/large.txt").write_text("now small")
    trees.set_mtimes(source)
    cli.publish("data", source)
    (target / "stray").write_text("not in any version")

    pulled = cli.pull("data", target)
    trees.assert_same(source, target)
    assert pulled["reused_bytes"] > 0
    assert pulled["downloaded_bytes"] < pulled["bytes"] / 4
    # Nothing is left beside it.
    beside = [path.name for path in any_world.directory.iterdir() if path.name.startswith((".target", "target"))]
    assert beside == ["target"]


def test_pull_by_digest_gives_the_old_version(any_world):
    source = trees.write(any_world.path("source"), {"a": "1"})
    cli = any_world.cli
    old = cli.publish("data", source)["digest"]
    (source / "a").write_text("2")
    cli.publish("data", source)
    cli.pull(f"data@{old}", any_world.path("target"))
    assert any_world.path("target/a").read_text() == "1"


def test_listings_name_datasets_tags_and_history(any_world):
    source = trees.write(any_world.path("source"), {"a": "1", "b/c": "2"})
    cli = any_world.cli
    first = cli.publish("maxmind/city", source, "-t", "latest", "-t", "v1", "-m", "the first", "--label", "build=17")
    (source / "a").write_text("22")
    second = cli.publish("maxmind/city", source)
    cli.publish("@scope/other", source)

    assert cli.run("ls", status=DONE).stdout.split() == ["@scope/other", "maxmind/city"]
    assert cli.run("ls", "maxmind/", status=DONE).stdout.split() == ["maxmind/city"]

    tags = cli.run("tags", "maxmind/city", status=DONE).stdout
    assert "v1" in tags and "latest" in tags
    text = cli.run("tags", "maxmind/city", "-o", "json", status=DONE).stdout
    assert first["digest"] in text and second["digest"] in text

    log = cli.run("log", "maxmind/city", status=DONE).stdout
    assert "the first" in log
    text = cli.run("log", "maxmind/city", "-o", "json", status=DONE).stdout
    assert text.index(second["digest"]) < text.index(first["digest"]), "newest first"

    inspected = cli.run("inspect", "maxmind/city:v1", "-o", "json", status=DONE).stdout
    assert first["digest"] in inspected and "build" in inspected and "17" in inspected


def test_diff_names_what_was_added_removed_and_changed(any_world):
    source = trees.write(any_world.path("source"), {"same": "s", "changed": "1", "removed": "r"})
    cli = any_world.cli
    cli.publish("data", source, "-t", "v1")
    (source / "changed").write_text("2")
    (source / "removed").unlink()
    (source / "added").write_text("a")
    cli.publish("data", source, "-t", "v2")
    text = cli.run("diff", "data:v1", "data:v2", status=DONE).stdout
    for name in ("added", "removed", "changed"):
        assert name in text
    assert "same" not in text
    assert "added" not in cli.run("diff", "data:v1", "data:v1", status=DONE).stdout.split()


def test_verify_finds_nothing_in_a_good_directory_and_names_what_was_changed(any_world):
    source = trees.make_varied(any_world.path("source"))
    target = any_world.path("target")
    cli = any_world.cli
    cli.publish("data", source)
    cli.pull("data", target)
    cli.run("verify", "data", status=DONE)
    cli.run("verify", target, status=DONE)
    trees.bits_flipped(target / "random/3m", 2_000_000)
    verified = cli.run("verify", target, status=FAILED)
    assert "random/3m" in verified.stdout + verified.stderr
    assert "64k" not in verified.stdout + verified.stderr


def test_tag_rolls_back_and_promotes_and_untag_removes(any_world):
    source = trees.write(any_world.path("source"), {"a": "1"})
    cli = any_world.cli
    first = cli.publish("data", source)["digest"]
    (source / "a").write_text("2")
    second = cli.publish("data", source)["digest"]

    cli.run("tag", f"data@{first}", "latest", status=DONE)
    assert any_world.client().digest("data") == first
    cli.run("tag", f"data@{second}", "stable", status=DONE)
    assert any_world.client().digest("data", "stable") == second
    cli.run("untag", "data", "stable", status=DONE)
    assert any_world.client().digest("data", "stable") is None
    cli.run("pull", "data:stable", any_world.path("target"), status=NOT_FOUND)
    cli.run("untag", "data", "stable", status=NOT_FOUND)


def test_expectations_are_kept_or_refused_with_4(any_world):
    source = trees.write(any_world.path("source"), {"a": "1"})
    cli = any_world.cli
    first = cli.publish("data", source, "--expect-absent")["digest"]
    (source / "a").write_text("2")
    refused = cli.run("publish", "data", source, "--expect-absent", status=CONFLICT)
    assert "data" in refused.stderr and "latest" in refused.stderr
    assert any_world.client().digest("data") == first
    second = cli.publish("data", source, "--expect", first)["digest"]
    (source / "a").write_text("3")
    cli.run("publish", "data", source, "--expect", first, status=CONFLICT)
    assert any_world.client().digest("data") == second


def test_several_tags_move_in_one_entry(any_world):
    source = trees.write(any_world.path("source"), {"a": "1"})
    published = any_world.cli.publish("data", source, "-t", "latest", "-t", "stable", "-t", "v1.0")
    assert sorted(published["tags"]) == ["latest", "stable", "v1.0"] and published["seq"] == 1
    for tag in ("latest", "stable", "v1.0"):
        assert any_world.client().digest("data", tag) == published["digest"]


def test_a_single_file_can_be_published(any_world):
    source = trees.write(any_world.path("source"), {"city.mmdb": "bytes"})
    any_world.cli.publish("data", source / "city.mmdb")
    any_world.cli.pull("data", any_world.path("target"))
    assert trees.read(any_world.path("target")).keys() == {"city.mmdb"}


def test_an_empty_directory_is_a_version_too(any_world):
    source = any_world.path("source")
    source.mkdir()
    assert any_world.cli.publish("data", source)["files"] == 0
    any_world.cli.pull("data", any_world.path("target"))
    assert list(any_world.path("target").iterdir()) == []


def test_what_one_server_published_another_serves(any_world):
    source = trees.make_varied(any_world.path("source"))
    any_world.cli.publish("data", source)
    other = any_world.new_server().start()
    Cli(any_world.directory, other).pull("data", any_world.path("target"))
    trees.assert_same(source, any_world.path("target"))


def test_a_restarted_server_has_everything(any_world):
    source = trees.make_varied(any_world.path("source"))
    cli = any_world.cli
    published = cli.publish("data", source)
    assert any_world.server.terminate() == 0
    any_world.server.start()
    assert any_world.client().digest("data") == published["digest"]
    cli.pull("data", any_world.path("target"))
    trees.assert_same(source, any_world.path("target"))


def test_a_file_larger_than_a_block_comes_back_whole(any_world):
    source = any_world.path("source")
    source.mkdir()
    rng = random.Random(7)
    with open(source / "large", "wb") as file:
        for _ in range(70):
            file.write(rng.randbytes(1 << 20))
    any_world.cli.publish("data", source)
    any_world.cli.pull("data", any_world.path("target"))
    trees.assert_same(source, any_world.path("target"))


def test_publishers_at_once_lose_nothing(any_world):
    writers = 6
    cli = any_world.cli
    running = []
    for i in range(writers):
        source = trees.write(any_world.path(f"source{i}"), {"file": f"content {i}"})
        running.append(cli.start("publish", "data", source, "-t", f"v{i}", "-t", "latest", "-o", "json"))
    digests = []
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == DONE, err
        digests.append(json.loads(out)["digest"])
    for i, digest in enumerate(digests):
        assert any_world.client().digest("data", f"v{i}") == digest
    assert any_world.client().digest("data") in digests
