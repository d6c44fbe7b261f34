"""Hosts of our own: network namespaces around a router, with cables that can be cut.

    with Network() as network:
        a, b = network.host("a"), network.host("b")
        subprocess.Popen(a.enter(["some", "server", "--listen", f"{a.address}:80"]))
        network.cut(a, b)

Everything is inside namespaces made here: the router is one, every host another, and each pair of ends is a
veth between the two. The machine's own namespace gets no interface, no address and no route, so nothing here
can reach beyond. Needs root, and iproute2 and nsenter.

Names carry the pid of their maker and when that process began, so that runs side by side do not meet, and what a
killed run left behind is found by the next one.
"""

import ctypes
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

from tests.harness.hosts import Host
from tests.harness.waiting import wait_until

NAMESPACES = pathlib.Path("/run/netns")
PREFIX = "aetherfs-net"
COMMAND_TIMEOUT_S = 30
FIRST_PORT = 7400
MOST_HOSTS = 250
CLONE_NEWNET = 0x40000000
# A burst that the timer of a kernel with 250 ticks a second can refill at a gigabit; a queue as switches have it.
BURST, QUEUE = "64kb", "50ms"

_serial = itertools.count(1)


def command(*argv, stdin: str = "") -> str:
    done = subprocess.run(
        [str(word) for word in argv], input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
    )
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr.strip()} (these tests need root)\n{stdin}"
    return done.stdout


