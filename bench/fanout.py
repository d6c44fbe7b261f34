"""Three servers and a hundred consumers at once: what the store is asked for, how long it takes, what it costs."""

import pathlib
import statistics
import subprocess
import time

from bench.cluster import Cluster, consume, consumers, result_of
from bench.run import BIN, Run, expect_line, write_random

MIB = 1 << 20
SIZE = 256 * MIB
CONSUMERS = 100
SUBSCRIBERS = 1000
PUBLISHES = 20
FANOUT_TIMEOUT_S, TOLD_TIMEOUT_S = 600, 30
REFERENCE = "bench/fanout"
NEVER = ["--poll-interval", "1h"]

# What is to be reached.
AMPLIFICATION, AMPLIFICATION_KILLED, TIME_FACTOR, NOTIFIED_MS, MEMORY_MIB = 1.01, 1.5, 1.25, 250, 128


def stored_bytes(store: pathlib.Path) -> int:
    """What the store keeps of the dataset that its consumers want: blocks and manifests."""
    kept = store / "datasets" / REFERENCE.replace("/", "%2F")
    return sum(path.stat().st_size for kind in ("blocks", "manifests") for path in (kept / kind).iterdir())


def undisturbed(run: Run, cluster: Cluster, stored: int) -> None:
    amplifications, seconds, factors, singles = [], [], [], []
    for number in range(run.rounds):
        cluster.restart_cold()
        before = cluster.read_from_store()
        all_at_once = consume(cluster, REFERENCE, CONSUMERS, 1)
        amplifications.append((cluster.read_from_store() - before) / stored)
        warm = statistics.median(consume(cluster, REFERENCE)["seconds"] for _ in range(3))
        singles.append(warm)
        seconds.append(all_at_once["seconds"])
        factors.append(all_at_once["seconds"] / (CONSUMERS * warm))
        run.say(f"round {number}: {all_at_once['seconds']:.1f} s, a single one {warm:.3f} s, "
                f"store read {amplifications[-1]:.4f} times")
    worst = max(amplifications)
    run.figure(f"bytes read from the store, {CONSUMERS} consumers at once from cold", worst, "of the bytes stored",
               stored_bytes=stored)
    run.judge(f"store read {worst:.4f} times, at most {AMPLIFICATION}", worst <= AMPLIFICATION)
    factor = statistics.median(factors)
    run.figure(f"wall time, {CONSUMERS} consumers at once from cold", statistics.median(seconds), "s",
               f"{CONSUMERS} x a single warm consumer", CONSUMERS * statistics.median(singles), factor)
    run.judge(f"{factor:.3f} of the time of {CONSUMERS} single ones, at most {TIME_FACTOR}", factor <= TIME_FACTOR)


def with_a_server_killed(run: Run, cluster: Cluster, stored: int) -> None:
    amplifications = []
    for number in range(run.rounds):
        cluster.restart_cold()
        victim = cluster.servers[number % len(cluster.servers)]
        before = cluster.read_from_store()
        with consumers(cluster, REFERENCE, CONSUMERS, 1) as process:
            expect_line(process, "half", FANOUT_TIMEOUT_S)
            by_victim = victim.metric("aetherfs_store_bytes_total", 'operation="get"')
            victim.kill()
            done = result_of(process)
        amplifications.append((by_victim + cluster.read_from_store() - before) / stored)
        run.say(f"round {number}, one server killed half-way: {done['seconds']:.1f} s, "
                f"store read {amplifications[-1]:.4f} times")
    worst = max(amplifications)
    run.figure("the same with one server killed half-way", worst, "of the bytes stored", stored_bytes=stored)
    run.judge(f"with one server killed the store is read {worst:.4f} times, at most {AMPLIFICATION_KILLED}",
              worst <= AMPLIFICATION_KILLED)
    cluster.restart_cold()


def notifications(run: Run, cluster: Cluster) -> None:
    """From the publish at one server to the last subscriber at the two others, beside its acknowledgement, which
    comes when the journal entry is written."""
    source = run.dir / "small"
    source.mkdir()
    first, *others = (server.address for server in cluster.servers)
    behind, journal = [], []
    for number in range(PUBLISHES + 1):
        (source / "value").write_text(f"before {number}")
        run.cli("publish", "--server", first, "--quiet", "bench/told", source)
        argv = [[BIN / "bench-subscribers", address, "bench/told", str(SUBSCRIBERS // len(others))] for address in others]
        processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for words in argv]
        try:
            for process in processes:
                expect_line(process, "ready", TOLD_TIMEOUT_S)
            (source / "value").write_text(f"after {number}")
            begin = time.perf_counter()
            run.cli("publish", "--server", first, "--quiet", "bench/told", source)
            acknowledged = time.perf_counter()
            for process in processes:
                expect_line(process, "notified", TOLD_TIMEOUT_S)
            last = time.perf_counter()
        finally:
            for process in processes:
                process.kill()
                process.wait()
                process.stdout.close()
        if number > 0:  # the first one makes the dataset, and connects
            behind.append((last - acknowledged) * 1e3)
            journal.append((acknowledged - begin) * 1e3)
    late, alone = statistics.median(behind), statistics.median(journal)
    run.figure(f"publish to the last of {SUBSCRIBERS} subscribers at two other servers, beyond the publish itself",
               late, "ms", "publish alone", alone, (alone + late) / alone, worst=max(behind))
    run.judge(f"the last of {SUBSCRIBERS} subscribers hears {late:.1f} ms after the journal entry, at most "
              f"{NOTIFIED_MS}", late <= NOTIFIED_MS)


def fanout(run: Run) -> None:
    size = int(SIZE * run.scale)
    source, store = run.dir / "source", run.dir / "store"
    source.mkdir()
    for number in range(8):
        write_random(source / f"part-{number}", size // 8, seed=300 + number)
    # Nobody polls, so that what is read is read for the consumers, and what is heard was pushed.
    cluster = Cluster(run, f"file://{store}", 3, *NEVER)
    cluster.publish(REFERENCE, source)
    run.remove(source)
    stored = stored_bytes(store)
    undisturbed(run, cluster, stored)
    with_a_server_killed(run, cluster, stored)
    notifications(run, cluster)
    cluster.note_memory()
    run.figure("server peak RSS beyond its cache budget", cluster.peak_mib, "MiB")
    run.judge(f"{cluster.peak_mib:.0f} MiB beyond the cache budget, at most {MEMORY_MIB}", cluster.peak_mib <= MEMORY_MIB)
    cluster.stop()
