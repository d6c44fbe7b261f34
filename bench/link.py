"""A network namespace behind a slow link, as a consumer's machine has it."""

import os
import pathlib
import subprocess

from bench.run import Run


def quietly(*argv) -> None:
    subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class SlowLink:
    """Commands run in a network namespace whose only way out passes token buckets of `rate` in both directions.
    `address` is the near end, where a server listens. Needs root. Gone when the block ends, however it ends; the
    names hold the process id, so that two benchmarks do not meet."""

    # A bucket so small that it passes nothing of an update unslowed; a queue of a few tens of ms, as switches have.
    BURST, LATENCY = "16kb", "50ms"

    def __init__(self, run: Run, rate: str = "100mbit"):
        self.run, self.rate = run, rate
        number = os.getpid() % (1 << 15)
        self.namespace = f"aetherfs-bench-{os.getpid()}"
        self.near, self.far = f"afb{os.getpid()}n", f"afb{os.getpid()}f"
        # A network of four addresses of 198.18.0.0/15, which is set aside for benchmarks.
        network = (198 << 24) + (18 << 16) + number * 4
        self.address, self.far_address = (".".join(str((network + i) >> s & 255) for s in (24, 16, 8, 0))
                                          for i in (1, 2))

    def __enter__(self) -> "SlowLink":
        try:
            command = self.run.command
            command("ip", "netns", "add", self.namespace)
            command("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.namespace)
            command("ip", "address", "add", f"{self.address}/30", "dev", self.near)
            command("ip", "link", "set", self.near, "up")
            command(*self.inside(), "ip", "address", "add", f"{self.far_address}/30", "dev", self.far)
            command(*self.inside(), "ip", "link", "set", self.far, "up")
            command(*self.inside(), "ip", "link", "set", "lo", "up")
            bucket = ["root", "tbf", "rate", self.rate, "burst", self.BURST, "latency", self.LATENCY]
            command("tc", "qdisc", "add", "dev", self.near, *bucket)
            command(*self.inside(), "tc", "qdisc", "add", "dev", self.far, *bucket)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        quietly("ip", "link", "delete", self.near)
        quietly("ip", "netns", "delete", self.namespace)

    def inside(self) -> list[str]:
        """What goes before a command so that it runs behind the link."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def sent_bytes(self) -> int:
        """What has left the near end so far, headers of every layer included."""
        return int(pathlib.Path(f"/sys/class/net/{self.near}/statistics/tx_bytes").read_text())
