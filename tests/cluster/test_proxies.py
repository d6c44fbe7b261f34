"""The proxies that the scenarios break things with: what the harness promises."""

import collections
import http.client
import http.server
import socket
import threading
import time

import pytest

from tests.harness.hosts import LOOPBACK
from tests.harness.network import Network
from tests.harness.proxy import Fault, FaultyProxy
from tests.harness.tcp_proxy import TcpProxy
from tests.harness.waiting import wait_until


@pytest.fixture
def echo():
    """The port of a server that sends back what it gets, for each connection until its end."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def serve(connection):
            with connection:
                try:
                    while data := connection.recv(1 << 16):
                        connection.sendall(data)
                except OSError:
                    pass

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def proxy(echo):
    with TcpProxy(echo) as made:
        yield made


def connect(proxy) -> socket.socket:
    return proxy.host.connect(proxy.port, 10)


def exchange(connection, data: bytes) -> bytes:
    """Sends it, says that this was all, and returns what came back until the other end's end."""
    threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR))).start()
    back = b""
    while piece := connection.recv(1 << 16):
        back += piece
    return back


def test_bytes_pass_as_they_are_and_are_counted(proxy):
    data = bytes(range(256)) * 5000
    with connect(proxy) as connection:
        assert exchange(connection, data) == data
    counts = proxy.counts()
    assert (counts["up"], counts["down"], counts["connections"], counts["harmed"]) == (len(data), len(data), 1, 0)
    wait_until(lambda: proxy.counts()["open"] == 0, lambda: f"closed at both sides: {proxy.counts()}")


def test_a_delay_holds_each_way_and_keeps_order(proxy):
    proxy.delay(0.1)
    with connect(proxy) as connection:
        began = time.monotonic()
        data = bytes(range(256)) * 2000
        assert exchange(connection, data) == data
        # Not a delay for each piece: they are on their way together.
        assert 0.2 <= time.monotonic() - began < 2


def test_a_throttle_is_one_for_all_connections(proxy):
    proxy.throttle(1e6, "down")
    with connect(proxy) as one, connect(proxy) as other:
        began = time.monotonic()
        back = []
        threads = [threading.Thread(target=lambda c=c: back.append(exchange(c, bytes(200_000)))) for c in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert back == [bytes(200_000)] * 2
        assert time.monotonic() - began > 0.38


def test_truncation_looks_like_an_end(proxy):
    proxy.truncate(1000)
    for _ in range(2):
        with connect(proxy) as connection:
            assert exchange(connection, bytes(5000)) == bytes(1000)
    proxy.heal()
    with connect(proxy) as connection:
        assert exchange(connection, bytes(5000)) == bytes(5000)
    assert proxy.counts()["harmed"] == 2


def test_corruption_flips_bits_at_the_rate_asked_for(proxy):
    proxy.corrupt(1000)
    with connect(proxy) as connection:
        back = exchange(connection, bytes(10_500))
    assert len(back) == 10_500
    assert [at for at, byte in enumerate(back) if byte] == list(range(1000, 10_500, 1000))
    assert proxy.counts()["harmed"] == 10


def test_a_cut_resets_what_is_open_and_what_comes_until_it_is_healed(proxy):
    with connect(proxy) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        proxy.cut()
        with pytest.raises(ConnectionError):
            assert connection.recv(1)
    with pytest.raises(ConnectionError):
        with connect(proxy) as connection:
            assert connection.recv(1)
    proxy.heal()
    with connect(proxy) as connection:
        assert exchange(connection, b"x") == b"x"


def test_what_is_held_goes_on_when_it_is_let_go(proxy):
    with connect(proxy) as connection:
        proxy.hold("down")
        connection.sendall(b"x")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.heal()
        connection.settimeout(10)
        assert connection.recv(1) == b"x"


def test_an_upstream_that_is_not_there_is_told_as_a_reset():
    with TcpProxy(LOOPBACK.free_port()) as proxy, pytest.raises(ConnectionError):
        with connect(proxy) as connection:
            assert connection.recv(1)


def test_hosts_reach_this_machines_loopback_through_proxies_only(echo):
    with Network() as network:
        host, other = network.host("a"), network.host("b")
        with TcpProxy(echo, host=host) as proxy:
            with other.new_socket() as connection:
                connection.settimeout(10)
                connection.connect((host.address, proxy.port))
                assert exchange(connection, b"hello") == b"hello"


class Always(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, *_):
        pass


def test_a_share_of_requests_fails_and_slow_ones_come_later():
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Always)
    upstream.daemon_threads = True
    threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
    try:
        with FaultyProxy(f"http://127.0.0.1:{upstream.server_port}") as proxy:
            connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=10)

            def get() -> int:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                return answer.status

            proxy.faults.append(Fault("status", 503, "SlowDown", share=0.2))
            seen = collections.Counter(get() for _ in range(500))
            assert 60 < seen[503] < 140 and seen[200] == 500 - seen[503], seen
            proxy.faults[:] = [Fault("slow", seconds=0.2, times=1)]
            began = time.monotonic()
            assert get() == 200
            assert time.monotonic() - began > 0.2
            connection.close()
    finally:
        upstream.shutdown()
        upstream.server_close()
