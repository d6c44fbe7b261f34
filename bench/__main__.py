"""scripts/bench NAME...: runs benchmarks and prints one JSON line per figure."""

import argparse
import signal
import sys

from bench import cache, fanout, latency, memory, subscriptions, throughput, trees, update_bytes, update_time
from bench.run import Run

BENCHES = {
    "publish": throughput.publish,
    "pull": throughput.pull,
    "republish-unchanged": trees.republish_unchanged,
    "small-files": trees.small_files,
    "latency": latency.latency,
    "memory": memory.memory,
    "subscriptions": subscriptions.subscriptions,
    "update-bytes": update_bytes.update_bytes,
    "update-time": update_time.update_time,
    "fanout": fanout.fanout,
    "cache": cache.cache,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side, in turn (default 5)")
    parser.add_argument("--dir", default="/dev/shm", help="file system to work on (default /dev/shm, a tmpfs)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data relative to the real bench")
    parser.add_argument("--dataset", action="append", default=[], metavar="NAME",
                        help="update-*: only this one of bench/datasets.txt (repeatable)")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(BENCHES))
        return 0
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    # Processes, namespaces and directories of a benchmark go with its blocks, so a SIGTERM has to leave them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in arguments.names or BENCHES:
        with Run(name, arguments.dir, arguments.rounds, arguments.scale, tuple(arguments.dataset)) as run:
            BENCHES[name](run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
