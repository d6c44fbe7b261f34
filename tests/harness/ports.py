"""Free ports that stay free while a process is down and comes back."""

import os
import socket

# Below the range that the kernel gives to outgoing connections, so that nobody takes one by chance.
FIRST, LAST = 12_000, 32_000
_next = FIRST + (os.getpid() * 61) % (LAST - FIRST)


def free_port() -> int:
    global _next
    for _ in range(LAST - FIRST):
        _next = FIRST + (_next + 1 - FIRST) % (LAST - FIRST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _next))
            except OSError:
                continue
            return _next
    raise RuntimeError("no free port")
