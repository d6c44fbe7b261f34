"""Several servers over one store, each on a host of its own, and clients that know all of them."""

import contextlib

from tests.harness import trees, versions
from tests.harness.network import Network
from tests.harness.processes import Cli, Server
from tests.harness.proxy import FaultyProxy
from tests.harness.tcp_proxy import TcpProxy
from tests.harness.waiting import wait_until
from tests.harness.world import World

# A long interval, so that what is heard of within seconds was pushed.
POLL_NEVER = "60s"
POLL_OFTEN = "1s"
ACTIVE_TIMEOUT_S = 60


class Cluster(World):
    """`with Cluster() as cluster`: the servers are up. The store is a directory that all of them share, as
    processes of one machine can; or, with a `gateway`, S3 on a host `store`, behind two proxies: `wire` harms
    bytes (tests/harness/tcp_proxy.py), `s3` behind it requests and answers (tests/harness/proxy.py).

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
        self.s3 = self.exits.enter_context(FaultyProxy(gateway.endpoint))
        port = int(self.s3.endpoint.rpartition(":")[2])
        self.wire = self.exits.enter_context(TcpProxy(port, host=self.store_host))
        self.store = gateway.store(f"http://{self.wire.address}")
        self.env = gateway.environment()

    def new_server(self, *flags, **options) -> Server:
        return super().new_server("--poll-interval", self.poll, *self.flags, *flags, **options)

    def start_servers(self) -> None:
        for server in self.servers:
            server.start(wait="")
        for server in self.servers:
            server.wait_for("/readyz")
        self.wait_formed()

    def sees(self, server: Server, other: Server) -> bool:
        """Whether a server takes another one for one that works."""
        return server.metric("aetherfs_peer_healthy", f'peer="{other.address}"') == 1

    def wait_formed(self, servers=None) -> None:
        """Until these, or all, see each other."""
        if not self.peers:
            return
        members = servers or self.servers
        pairs = [(a, b) for a in members for b in members if a is not b]
        for a, b in pairs:
            wait_until(lambda: self.sees(a, b), lambda: f"{a.name} sees {b.name}:\n{a.log()}")

    def wait_parted(self, a: Server, b: Server) -> None:
        """Until neither takes the other for one that works."""
        wait_until(lambda: not self.sees(a, b) and not self.sees(b, a), f"{a.name} and {b.name} have lost each other")

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

    def read_from_store(self) -> float:
        """Bytes, journals and manifests included, since the servers that run started."""
        return self.total("aetherfs_store_bytes_total", 'operation="get"')

    def stored_bytes(self, dataset: str) -> int:
        """What a directory store keeps of a dataset: all that a consumer could want of it."""
        kept = self.store_directory / "datasets" / dataset.replace("/", "%2F")
        return sum(path.stat().st_size for path in kept.rglob("*") if path.is_file())

    def main_owner(self, dataset: str = "data") -> Server:
        """Who owns most of a dataset's parts. Caches are cold before and after."""
        self.restart_cold()
        self.cli.pull(dataset, self.path("to-find-the-owner"))
        owner = max(self.servers, key=lambda server: server.metric("aetherfs_store_bytes_total", 'operation="get"'))
        self.restart_cold()
        return owner
