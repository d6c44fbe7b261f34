"""Several servers over one store, each on a host of its own, and clients that know all of them."""

import contextlib

from tests.harness import trees, versions
from tests.harness.network import Network
from tests.harness.processes import Cli, Server
from tests.harness.proxy import FaultyProxy
from tests.harness.tcp_proxy import TcpProxy
from tests.harness.world import World

# A long interval, so that what is heard of within seconds was pushed.
POLL_NEVER = "60s"
POLL_OFTEN = "1s"
ACTIVE_TIMEOUT_S = 60


class Cluster(World):
    """`with Cluster() as cluster`: the servers are up. The store is a directory that all of them share, as
    processes of one machine can; or, with a `gateway`, S3 behind two proxies on a host `store`:
    `s3` harms requests and answers (tests/harness/proxy.py), `wire` harms bytes (tests/harness/tcp_proxy.py).

    Servers' hosts are `server0`, `server1`, …; commands and agents run on the host `clients`. So a cut between
    two servers leaves both in reach of clients and store.
    """

    def __init__(self, servers: int = 3, gateway=None, flags=(), poll: str = POLL_OFTEN, peers: bool = True):
        super().__init__()
        self.gateway, self.flags, self.poll, self.peers = gateway, flags, poll, peers
        self.count = servers
        self.servers = []
        self.s3 = self.wire = None
        self.exits = contextlib.ExitStack()

    def __enter__(self):
        try:
            # In the order in which they go again: processes first, then what they talked through.
            self.network = self.exits.enter_context(Network())
            if self.gateway:
                self._put_proxies_before(self.gateway)
            self.client_host = self.network.host("clients")
            for number in range(self.count):
                self.servers.append(self.new_server(name=f"server{number}", host=self.network.host(f"server{number}")))
            if self.peers:
                for server in self.servers:
                    server.flags += ("--peers", self.addresses, "--advertise", server.address)
            self.start_servers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.s3:
            self.s3.faults.clear()
        for daemon in self.daemons:
            if daemon.running():
                daemon.end_soon()
        try:
            super().__exit__()
        finally:
            self.exits.close()

    def _put_proxies_before(self, gateway) -> None:
        self.store_host = self.network.host("store")
        name, _, port = gateway.endpoint.removeprefix("http://").partition(":")
        assert name == "127.0.0.1", gateway.endpoint
        self.wire = self.exits.enter_context(TcpProxy(upstream_port=int(port)))
        self.s3 = self.exits.enter_context(FaultyProxy(f"http://{self.wire.address}", self.store_host))
        self.store = gateway.store(self.s3.endpoint)
        self.env = gateway.environment()

    def new_server(self, *flags, **options) -> Server:
        return super().new_server("--poll-interval", self.poll, *self.flags, *flags, **options)

    def start_servers(self) -> None:
        for server in self.servers:
            server.start(wait="")
        for server in self.servers:
            server.wait_for("/readyz")

    def restart_cold(self) -> None:
        """All servers anew, with nothing in their memory."""
        for server in self.servers:
            server.end_soon()
        for server in self.servers:
            server.process.wait(ACTIVE_TIMEOUT_S)
        self.start_servers()

    @property
    def addresses(self) -> str:
        return ",".join(server.address for server in self.servers)

    @property
    def server(self) -> Server:
        return self.servers[0]

    @property
    def cli(self) -> Cli:
        """Asks any of the servers."""
        return Cli(self.directory, self.addresses, host=self.client_host)

    def cli_of(self, server: Server) -> Cli:
        """Knows this server only."""
        return Cli(self.directory, server, host=self.client_host)

    def new_agents(self, count: int, *flags, servers: str = "") -> list:
        """Running, each with a version of all that it subscribes to."""
        first = len(self.daemons)
        where = {"servers": servers or self.addresses, "host": self.client_host}
        agents = [self.new_agent(*flags, name=f"agent{first + number}", **where) for number in range(count)]
        for agent in agents:
            agent.start(wait="")
        for agent in agents:
            agent.wait_for("/readyz", ACTIVE_TIMEOUT_S)
        return agents

    def current(self, agent, reference: str = "data") -> str:
        """The digest of what is active at an agent; empty if nothing is."""
        status = self.client(agent).subscription(reference)
        return status.active_digest if status else ""

    def wait_all_active(self, agents, reference: str, digest: str, timeout_s: float = ACTIVE_TIMEOUT_S) -> None:
        for agent in agents:
            self.wait_active(agent, reference, digest, timeout_s)

    def assert_all_hold(self, agents, reference: str, tree) -> None:
        """Byte for byte what was published: a tree, or the number of a version."""
        for agent in agents:
            held = agent.link(reference).resolve()
            if isinstance(tree, int):
                assert versions.check(held) == tree, agent.name
            else:
                trees.assert_same(tree, held)

    def cut(self, a: Server, b: Server) -> None:
        self.network.cut(a.host, b.host)

    def heal(self, a: Server, b: Server) -> None:
        self.network.heal(a.host, b.host)

    def total(self, metric: str, labels: str = "") -> float:
        """Over all servers that run."""
        return sum(server.metric(metric, labels) for server in self.servers if server.running())
