"""How long an update takes at a consumer behind 100 Mbit/s, with deltas and by chunks alone, and what making the
deltas costs the producer."""

import itertools
import os
import pathlib
import random
import statistics

from bench.datasets import Pair, pairs
from bench.link import SlowLink
from bench.memory import peak_of_command
from bench.run import BIN, Run, Server, write_random, write_text

MIB = 1 << 20
DELTAS, CHUNKS = "aetherfs", "chunks alone (--no-delta)"
FLAGS = {DELTAS: [], CHUNKS: ["--no-delta"]}
# What is to be reached.
UPDATE_GAIN = {"geoip-country": 5}
# An update that moves the same bytes either way takes the same time; medians of a few rounds differ by this much.
NOISE, NOISE_S = 1.1, 0.005
PUBLISH_FACTOR, PUBLISH_MORE_S, SMALL_CHANGE = 2.0, 1.0, 4 * MIB
PUBLISH_LIMIT_MIB, PULL_LIMIT_MIB = 128, 128


def verdict(run: Run, ok: bool, what: str) -> None:
    run.say(f"{'pass' if ok else 'FAIL'}: {what}")


class Consumer:
    """One that holds the old version, behind the link; a fresh one every round."""

    def __init__(self, run: Run, link: SlowLink, server: Server):
        self.run, self.link, self.server = run, link, server
        self.out, self.cache = run.dir / "out", run.dir / "consumer-cache"
        self.env = {"AETHERFS_CACHE_DIR": str(self.cache)}
        self.peaks: dict[str, float] = {}
        self.sent: dict[str, int] = {}

    def pull(self, reference: str) -> list:
        return [BIN / "aetherfs", "pull", "--server", self.server.address, "--quiet", reference, self.out]

    def begin_with(self, reference: str) -> None:
        self.run.remove(self.out, self.cache)
        # Not from behind the link: what is there before costs no time.
        self.run.command(*self.pull(reference), env=self.env)

    def update(self, side: str, reference: str) -> None:
        before = self.link.sent_bytes()
        peak = peak_of_command([*self.link.inside(), *self.pull(reference)], {**os.environ, **self.env})
        self.peaks[side] = max(peak, self.peaks.get(side, 0))
        self.sent[side] = self.link.sent_bytes() - before


def pull_pair(run: Run, link: SlowLink, pair: Pair) -> None:
    server = Server(run, f"file://{run.dir}/store-{pair.dataset}", host=link.address, name=f"server-{pair.dataset}")
    old, names = {}, {DELTAS: f"bench/{pair.dataset}", CHUNKS: f"bench/{pair.dataset}-chunks"}
    env = {"AETHERFS_CACHE_DIR": str(run.dir / "producer-cache")}
    for side, name in names.items():
        run.cli("publish", "--server", server.address, "--quiet", f"{name}:old", pair.old, "-t", "latest", env=env)
        run.cli("publish", "--server", server.address, "--quiet", *FLAGS[side], name, pair.new, env=env)
        old[side] = f"{name}:old"
    consumer = Consumer(run, link, server)
    times = run.in_turn({side: lambda side=side: consumer.update(side, names[side]) for side in names},
                        before=lambda side: consumer.begin_with(old[side]))
    run.command("diff", "-r", pair.new, consumer.out)
    gain = run.compare(f"update behind {link.rate}, {pair.name}", times, dataset=pair.name, old=pair.old_version,
                       new=pair.new_version)[CHUNKS]
    for what, values in (("bytes on the link", consumer.sent), ("pull peak RSS", consumer.peaks)):
        run.figure(f"{what}, {pair.name}", values[DELTAS], "MiB" if "RSS" in what else "bytes", CHUNKS,
                   values[CHUNKS], values[DELTAS] / values[CHUNKS])
    wanted = UPDATE_GAIN.get(pair.package, 1)
    ours, theirs = statistics.median(times[DELTAS]), statistics.median(times[CHUNKS])
    verdict(run, gain >= wanted if wanted > 1 else ours <= theirs * NOISE + NOISE_S,
            f"{pair.name}: update {gain:.2f} x as fast as by chunks alone (>= {wanted})")
    verdict(run, max(consumer.peaks.values()) <= PULL_LIMIT_MIB,
            f"{pair.name}: pull peak RSS {max(consumer.peaks.values()):.0f} MiB (<= {PULL_LIMIT_MIB})")
    server.stop()
    run.remove(consumer.out, consumer.cache, run.dir / f"store-{pair.dataset}", run.dir / "producer-cache")


