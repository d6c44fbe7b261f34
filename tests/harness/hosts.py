"""Where a process runs: this machine, or a host of tests/harness/network.py."""

import http.client
import socket
import urllib.parse

from tests.harness.ports import free_port


class Host:
    """This machine's loopback. What processes of a host listen on and connect to is below `address`."""

    name = "loopback"
    address = "127.0.0.1"

    def enter(self, argv) -> list:
        """The command that runs `argv` here. It becomes that process: there is no other pid in between."""
        return [str(word) for word in argv]

    def free_port(self) -> int:
        return free_port()

    def new_socket(self) -> socket.socket:
        """A TCP socket of this host. It stays one of this host whoever uses it."""
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def connect(self, port: int, timeout_s: float) -> socket.socket:
        made = self.new_socket()
        try:
            made.settimeout(timeout_s)
            made.connect((self.address, port))
        except BaseException:
            made.close()
            raise
        return made

    def http_get(self, port: int, page: str, timeout_s: float = 5):
        """Status and body; 0 and the reason if nobody answers."""
        connection = http.client.HTTPConnection(self.address, port, timeout=timeout_s)
        try:
            connection.sock = self.connect(port, timeout_s)
            connection.request("GET", urllib.parse.quote(page, safe="/?=&"), headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error) or type(error).__name__
        finally:
            connection.close()


LOOPBACK = Host()
