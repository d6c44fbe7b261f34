"""A TCP proxy that delays, throttles, holds, cuts, truncates and corrupts on command, and counts.

    with TcpProxy(upstream_port, upstream_host, host) as proxy:
        client(proxy.address)
        proxy.throttle(1 << 20, "down")
        proxy.heal()

It is a process of its own, so that it takes no time from the test. It listens on one host and connects from
another, which may be this machine: so a store on loopback is reached from the hosts of a Network. Faults of
S3's answers rather than of bytes are tests/harness/proxy.py's.

The process reads one JSON object of settings per line and answers with its counts; it ends with its input,
therefore also with the test that started it.
"""

import asyncio
import dataclasses
import json
import os
import select
import socket
import struct
import subprocess
import sys

from tests.harness.hosts import LOOPBACK, Host
from tests.harness.processes import ROOT

UP, DOWN = "up", "down"  # from the client to the server; from the server to the client
DIRECTIONS = (UP, DOWN)
BOTH = "both"
ANSWER_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
BACKLOG = 512
PIECE = 64 * 1024
MOST_PIECES_DELAYED = 256  # of a connection and direction; then its sender waits


@dataclasses.dataclass
class Faults:
    """What happens to one direction."""

    delay_s: float = 0
    bytes_per_s: float = 0  # of all connections together; 0: no limit
    truncate_after: int = -1  # bytes of a connection; then it ends as if that were all. -1: never
    corrupt_every: int = 0  # bytes between flipped bits; 0: never
    hold: bool = False  # nothing passes, nobody is told


