"""How other processes reach the driver: where it listens, the token that lets them, and the server that hears them."""

from __future__ import annotations

import secrets
import socketserver
import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Address:
    """Where a process reports to, and the token that lets it."""

    host: str
    port: int
    token: str


class Server(socketserver.ThreadingTCPServer):
    """Listens on `bind`, on a port of its own, a thread a connection; others reach it at `host`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, bind: str, host: str, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__((bind, 0), handler)
        self.address = Address(host, self.server_address[1], secrets.token_hex(32))

    def start(self, name: str) -> None:
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True, name=name).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A stranger may say what it will; what the end of a line means is for its handler to say."""
