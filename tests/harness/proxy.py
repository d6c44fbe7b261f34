"""A proxy in front of an S3 server that misbehaves on command."""

import collections
import contextlib
import dataclasses
import http.client
import http.server
import random
import socket
import threading
import time
import urllib.parse

TIMEOUT_S = 30


@dataclasses.dataclass
class Fault:
    """What goes wrong with the requests that it matches."""

    kind: str  # "status", "cut", "truncate", "corrupt", "hang", "refuse", "slow"
    status: int = 500
    code: str = "InternalError"
    headers: dict = dataclasses.field(default_factory=dict)
    method: str = ""  # all methods
    path: str = ""  # a part of the path; all paths
    times: int = 1 << 30  # then it is over
    after: bool = False  # the request is carried out, and its answer lost
    share: float = 1  # of the requests that match; which ones is left to chance
    seconds: float = 0  # how much later a slow answer comes

    def matches(self, method: str, path: str, chance: float = 0) -> bool:
        return self.times > 0 and self.method in ("", method) and self.path in path and chance < self.share


class FaultyProxy:
    """`with FaultyProxy(endpoint) as proxy: proxy.faults.append(Fault("status", 503))`.

    Thread-safe as far as tests need it: faults are looked at for each request, the first match counts.
    `seen` counts requests by method and by whether they were harmed.
    """

    SEED = 20260926

    def __init__(self, endpoint: str):
        upstream = urllib.parse.urlsplit(endpoint)
        self.upstream = (upstream.hostname, upstream.port or 80)
        self.faults = []
        self.seen = collections.Counter()
        self.requests = []  # (method, path), in order
        self.lock = threading.Lock()
        self.random = random.Random(self.SEED)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = TIMEOUT_S
            # Headers and body are two writes; the second would wait for the first one's acknowledgement.
            disable_nagle_algorithm = True

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError, TimeoutError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def do(self):
                proxy.handle(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = do

            def log_message(self, *_):
                pass

        class HttpServer(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.http_server = HttpServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.http_server.server_address[1]}"
        self.thread = threading.Thread(target=self.http_server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.faults.clear()
        self.http_server.shutdown()
        self.http_server.server_close()

    def fault_for(self, method: str, path: str):
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.matches(method, path, self.random.random()):
                    fault.times -= 1
                    self.seen[method, fault.kind] += 1
                    return fault
            self.seen[method, "passed"] += 1
            return None

    def handle(self, handler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.fault_for(handler.command, handler.path)
        if fault and not fault.after and self.fail(handler, fault):
            return
        status, headers, answer = self.forward(handler, body)
        if fault and fault.after and self.fail(handler, fault):
            return
        if fault and fault.kind == "corrupt" and answer:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 0x40]) + answer[middle + 1 :]
        if fault and fault.kind == "truncate" and answer:
            answer = answer[: len(answer) // 2]  # and says that this is all
        self.send(handler, status, headers, answer, cut=bool(fault and fault.kind == "cut"))

    def fail(self, handler, fault: Fault) -> bool:
        """Answers in the upstream's place; False if the fault is one of the answer's body."""
        if fault.kind == "status":
            text = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>on command</Message></Error>"
            self.send(handler, fault.status, list(fault.headers.items()), text.encode())
            return True
        if fault.kind == "refuse":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return True
        if fault.kind == "slow":
            time.sleep(fault.seconds)
            return False
        if fault.kind == "hang":
            ended = time.monotonic() + TIMEOUT_S
            while fault in self.faults and time.monotonic() < ended:
                time.sleep(0.02)
            handler.close_connection = True
            return True
        return False

    def forward(self, handler, body: bytes):
        connection = http.client.HTTPConnection(*self.upstream, timeout=TIMEOUT_S)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def send(self, handler, status: int, headers, answer: bytes, cut: bool = False) -> None:
        handler.send_response_only(status)
        length = str(len(answer))
        for name, value in headers:
            if name.lower() == "content-length" and handler.command == "HEAD":
                length = value
            elif name.lower() not in ("content-length", "transfer-encoding", "connection"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if cut:
            handler.wfile.write(answer[: len(answer) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif handler.command != "HEAD":
            handler.wfile.write(answer)
