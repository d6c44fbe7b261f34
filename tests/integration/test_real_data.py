"""A public dataset through the whole path, over S3, across a change of version, byte for byte."""

import shutil
import subprocess

from tests.harness import trees
from tests.harness.processes import ROOT

FETCH_TIMEOUT_S = 300


def versions() -> list:
    fetched = subprocess.run(
        [ROOT / "scripts/fetch-datasets", "geoip-country"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FETCH_TIMEOUT_S,
    )
    assert fetched.returncode == 0, fetched.stderr
    return [ROOT / line for line in fetched.stdout.split()]


def test_geoip_country_is_published_pulled_and_followed_over_s3(s3_world):
    world = s3_world
    old, new = versions()
    first = world.cli.publish("geoip/country", old, "-t", "latest", "-t", old.name)
    agent = world.new_agent("--subscribe", "geoip/country").start("/readyz")
    world.wait_active(agent, "geoip/country", first["digest"])
    trees.assert_same(old, agent.link("geoip/country").resolve())
    world.cli.pull("geoip/country", world.path("pulled"))
    trees.assert_same(old, world.path("pulled"))

    second = world.cli.publish("geoip/country", new, "-t", "latest", "-t", new.name)
    assert second["digest"] != first["digest"]
    status = world.wait_active(agent, "geoip/country", second["digest"])
    trees.assert_same(new, agent.link("geoip/country").resolve())
    assert 0 < status.last_update.downloaded_bytes < second["bytes"]

    world.cli.pull("geoip/country", world.path("pulled"))
    trees.assert_same(new, world.path("pulled"))
    world.cli.pull(f"geoip/country:{old.name}", world.path("pulled"))
    trees.assert_same(old, world.path("pulled"))
    world.cli.run("verify", "geoip/country", status=0)


def test_a_package_whose_digest_is_not_the_listed_one_is_refused(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bench").mkdir()
    script = shutil.copy2(ROOT / "scripts/fetch-datasets", tmp_path / "scripts")
    listed = [
        line.split()
        for line in (ROOT / "bench/datasets.txt").read_text().splitlines()
        if line.startswith("mime-db ")
    ]
    # The old version's digest beside the new version's number.
    wrong = f"mime-db {listed[1][1]} {listed[0][2]}"
    (tmp_path / "bench/datasets.txt").write_text(wrong + "\n")
    fetched = subprocess.run(
        [script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
    )
    assert fetched.returncode == 1, fetched.stderr
    assert f"is {listed[1][2]}, bench/datasets.txt says {listed[0][2]}" in fetched.stderr
    assert fetched.stdout == ""
    assert list((tmp_path / "build/datasets").iterdir()) == []