class TcpProxy:
    """The test's end: starts the process and tells it what to do. Settings hold for connections that there are,
    too. Not thread-safe."""

    def __init__(self, upstream_port: int, upstream: Host = LOOPBACK, host: Host = LOOPBACK, port: int = 0):
        self.host, self.port = host, port or host.free_port()
        self.upstream, self.upstream_port = upstream, upstream_port
        self.process = None

    @property
    def address(self) -> str:
        return f"{self.host.address}:{self.port}"

    def __enter__(self):
        with self.host.new_socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host.address, self.port))
            listener.listen(BACKLOG)
            to = [self.upstream.address, self.upstream_port]
            argv = ["/usr/bin/python3", "-B", "-m", "tests.harness.tcp_proxy", listener.fileno(), *to]
            self.process = subprocess.Popen(
                self.upstream.enter(argv),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def delay(self, seconds: float, direction: str = BOTH) -> None:
        self._set(direction, delay_s=seconds)

    def throttle(self, bytes_per_s: float, direction: str = BOTH) -> None:
        self._set(direction, bytes_per_s=bytes_per_s)

    def truncate(self, after_bytes: int, direction: str = DOWN) -> None:
        self._set(direction, truncate_after=after_bytes)

    def corrupt(self, every_bytes: int, direction: str = DOWN) -> None:
        self._set(direction, corrupt_every=every_bytes)

    def hold(self, direction: str = BOTH) -> None:
        """As when a cable is pulled: silence."""
        self._set(direction, hold=True)

    def cut(self) -> None:
        """As when the other end's process goes: connections are reset, new ones too, until heal()."""
        self._ask({"cut": True})

    def heal(self) -> None:
        """Everything passes again. What was cut stays cut; what was held goes on."""
        self._ask({"cut": False, **{direction: dataclasses.asdict(Faults()) for direction in DIRECTIONS}})

    def counts(self) -> dict:
        """`up`, `down`: bytes passed on; `connections`: made so far; `open`: now; `harmed`: bits flipped and
        connections cut or truncated."""
        return self._ask({})

    def _set(self, direction: str, **settings) -> None:
        assert direction in (*DIRECTIONS, BOTH), direction
        self._ask({one: settings for one in DIRECTIONS if direction in (one, BOTH)})

    def _ask(self, settings: dict) -> dict:
        self.process.stdin.write(json.dumps(settings).encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_TIMEOUT_S)
        assert ready, f"the proxy at {self.address} does not answer"
        answer = self.process.stdout.readline()
        assert answer, f"the proxy at {self.address} ended with {self.process.wait(STOP_TIMEOUT_S)}"
        return json.loads(answer)


def reset(writer) -> None:
    """Ends a connection as a process that goes ends it: with a reset instead of an end."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Proxy:
    """The process's end. One thread: asyncio's."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.faults = {direction: Faults() for direction in DIRECTIONS}
        self.released = {direction: asyncio.Event() for direction in DIRECTIONS}
        for event in self.released.values():
            event.set()
        self.free_at = dict.fromkeys(DIRECTIONS, 0.0)
        self.until_flip = dict.fromkeys(DIRECTIONS, 0)
        self.cut = False
        self.writers = set()
        self.counts = {UP: 0, DOWN: 0, "connections": 0, "open": 0, "harmed": 0}

    def change(self, settings: dict) -> None:
        for direction in DIRECTIONS:
            faults = self.faults[direction]
            changed = settings.get(direction, {})
            for name, value in changed.items():
                setattr(faults, name, value)
            if "corrupt_every" in changed:
                self.until_flip[direction] = faults.corrupt_every
            if faults.hold:
                self.released[direction].clear()
            else:
                self.released[direction].set()
        self.cut = settings.get("cut", self.cut)
        if self.cut:
            for writer in list(self.writers):
                self.harm(writer)

    def harm(self, writer) -> None:
        self.counts["harmed"] += 1
        reset(writer)

    async def serve(self, reader, writer) -> None:
        self.counts["connections"] += 1
        if self.cut:
            self.harm(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            reset(writer)
            return
        pair = {writer, up_writer}
        self.writers |= pair
        self.counts["open"] += 1
        try:
            pumps = [self.pump(UP, reader, up_writer, writer), self.pump(DOWN, up_reader, writer, up_writer)]
            await asyncio.gather(*pumps)
        except (OSError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers -= pair
            self.counts["open"] -= 1
            for one in pair:
                one.close()

    async def pump(self, direction: str, reader, writer, back_writer) -> None:
        """What comes in goes out when it is due, in order; the end of one side becomes that of the other."""
        due = asyncio.Queue(MOST_PIECES_DELAYED)
        sender = asyncio.create_task(self.send(direction, due, writer, back_writer))
        try:
            while True:
                data = await self.read(reader, sender)
                await self.put(due, (asyncio.get_running_loop().time() + self.faults[direction].delay_s, data), sender)
                if not data or sender.done():
                    break
            await sender
        except BaseException:
            sender.cancel()
            reset(back_writer)
            reset(writer)
            raise

    async def read(self, reader, sender) -> bytes:
        """What came, or nothing once nobody wants it any more."""
        reading = asyncio.create_task(reader.read(PIECE))
        await asyncio.wait({reading, sender}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return reading.result()
        reading.cancel()
        return b""

    async def put(self, due, item, sender) -> None:
        putting = asyncio.create_task(due.put(item))
        await asyncio.wait({putting, sender}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()

    async def send(self, direction: str, due, writer, back_writer) -> None:
        loop = asyncio.get_running_loop()
        passed = 0
        while True:
            when, data = await due.get()
            await asyncio.sleep(max(0, when - loop.time()))
            await self.released[direction].wait()
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            faults = self.faults[direction]
            ends = 0 <= faults.truncate_after < passed + len(data)
            if ends:
                data = data[: max(0, faults.truncate_after - passed)]
            if faults.bytes_per_s:
                self.free_at[direction] = max(loop.time(), self.free_at[direction]) + len(data) / faults.bytes_per_s
                await asyncio.sleep(self.free_at[direction] - loop.time())
            writer.write(self.corrupted(direction, data))
            await writer.drain()
            passed += len(data)
            self.counts[direction] += len(data)
            if ends:
                self.counts["harmed"] += 1
                writer.close()
                back_writer.close()
                return

    def corrupted(self, direction: str, data: bytes) -> bytes:
        every = self.faults[direction].corrupt_every
        if not every:
            return data
        changed = bytearray(data)
        at = self.until_flip[direction]
        while at < len(changed):
            changed[at] ^= 0x10
            self.counts["harmed"] += 1
            at += every
        self.until_flip[direction] = at - len(changed)
        return bytes(changed)


async def _main(listener_fd: int, upstream) -> None:
    proxy = _Proxy(upstream)
    listener = socket.socket(fileno=listener_fd)
    server = await asyncio.start_server(proxy.serve, sock=listener, backlog=BACKLOG)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        proxy.change(json.loads(line))
        print(json.dumps(proxy.counts), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), (sys.argv[2], int(sys.argv[3]))))
    # Connections that are held would have to be waited for otherwise.
    os._exit(0)