def began(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty if there is no such process."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def own_name(serial: int, name: str) -> str:
    return f"{PREFIX}-{os.getpid()}-{began(os.getpid())}-{serial}-{name}"


def end_namespace(name: str) -> None:
    """Ends what runs in a namespace that is ours, and removes it. Of a killed run's there may be processes left."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    for pid in map(int, found.stdout.split()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    # Another run may have been quicker.
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=COMMAND_TIMEOUT_S)


def remove_leftovers() -> None:
    if not NAMESPACES.exists():
        return
    for path in NAMESPACES.iterdir():
        found = re.fullmatch(rf"{PREFIX}-(\d+)-(\d+)-.*", path.name)
        if found and began(int(found[1])) != found[2]:
            end_namespace(path.name)


def in_namespace(path: pathlib.Path, make):
    """What `make()` returns, called in a thread that has joined a network namespace. Sockets made so stay there."""
    result = []

    def run():
        handle = os.open(path, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(handle, CLONE_NEWNET) != 0:
                result.append(OSError(ctypes.get_errno(), f"could not join {path}"))
                return
            result.append(make())
        except BaseException as error:
            result.append(error)
        finally:
            os.close(handle)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


class NamespaceHost(Host):
    """One host: its loopback and `eth0`, which leads to the router. Made by Network.host()."""

    def __init__(self, namespace: str, name: str, number: int):
        self.namespace, self.name, self.number = namespace, name, number
        self.address = f"10.77.{number}.2"
        self.gateway = f"10.77.{number}.1"
        self.port_of_router = f"host{number}"
        self.ports = itertools.count(FIRST_PORT)

    @property
    def path(self) -> pathlib.Path:
        return NAMESPACES / self.namespace

    def enter(self, argv) -> list:
        return ["nsenter", f"--net={self.path}", "--", *super().enter(argv)]

    def free_port(self) -> int:
        return next(self.ports)

    def new_socket(self) -> socket.socket:
        return in_namespace(self.path, super().new_socket)

    def ping(self, other: "NamespaceHost", timeout_s: float = 0.3) -> bool:
        """Whether a packet gets to the other host and back: its kernel refuses a connection that nobody takes."""
        with self.new_socket() as probe:
            probe.settimeout(timeout_s)
            try:
                probe.connect((other.address, 1))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
            return True


class Network:
    """Gone when the block ends, with what still runs in it, however it ends. Not thread-safe."""

    def __init__(self):
        self.serial = next(_serial)
        self.router = own_name(self.serial, "router")
        self.hosts = []
        self.cuts = set()

    def __enter__(self):
        remove_leftovers()
        try:
            command("ip", "netns", "add", self.router)
            command("ip", "-n", self.router, "link", "set", "dev", "lo", "up")
            forward = "echo 1 >/proc/sys/net/ipv4/ip_forward"
            command("nsenter", f"--net={NAMESPACES / self.router}", "--", "sh", "-c", forward)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        for host in reversed(self.hosts):
            end_namespace(host.namespace)
        self.hosts.clear()
        end_namespace(self.router)

    def host(self, name: str) -> NamespaceHost:
        number = len(self.hosts) + 1
        assert number <= MOST_HOSTS and re.fullmatch(r"[a-z0-9-]{1,40}", name), name
        host = NamespaceHost(own_name(self.serial, name), name, number)
        self.hosts.append(host)
        command("ip", "netns", "add", host.namespace)
        port = host.port_of_router
        command("ip", "link", "add", port, "netns", self.router, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        router = [f"address add {host.gateway}/30 dev {port}", f"link set dev {port} up"]
        command("ip", "-n", self.router, "-batch", "-", stdin="\n".join(router) + "\n")
        inside = [
            "link set dev lo up",
            f"address add {host.address}/30 dev eth0",
            "link set dev eth0 up",
            f"route add default via {host.gateway}",
        ]
        command("ip", "-n", host.namespace, "-batch", "-", stdin="\n".join(inside) + "\n")
        return host

    def cut(self, a: NamespaceHost, b: NamespaceHost) -> None:
        """Packets between these two are lost from now on, without a word to either; both still reach all others."""
        if frozenset((a, b)) not in self.cuts:
            self.cuts.add(frozenset((a, b)))
            self._rules("add", a, b)

    def heal(self, a: NamespaceHost, b: NamespaceHost) -> None:
        if frozenset((a, b)) in self.cuts:
            self.cuts.remove(frozenset((a, b)))
            self._rules("delete", a, b)

    def _rules(self, verb: str, a: NamespaceHost, b: NamespaceHost) -> None:
        # The router drops what such a rule matches and sends no ICMP, as a cable that was pulled.
        both = [f"rule {verb} from {x.address} to {y.address} blackhole" for x, y in ((a, b), (b, a))]
        command("ip", "-n", self.router, "-batch", "-", stdin="\n".join(both) + "\n")

    def isolate(self, host: NamespaceHost) -> None:
        """Cut off from every other host that there is now."""
        for other in self.hosts:
            if other is not host:
                self.cut(host, other)

    def rejoin(self, host: NamespaceHost) -> None:
        for pair in list(self.cuts):
            if host in pair:
                self.heal(*pair)

    def limit(self, host: NamespaceHost, rate: str = "") -> None:
        """A host's connection gets this rate in each direction, "100mbit"; again as fast as it can without."""
        ends = (("-n", self.router, host.port_of_router), ("-n", host.namespace, "eth0"))
        for flag, namespace, device in ends:
            tc = ["tc", flag, namespace, "qdisc"]
            shaped = "tbf" in command(*tc, "show", "dev", device)
            if rate:
                bucket = ["root", "tbf", "rate", rate, "burst", BURST, "latency", QUEUE]
                command(*tc, "replace", "dev", device, *bucket)
            elif shaped:
                command(*tc, "delete", "dev", device, "root")

    def wait_reachable(self, a: NamespaceHost, b: NamespaceHost) -> None:
        wait_until(lambda: a.ping(b, 1), f"{a.name} reaches {b.name}")

    def passed_bytes(self, host: NamespaceHost) -> dict:
        """What has gone over a host's connection so far, headers included: bytes `sent` and `received`."""
        shown = json.loads(command("ip", "-n", host.namespace, "-json", "-statistics", "link", "show", "dev", "eth0"))
        return {"sent": shown[0]["stats64"]["tx"]["bytes"], "received": shown[0]["stats64"]["rx"]["bytes"]}
