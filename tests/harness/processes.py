"""The three binaries as objects: Server and Agent run in the background, Cli runs to its end."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess

from tests.harness import metrics
from tests.harness.hosts import LOOPBACK, Host
from tests.harness.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("AETHERFS_BIN_DIR", ROOT / "build/bin"))
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 40
CLI_TIMEOUT_S = 120

# Exit statuses, as docs and interface say.
DONE, FAILED, USAGE, NOT_FOUND, CONFLICT, UNAVAILABLE, NOT_PERMITTED = range(7)


def environment(home: pathlib.Path, extra=None) -> dict:
    """What a process sees: nothing of this machine's settings, a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **(extra or {})}


class Daemon:
    """A process in the background. Started again, it has the same addresses and continues its log."""

    def __init__(self, name: str, directory: pathlib.Path, env: dict, host: Host = LOOPBACK):
        self.name = name
        self.host = host
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.env = env
        self.log_path = directory / f"{name}.log"
        self.http_port = host.free_port()
        self.process = None

    @property
    def http_address(self) -> str:
        return f"{self.host.address}:{self.http_port}"

    def argv(self) -> list:
        raise NotImplementedError

    def start(self, wait: str = "/healthz"):
        """Starts and waits for the page `wait`; not at all when it is empty."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.host.enter(self.argv()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.directory,
            )
        if wait:
            self.wait_for(wait)
        return self

    def wait_for(self, page: str, timeout_s: float = START_TIMEOUT_S) -> None:
        def answered():
            assert self.running(), f"{self.name} ended with {self.process.returncode}:\n{self.log()}"
            return self.get(page)[0] == 200

        wait_until(answered, lambda: f"{self.name} says 200 to {page}: {self.get(page)}\n{self.log()}", timeout_s)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def get(self, page: str):
        return self.host.http_get(self.http_port, page)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-8000:] if self.log_path.exists() else ""

    def metric(self, name: str, labels: str = "") -> float:
        """The sum over all lines of a metric whose labels contain the text."""
        return metrics.total(self.metrics(), name, labels)

    def metrics(self) -> dict:
        """The whole page: name{labels} -> value."""
        status, body = self.get("/metrics")
        assert status == 200, body
        return metrics.parse(body)

    def freeze(self) -> None:
        """It stands still, and its kernel goes on taking what it is sent."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As the kernel would: no warning, nothing flushed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end_soon(self) -> None:
        """SIGTERM, also to one that stands still."""
        self.process.send_signal(signal.SIGTERM)
        self.thaw()

    def terminate(self) -> int:
        """SIGTERM and its exit status."""
        self.end_soon()
        return self.process.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        if self.running():
            self.end_soon()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


class Server(Daemon):
    def __init__(
        self, directory: pathlib.Path, store: str, *flags: str, env=None, name: str = "server", host: Host = LOOPBACK
    ):
        super().__init__(name, directory, environment(directory, env), host)
        self.address = f"{host.address}:{host.free_port()}"
        self.store = store
        self.flags = flags

    def argv(self) -> list:
        where = ["--listen", self.address, "--http-listen", self.http_address, "--store", self.store]
        return [BIN / "aetherfs-server", *where, *self.flags]

    def start(self, wait: str = "/readyz"):
        return super().start(wait)


class Agent(Daemon):
    def __init__(
        self,
        directory: pathlib.Path,
        servers,
        *flags: str,
        env=None,
        name: str = "agent",
        root=None,
        host: Host = LOOPBACK,
    ):
        super().__init__(name, directory, environment(directory, env), host)
        self.servers = servers if isinstance(servers, str) else servers.address
        self.root = pathlib.Path(root) if root else directory / f"{name}-root"
        self.socket = directory / f"{name}.sock"
        self.flags = flags

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def argv(self) -> list:
        where = ["--server", self.servers, "--listen", self.address, "--root", self.root]
        where += ["--http-listen", self.http_address]
        return [BIN / "aetherfs-agent", *where, *self.flags]

    def link(self, reference: str) -> pathlib.Path:
        """Where a subscription's files are: ROOT/dataset/tag."""
        dataset, _, tag = reference.partition(":")
        return self.root / dataset / (tag or "latest")

    def snapshots(self, dataset: str) -> list:
        kept = self.root / ".aetherfs/snapshots" / dataset.replace("/", "%2F")
        return sorted(path.name for path in kept.iterdir()) if kept.exists() else []

    def staging(self) -> list:
        """What is being filled: dataset/snapshot. A dataset's own directory may stay."""
        staging = self.root / ".aetherfs/staging"
        return sorted(str(path.relative_to(staging)) for path in staging.glob("*/*"))


@dataclasses.dataclass
class Finished:
    argv: list
    status: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list:
        return [json.loads(line) for line in self.stdout.splitlines() if line]

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}\nstatus {self.status}\nstdout: {self.stdout}\nstderr: {self.stderr}"


class Cli:
    """`aetherfs`, told where the server and the agent are."""

    def __init__(self, directory: pathlib.Path, server=None, agent=None, env=None, host: Host = LOOPBACK):
        self.directory = directory
        self.host = host
        self.server = server if server is None or isinstance(server, str) else server.address
        self.agent = agent if agent is None or isinstance(agent, str) else agent.address
        self.env = environment(directory / "home", env)
        (directory / "home").mkdir(parents=True, exist_ok=True)

    def argv(self, *words) -> list:
        agent_commands = ("subscribe", "unsubscribe", "status", "pin", "unpin", "back")
        where = []
        if words and words[0] in agent_commands and self.agent:
            where = ["--agent", self.agent]
        elif self.server and "--agent" not in words:
            where = ["--server", self.server]
        command, *rest = [str(word) for word in words]
        return self.host.enter([BIN / "aetherfs", command, *where, *rest])

    def start(self, *words, **options) -> subprocess.Popen:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(
            self.argv(*words), stdin=subprocess.DEVNULL, env=self.env, cwd=self.directory, text=True, **options
        )

    def run(self, *words, status=None, timeout_s: float = CLI_TIMEOUT_S) -> Finished:
        """Runs to its end; with `status`, that must be its exit status."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"took more than {timeout_s} s: {process.args}\n{out}\n{err}") from None
        finished = Finished(process.args, process.returncode, out, err)
        assert status is None or finished.status == status, f"status should be {status}: {finished}"
        return finished

    def json(self, *words, **options):
        """What a command that succeeds prints with -o json."""
        return self.run(*words, "-o", "json", status=DONE, **options).json

    def publish(self, reference: str, path, *flags):
        return self.json("publish", reference, path, *flags)

    def pull(self, reference: str, path, *flags):
        return self.json("pull", reference, path, *flags)
