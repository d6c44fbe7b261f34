"""What a consumer receives for an update between two real versions, beside the best patches and other tools."""

import json
import os
import pathlib
import re
import shutil

from bench.datasets import Pair, pairs, zstd_sum
from bench.run import Run, Server

# What is to be reached: received bytes at most FACTOR x the sum of the best patches, plus FIXED.
SMALL_SUM, SMALL_FACTOR, LARGE_FACTOR, FIXED = 8_000_000, 1.15, 1.35, 4096
# ... and this many times less than casync, where a dataset is rebuilt with a little changed everywhere.
CASYNC_GAIN = {"geoip-country": 50}
OLD_TIME, NEW_TIME = 1_700_000_000, 1_700_086_400


def limit(least: int) -> int:
    return int(least * (SMALL_FACTOR if least <= SMALL_SUM else LARGE_FACTOR)) + FIXED


def received(run: Run, server: Server, pair: Pair, dataset: str, *flags: str) -> dict:
    """Publishes both versions, pulls both into one directory, as a consumer that saw each of them; what the second
    pull and the second publish say."""
    producer = {"AETHERFS_CACHE_DIR": str(run.dir / "producer-cache")}
    consumer = {"AETHERFS_CACHE_DIR": str(run.dir / "consumer-cache")}
    out = run.dir / "out"
    for version in (pair.old, pair.new):
        published = json.loads(run.cli("publish", "--server", server.address, "-o", "json", *flags, dataset, version,
                                       env=producer))
        pulled = json.loads(run.cli("pull", "--server", server.address, "-o", "json", dataset, out, env=consumer))
    run.command("diff", "-r", pair.new, out)
    run.remove(out, run.dir / "producer-cache", run.dir / "consumer-cache")
    return {**pulled, "published": published}


def copy_with_times(pair: Pair, old: pathlib.Path, new: pathlib.Path) -> None:
    """Both versions with times as a careful producer leaves them: only what changed is newer. npm's archives
    state one time for all files, which would make rsync overlook changes."""
    changed = set(pair.changed())
    for source, target, time in ((pair.old, old, OLD_TIME), (pair.new, new, NEW_TIME)):
        shutil.copytree(source, target)
        for directory, _, names in os.walk(target, topdown=False):
            for name in names:
                path = pathlib.Path(directory, name)
                same = str(path.relative_to(target)) not in changed
                os.utime(path, (OLD_TIME, OLD_TIME if same else time))
            os.utime(directory, (OLD_TIME, OLD_TIME))


def casync_bytes(run: Run, old: pathlib.Path, new: pathlib.Path) -> int:
    """The new version's chunks that the old one's store lacks, as stored, and the new index. Metadata is left out
    (--without=all, permissions kept), as AetherFS does."""
    stores = []
    for name, tree in (("old", old), ("new", new)):
        store = run.dir / f"casync-{name}.castr"
        run.command("casync", "make", "--without=all", "--with=permissions", f"--store={store}",
                    run.dir / f"casync-{name}.caidx", tree)
        stores.append({path.name: path.stat().st_size for path in store.glob("*/*.cacnk")})
    index = (run.dir / "casync-new.caidx").stat().st_size
    run.remove(*run.dir.glob("casync-*"))
    return index + sum(size for name, size in stores[1].items() if name not in stores[0])


def rsync_bytes(run: Run, old: pathlib.Path, new: pathlib.Path) -> int:
    """What both ends of `rsync -z` send; makes `old` the new version."""
    text = run.command("rsync", "-rtz", "--no-whole-file", "--delete", "--stats", f"{new}/", f"{old}/")
    sent, got = (int(re.search(rf"Total bytes {what}: ([\d,.]+)", text)[1].replace(",", ""))
                 for what in ("sent", "received"))
    run.command("diff", "-r", new, old)
    return sent + got


def measure(run: Run, server: Server, pair: Pair) -> dict:
    ours = received(run, server, pair, f"bench/{pair.dataset}")
    chunks = received(run, server, pair, f"bench/{pair.dataset}-chunks", "--no-delta")
    old, new = run.dir / "tree-old", run.dir / "tree-new"
    copy_with_times(pair, old, new)
    casync = casync_bytes(run, old, new)
    rsync = rsync_bytes(run, old, new)
    run.remove(old, new)
    least = zstd_sum(run, pair)
    value = ours["downloaded_bytes"]
    names = {"dataset": pair.name, "old": pair.old_version, "new": pair.new_version}
    baselines = {"zstd -19 --patch-from sum": least["sum"], "zstd -19 of changed files alone": least["alone_sum"],
                 "casync": casync, "rsync -z": rsync, "chunks alone (--no-delta)": chunks["downloaded_bytes"]}
    for baseline, bytes_ in baselines.items():
        run.figure(f"received bytes, {pair.name}", value, "bytes", baseline, bytes_,
                   round(value / bytes_, 4) if bytes_ else None, **names)
    run.figure(f"delta bytes received, {pair.name}", ours["delta_bytes"], "bytes", requests=ours["requests"],
               published_delta_bytes=ours["published"]["delta_bytes"], **names)
    gain = CASYNC_GAIN.get(pair.package, 1)
    held = {f"<= {limit(least['sum'])} (zstd sum)": value <= limit(least["sum"]),
            "<= casync" if gain == 1 else f"<= casync / {gain}": value * gain <= casync}
    for what, ok in held.items():
        run.say(f"{'pass' if ok else 'FAIL'}: {pair.name}: received {value} {what}")
    return {"name": pair.name, "files": least["changed_files"], "changed": least["changed_bytes"], "ours": value,
            "least": least["sum"], "chunks": chunks["downloaded_bytes"], "casync": casync, "rsync": rsync,
            "passed": all(held.values())}


def table(run: Run, rows: list[dict]) -> None:
    run.say(f"{'pair':28} {'changed':>7} {'their size':>11} {'received':>10} {'zstd sum':>10} {'ratio':>6} "
            f"{'chunks':>10} {'casync':>10} {'rsync -z':>10}")
    for row in rows:
        ratio = row["ours"] / row["least"] if row["least"] else float("nan")
        run.say(f"{row['name']:28} {row['files']:7} {row['changed']:11} {row['ours']:10} {row['least']:10} {ratio:6.2f} "
                f"{row['chunks']:10} {row['casync']:10} {row['rsync']:10} {'pass' if row['passed'] else 'FAIL'}")


def update_bytes(run: Run) -> None:
    server = Server(run, f"file://{run.dir}/store")
    rows = []
    for pair in pairs(run):
        rows.append(measure(run, server, pair))
        run.remove(*(run.dir / "store" / "datasets").glob("*"))
    table(run, rows)
    run.say(f"{sum(row['passed'] for row in rows)} of {len(rows)} pairs within the limits")