def rebuild_text(old: pathlib.Path, new: pathlib.Path, seed: int) -> None:
    """What an hourly export makes of yesterday's: the last field of every record is another, one record in a
    thousand is gone, one in a thousand is new."""
    source = random.Random(seed)
    with open(old) as lines, open(new, "w") as f:
        for line in lines:
            kept, comma, _ = line.rpartition(",")
            chance = source.random()
            if chance < 0.001:
                continue
            f.write(f"{kept}{comma}{source.random():.6f}\n")
            if chance > 0.999:
                f.write(f"{source.randrange(10**8)},{kept[-40:]},{source.random():.6f}\n")


def text_trees(old: pathlib.Path, new: pathlib.Path, size: int) -> None:
    for i in range(4):
        write_text(old / f"table-{i}.csv", size // 4, seed=i)
        rebuild_text(old / f"table-{i}.csv", new / f"table-{i}.csv", seed=100 + i)


def random_trees(old: pathlib.Path, new: pathlib.Path, size: int) -> None:
    for i in range(4):
        write_random(old / f"part-{i}", size // 4, seed=i)
        write_random(new / f"part-{i}", size // 4, seed=100 + i)


def publish_pair(run: Run, server: Server, kind: str, make, size: int) -> None:
    """Times the publish of a tree in which all is changed. Old and new version come to the same path, one after
    the other, so that the producer no longer has the old one's bytes."""
    trees, source = {"old": run.dir / "tree-old", "new": run.dir / "tree-new"}, run.dir / "source"
    for tree in trees.values():
        tree.mkdir()
    make(trees["old"], trees["new"], size)
    env = {"AETHERFS_CACHE_DIR": str(run.dir / "producer-cache")}
    what, rounds = f"{max(size >> 20, 1)} MiB {kind}", itertools.count()
    dataset, peaks = "", {}

    def command(*flags: str) -> list:
        return [BIN / "aetherfs", "publish", "--server", server.address, "--quiet", *flags, dataset, source]

    def before(_: str) -> None:
        nonlocal dataset
        dataset = f"bench/{kind.replace(' ', '-')}-{size}-{next(rounds)}"
        run.remove(*(run.dir / "store-synthetic" / "datasets").glob("*"), run.dir / "producer-cache")
        trees["old"].rename(source)
        run.command(*command(), env=env)
        source.rename(trees["old"])
        trees["new"].rename(source)

    def publish(side: str) -> None:
        peak = peak_of_command(command(*FLAGS[side]), {**os.environ, **env})
        peaks[side] = max(peak, peaks.get(side, 0))
        source.rename(trees["new"])

    times = run.in_turn({side: lambda side=side: publish(side) for side in FLAGS}, before)
    run.compare(f"publish, {what} changed", times)
    run.figure(f"publish peak RSS, {what} changed", peaks[DELTAS], "MiB", CHUNKS, peaks[CHUNKS],
               peaks[DELTAS] / peaks[CHUNKS])
    ours, theirs = statistics.median(times[DELTAS]), statistics.median(times[CHUNKS])
    if size <= SMALL_CHANGE:
        verdict(run, ours <= theirs + PUBLISH_MORE_S, f"publish of {what}: {ours:.2f} s with deltas, {theirs:.2f} s "
                f"without (at most {PUBLISH_MORE_S:.0f} s more)")
    else:
        verdict(run, ours <= theirs * PUBLISH_FACTOR, f"publish of {what}: {ours:.2f} s with deltas, {theirs:.2f} s "
                f"without (at most {PUBLISH_FACTOR:.0f} x)")
    verdict(run, max(peaks.values()) <= PUBLISH_LIMIT_MIB,
            f"publish of {what}: peak RSS {max(peaks.values()):.0f} MiB (<= {PUBLISH_LIMIT_MIB})")
    run.remove(*trees.values(), run.dir / "producer-cache")


def update_time(run: Run) -> None:
    with SlowLink(run) as link:
        for pair in pairs(run):
            pull_pair(run, link, pair)
    if run.datasets:
        return
    server = Server(run, f"file://{run.dir}/store-synthetic", name="server-synthetic")
    for kind, make in (("text rebuilt", text_trees), ("random bytes", random_trees)):
        for mib in (64, 4):
            publish_pair(run, server, kind, make, int(mib * MIB * run.scale))
    run.figure("server peak RSS, synthetic trees", server.status_kib("VmHWM") / 1024, "MiB")
