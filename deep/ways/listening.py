"""How other processes reach the driver: its address, the token that admits them, and its server."""

from __future__ import annotations

import errno
import re
import secrets
import socketserver
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hindcast.prep.errors import InputError

# The setting of a Spark session by which everything that ranks and trials talk to listens within a range.
PORTS = "spark.hindcast.ports"
ANY = (0,)
Listening = TypeVar("Listening")


@dataclass(frozen=True)
class Address:
    """The address that a process reports to, and the token that admits it."""

    host: str
    port: int
    token: str


def ports_of(text: str | None) -> Sequence[int]:
    """The ports of a range such as "47000-47031", with both ends; any port without a text. Raises InputError for another one."""
    if text is None:
        return ANY
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    ports = range(int(match[1]), int(match[2]) + 1) if match else range(0)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise InputError(f"{text!r} is no range of ports, such as 47000-47031 (cluster.ports, {PORTS})")
    return ports


def bound(make: Callable[[tuple[str, int]], Listening], bind: str, ports: Sequence[int] = ANY) -> Listening:
    """The result of `make((bind, port))` for the first of `ports` that is free.

    Raises InputError where none of several ports is free, and OSError where `make` fails for another reason.
    """
    for port in ports:
        try:
            return make((bind, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == 0:
                raise
    raise InputError(
        f"cluster.ports: every port from {ports[0]} to {ports[-1]} is taken on {bind or 'this host'}: give a wider range"
    )


class Server(socketserver.ThreadingTCPServer):
    """Listens on `bind`, on one of `ports`, a thread a connection; others reach it at `host`."""

    daemon_threads = True
    allow_reuse_address = True  # a port of a range may still be remembered by connections that have ended
    block_on_close = False
    request_queue_size = 128

    def __init__(self, bind: str, host: str, handler: type[socketserver.BaseRequestHandler], ports: Sequence[int] = ANY) -> None:
        bound(lambda address: socketserver.ThreadingTCPServer.__init__(self, address, handler), bind, ports)
        self.address = Address(host, self.server_address[1], secrets.token_hex(32))

    def start(self, name: str) -> None:
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True, name=name).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints nothing: any process may connect and send anything, and a broken connection is the handler's concern."""
