"""Several servers that cache for each other, and many consumers, for benchmarks."""

import contextlib
import json
import subprocess

from bench.run import BIN, Run, Server, free_port, wait_until

CACHE_MIB = 512


class Cluster:
    """Servers on loopback over one store, which see each other. They keep their addresses when they are started
    again: with other ones they would own other parts."""

    def __init__(self, run: Run, store: str, count: int = 3, *flags, env: dict | None = None, name: str = "server"):
        self.run, self.store, self.env, self.name = run, store, env, name
        self.ports = [free_port() for _ in range(count)]
        self.addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.flags = ["--cache-memory", f"{CACHE_MIB}MiB", *flags]
        self.servers: list[Server] = []
        self.peak_mib = 0.0
        self.start()

    def start(self) -> None:
        for number, port in enumerate(self.ports):
            peers = ["--peers", self.addresses, "--advertise", f"127.0.0.1:{port}"] if len(self.ports) > 1 else []
            self.servers.append(Server(self.run, self.store, *self.flags, *peers, env=self.env, port=port,
                                       name=f"{self.name}{number}"))
        seen = len(self.ports) - 1
        wait_until(lambda: all(server.metric("aetherfs_peer_healthy") >= seen for server in self.servers),
                   "the servers see each other")

    def stop(self) -> None:
        self.note_memory()
        for server in self.servers:
            server.stop()
            self.run.daemons.remove(server)
        self.servers.clear()

    def restart_cold(self) -> None:
        self.stop()
        self.start()

    def note_memory(self) -> None:
        """The largest resident set that any of them has had, beyond its cache."""
        peaks = [server.status_kib("VmHWM") / 1024 - CACHE_MIB for server in self.servers if server.alive()]
        self.peak_mib = max(self.peak_mib, *peaks)

    def read_from_store(self) -> float:
        """Bytes since they started, journals and manifests included, of those that run."""
        return sum(server.metric("aetherfs_store_bytes_total", 'operation="get"')
                   for server in self.servers if server.alive())

    def publish(self, reference: str, source, *flags) -> None:
        self.run.cli("publish", "--server", self.addresses, "--quiet", *flags, reference, source)


@contextlib.contextmanager
def consumers(cluster: Cluster, reference: str, count: int, connections: int):
    """bench-consumers at work."""
    argv = [BIN / "bench-consumers", cluster.addresses, reference, count, connections]
    process = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def result_of(process: subprocess.Popen) -> dict:
    """Waits for all consumers, none of whom may fail."""
    found = json.loads(process.stdout.read().splitlines()[-1])
    if process.wait() != 0 or found["integrity_failures"]:
        raise RuntimeError(f"consumers failed: {found}")
    return found


def consume(cluster: Cluster, reference: str, count: int = 1, connections: int = 4) -> dict:
    with consumers(cluster, reference, count, connections) as process:
        return result_of(process)
