"""One test's servers, agents and directories; all gone when it ends."""

import pathlib
import shutil
import tempfile

from tests.harness.api import Client
from tests.harness.hosts import LOOPBACK, Host
from tests.harness.processes import Agent, Cli, Server
from tests.harness.waiting import wait_until


class World:
    """Nothing is started before it is asked for. On the way out everything stops and the logs are printed,
    which pytest shows for tests that failed."""

    def __init__(self, store: str = "", env=None):
        # Short: sockets lie in it, and their paths have a limit of about a hundred bytes.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="afs-", dir="/tmp"))
        self.store = store or f"file://{self.directory}/store"
        self.env = env or {}
        self.daemons = []
        self.clients = {}
        self._server = self._agent = None

    @classmethod
    def over(cls, gateway, endpoint: str = ""):
        """Over S3; through another endpoint than its own if there is one."""
        return cls(gateway.store(endpoint), gateway.environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.channel.close()
        for daemon in reversed(self.daemons):
            daemon.close()
            print(f"--- {daemon.name}, ended with {daemon.process and daemon.process.returncode}\n{daemon.log()}")
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def store_directory(self) -> pathlib.Path:
        assert self.store.startswith("file://")
        return pathlib.Path(self.store.removeprefix("file://"))

    def new_server(self, *flags, name: str = "", store: str = "", host: Host = LOOPBACK) -> Server:
        name = name or f"server{len(self.daemons)}"
        server = Server(self.directory, store or self.store, *flags, env=self.env, name=name, host=host)
        self.daemons.append(server)
        return server

    def new_agent(self, *flags, name: str = "", servers=None, root=None, host: Host = LOOPBACK) -> Agent:
        name = name or f"agent{len(self.daemons)}"
        agent = Agent(self.directory, servers or self.server, *flags, name=name, root=root, host=host)
        self.daemons.append(agent)
        return agent

    @property
    def server(self) -> Server:
        """The one server of most tests, running."""
        if self._server is None:
            self._server = self.new_server(name="server").start()
        return self._server

    @property
    def agent(self) -> Agent:
        """The one agent of most tests, running."""
        if self._agent is None:
            self._agent = self.new_agent(name="agent").start()
        return self._agent

    @property
    def cli(self) -> Cli:
        """Asks the server, and the agent where a command is for agents and there is one."""
        return Cli(self.directory, self.server, self._agent)

    def client(self, daemon=None) -> Client:
        daemon = daemon or self.server
        if daemon.address not in self.clients:
            self.clients[daemon.address] = Client(daemon.address)
        return self.clients[daemon.address]

    def history(self, dataset: str, server=None) -> list:
        """The journal, oldest first: sequence number and digest of each publication; as one server has it, if one
        is named."""
        cli = Cli(self.directory, server, host=server.host) if server else self.cli
        changes = cli.json("log", dataset, "-n", "10000")["changes"]
        return [(change["seq"], change.get("snapshot", {}).get("digest")) for change in reversed(changes)]

    def path(self, *names: str) -> pathlib.Path:
        return self.directory.joinpath(*names)

    def wait_active(self, agent: Agent, reference: str, digest: str, timeout_s: float = 30):
        """Until the agent says that this digest is what is active; its status then."""
        client = self.client(agent)

        def active():
            status = client.subscription(reference)
            return status if status and status.active_digest == digest else None

        return wait_until(active, lambda: f"{digest} active at {agent.name}: {client.subscription(reference)}", timeout_s)
