"""The hosts that the scenarios run on: what the harness promises."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from tests.harness import network as network_module
from tests.harness.network import NAMESPACES, Network
from tests.harness.processes import ROOT
from tests.harness.waiting import wait_until


@pytest.fixture
def network():
    with Network() as made:
        yield made


def connected(a, b):
    """Two ends of a connection from a to b."""
    with b.new_socket() as listener:
        listener.bind((b.address, 0))
        listener.listen()
        end = a.new_socket()
        end.settimeout(10)
        end.connect(listener.getsockname())
        other, _ = listener.accept()
        other.settimeout(10)
        return end, other


def test_a_cut_is_between_two_hosts_only_and_heals(network):
    a, b, c = (network.host(name) for name in "abc")
    assert a.ping(b) and b.ping(a)
    network.cut(a, b)
    network.cut(b, a)  # is cut already
    assert not a.ping(b) and not b.ping(a)
    assert a.ping(c) and c.ping(a) and b.ping(c) and c.ping(b)
    network.heal(b, a)
    assert a.ping(b) and b.ping(a)
    network.isolate(a)
    assert not a.ping(b) and not c.ping(a) and b.ping(c)
    network.rejoin(a)
    assert a.ping(b) and c.ping(a)


def test_what_is_sent_into_a_cut_arrives_when_it_is_healed(network):
    a, b = network.host("a"), network.host("b")
    end, other = connected(a, b)
    with end, other:
        network.cut(a, b)
        end.sendall(b"hello")  # its sender hears of nothing
        other.settimeout(0.3)
        with pytest.raises(TimeoutError):
            other.recv(5)
        network.heal(a, b)
        other.settimeout(10)
        assert other.recv(5) == b"hello"


def test_a_rate_is_kept_in_both_directions_and_lifted(network):
    a, b = network.host("a"), network.host("b")
    amount = 500_000

    def seconds(sender, receiver) -> float:
        with sender, receiver:
            began = time.monotonic()
            sender.sendall(bytes(amount))
            sender.shutdown(socket.SHUT_WR)
            left = amount
            while left:
                left -= len(receiver.recv(1 << 16))
            return time.monotonic() - began

    # All of it fits into the sockets' buffers, so one thread will do. 64 KiB pass in one burst.
    network.limit(a, "16mbit")
    at_rate = (amount - 64 * 1024) / 2e6
    assert at_rate * 0.9 < seconds(*connected(a, b)) < at_rate * 4
    assert at_rate * 0.9 < seconds(*reversed(connected(a, b))) < at_rate * 4
    network.limit(a)
    assert seconds(*connected(a, b)) < at_rate
    passed = network.passed_bytes(a)
    assert passed["sent"] > 2 * amount and passed["received"] > amount


def test_nothing_of_a_network_is_in_the_machines_own_namespace(network):
    host = network.host("a")
    for probe in ("address", "route"):
        assert "10.77." not in network_module.command("ip", probe, "show")
    with socket.create_server(("127.0.0.1", 0)) as here:
        with pytest.raises(ConnectionRefusedError):
            host.connect(here.getsockname()[1], 5)


def test_a_process_of_a_host_is_the_one_that_was_started(network):
    host = network.host("a")
    process = subprocess.Popen(host.enter(["sleep", "1000"]))

    def program() -> str:
        return os.path.basename(os.readlink(f"/proc/{process.pid}/exe"))

    wait_until(lambda: program() != "nsenter" and "python" not in program(), "it runs")
    assert os.stat(f"/proc/{process.pid}/ns/net").st_ino == os.stat(host.path).st_ino
    network.close()
    assert process.wait(10) == -signal.SIGKILL, "what runs on a host goes with it"
    assert not host.path.exists()


MAKER = """
import json, subprocess, sys, time
from tests.harness.network import Network
with Network() as network:
    host = network.host("a")
    process = subprocess.Popen(host.enter(["sleep", "1000"]), stdout=subprocess.DEVNULL)
    print(json.dumps({"names": [network.router, host.namespace], "pid": process.pid}), flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_ones_is_not():
    def start():
        command = ["/usr/bin/python3", "-B", "-c", MAKER]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return process, json.loads(process.stdout.readline())

    (killed, of_killed), (living, of_living) = start(), start()
    try:
        killed.kill()
        killed.wait()
        assert all((NAMESPACES / name).exists() for name in of_killed["names"])
        with Network() as network:
            assert (NAMESPACES / network.router).exists()
            assert not any((NAMESPACES / name).exists() for name in of_killed["names"])
            wait_until(lambda: not network_module.began(of_killed["pid"]), "its process is gone")
            assert all((NAMESPACES / name).exists() for name in of_living["names"])
            assert network_module.began(of_living["pid"])
    finally:
        for process in (killed, living):
            process.stdin.close()
            process.wait(20)
            process.stdout.close()
    assert not any((NAMESPACES / name).exists() for name in of_living["names"])


def test_a_failure_inside_leaves_nothing():
    with pytest.raises(ZeroDivisionError), Network() as network:
        names = [network.router, network.host("a").namespace]
        raise ZeroDivisionError
    assert not any((NAMESPACES / name).exists() for name in names)
