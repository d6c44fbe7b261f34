"""What every benchmark needs: a working directory, our processes and the baselines', timing in turn, figures."""

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from tests.harness import metrics
from tests.harness.hosts import LOOPBACK

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("AETHERFS_BIN_DIR", ROOT / "build" / "bin"))
START_TIMEOUT_S = 60


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(ready, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.02)
    raise TimeoutError(f"{what}: not so within {timeout_s} s")


def expect_line(process: subprocess.Popen, word: str, timeout_s: float) -> None:
    """Waits for a process to print this line; of its output nothing may have been read ahead."""
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline().strip() if ready else "nothing"
    if line != word:
        raise RuntimeError(f"{process.args[0]} printed '{line}' within {timeout_s:.0f} s, not '{word}'")


def http_ok(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


class Daemon:
    """A process that runs in the background, with its peak memory."""

    def __init__(self, run: "Run", name: str, argv: list, env: dict | None = None):
        self.log_path = run.dir / f"{name}.log"
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([str(a) for a in argv], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})

    @property
    def pid(self) -> int:
        return self.process.pid

    def status_kib(self, field: str) -> int:
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise KeyError(field)

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def kill(self) -> None:
        """SIGKILL; stop() may follow."""
        self.process.kill()
        self.process.wait()


class Server(Daemon):
    def __init__(self, run: "Run", store: str, *flags, env: dict | None = None, name: str = "server",
                 host: str = "127.0.0.1", port: int = 0):
        self.port, self.http_port = port or free_port(), free_port()
        self.address = f"{host}:{self.port}"
        super().__init__(run, name, [BIN / "aetherfs-server", "--listen", self.address, "--http-listen",
                                     f"127.0.0.1:{self.http_port}", "--store", store, *flags], env)
        run.daemons.append(self)
        wait_until(lambda: http_ok(self.http_port, "/readyz") or not self.alive(), "server ready")
        if not self.alive():
            raise RuntimeError("the server ended: " + self.log_path.read_text()[-2000:])

    def metric(self, name: str, labels: str = "") -> float:
        """The sum over all lines of a metric whose labels contain the text."""
        status, page = LOOPBACK.http_get(self.http_port, "/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics of {self.address}: {page}")
        return metrics.total(metrics.parse(page), name, labels)


class Agent(Daemon):
    def __init__(self, run: "Run", server: Server, *flags, name: str = "agent"):
        self.root = run.dir / f"{name}-root"
        self.socket = f"unix://{run.dir}/{name}.sock"
        self.http_port = free_port()
        super().__init__(run, name, [BIN / "aetherfs-agent", "--server", server.address, "--listen", self.socket,
                                     "--root", self.root, "--http-listen", f"127.0.0.1:{self.http_port}", *flags])
        run.daemons.append(self)
        wait_until(lambda: http_ok(self.http_port, "/healthz") or not self.alive(), "agent up")
        if not self.alive():
            raise RuntimeError("the agent ended: " + self.log_path.read_text()[-2000:])


class Run:
    """One benchmark's working directory and processes; all gone when it ends."""

    def __init__(self, bench: str, where: str, rounds: int, scale: float, datasets: tuple = ()):
        self.bench, self.rounds, self.scale, self.datasets = bench, rounds, scale, datasets
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"aetherfs-bench-{bench}-", dir=where))
        self.daemons: list[Daemon] = []

    def __enter__(self) -> "Run":
        self.say(f"working in {self.dir}")
        return self

    def __exit__(self, *_) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()
        self.remove(self.dir)

    def say(self, text: str) -> None:
        print(f"{self.bench}: {text}", file=sys.stderr, flush=True)

    def command(self, *argv, env: dict | None = None, cwd=None) -> str:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd=cwd,
                              env={**os.environ, "AETHERFS_CACHE_DIR": str(self.dir / "cli-cache"), **(env or {})})
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: exit status {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def cli(self, *argv, env: dict | None = None) -> str:
        return self.command(BIN / "aetherfs", *argv, env=env)

    def remove(self, *paths) -> None:
        for path in paths:
            path = pathlib.Path(path)
            if path.is_dir() and not path.is_symlink():
                subprocess.run(["chmod", "-R", "u+rwX", str(path)], check=False)
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def in_turn(self, sides: dict, before=None) -> dict:
        """Times each side once per round, one after the other, after a round that is not counted."""
        times: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(self.rounds + 1):
            for name, side in sides.items():
                if before is not None:
                    before(name)
                begin = time.perf_counter()
                side()
                seconds = time.perf_counter() - begin
                if number > 0:
                    times[name].append(seconds)
            self.say(f"round {number}: " + ", ".join(
                f"{name} {(values[-1] if values else float('nan')):.3f} s" for name, values in times.items()))
        return times

    def figure(self, metric: str, value: float, unit: str, baseline: str = "", baseline_value: float | None = None,
               ratio: float | None = None, **more) -> None:
        print(json.dumps({"bench": self.bench, "metric": metric, "value": value, "unit": unit, "baseline": baseline,
                          "baseline_value": baseline_value, "ratio": ratio, **more}), flush=True)

    def judge(self, what: str, holds: bool) -> None:
        """What is to be reached, and whether it is."""
        self.say(f"{'pass' if holds else 'FAIL'}: {what}")

    def compare(self, metric: str, times: dict, ours: str = "aetherfs", **more) -> dict[str, float]:
        """A figure per baseline: medians, and the median of baseline ÷ ours, round by round: above 1, ours is faster.
        Returns those ratios."""
        found = {}
        for name, values in times.items():
            if name == ours:
                continue
            ratios = [theirs / mine for theirs, mine in zip(values, times[ours])]
            found[name] = statistics.median(ratios)
            self.figure(metric, statistics.median(times[ours]), "s", name, statistics.median(values), found[name],
                        **more)
        return found


def write_random(path: pathlib.Path, size: int, seed: int = 1) -> None:
    import random
    source = random.Random(seed)
    with open(path, "wb") as f:
        while size > 0:
            piece = source.randbytes(min(size, 1 << 22))
            f.write(piece)
            size -= len(piece)


def write_text(path: pathlib.Path, size: int, seed: int = 1) -> None:
    """Lines of words and numbers, as a CSV export has them; zstd -3 makes about a third of it."""
    import random
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(3, 10))) for _ in range(20000)]
    with open(path, "w") as f:
        written = 0
        while written < size:
            lines = []
            for _ in range(5000):
                lines.append(f"{source.randrange(10**8)},{','.join(source.choices(words, k=6))},{source.random():.6f}\n")
            piece = "".join(lines)[:size - written]
            f.write(piece)
            written += len(piece)
