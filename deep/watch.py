"""Ranks tell the driver where they are, outside of the collective: so that a run that went quiet can be ended and explained.

A rank opens one connection to the driver and writes JSON lines; the driver never answers. The first line carries a random token.

    {"token": …, "rank": 0, "host": "…"}      then any of
    {"at": [epoch, step]}                     before each step
    {"record": {"epoch": 1, …}}               after each epoch, from rank 0
    {"error": "Traceback …", "input": false, "follows": false}
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from typing import Any

LONGEST_LINE = 1 << 20
SEND_SECONDS = 60.0


@dataclass(frozen=True)
class Address:
    """Where a rank reports to, and the token that lets it."""

    host: str
    port: int
    token: str


@dataclass(frozen=True)
class Raised:
    """What a rank raised: its traceback, whether it was an InputError, and whether it only follows another rank's end."""

    rank: int
    host: str
    text: str
    input: bool
    follows: bool


@dataclass
class Place:
    """Where a rank was last heard: `steps` counts those it told, `at` is (epoch, step), `done` when it has closed its line."""

    host: str
    steps: int = 0
    at: tuple[int, int] | None = None
    done: bool = False


class Line:
    """A rank's end."""

    def __init__(self, address: Address, rank: int) -> None:
        self._socket = socket.create_connection((address.host, address.port), timeout=SEND_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send({"token": address.token, "rank": rank, "host": socket.gethostname()})

    def step(self, epoch: int, step: int) -> None:
        self._send({"at": [epoch, step]})

    def record(self, record: dict[str, float]) -> None:
        self._send({"record": record})

    def error(self, text: str, *, input: bool, follows: bool) -> None:
        self._send({"error": text[-LONGEST_LINE // 8 :], "input": input, "follows": follows})

    def close(self) -> None:
        self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")


@dataclass
class Watch:
    """The driver's end: listens on `bind`, tells ranks to report to `host`."""

    bind: str
    host: str
    records: queue.SimpleQueue[dict[str, float]] = field(default_factory=queue.SimpleQueue)
    errors: list[Raised] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)

    def __enter__(self) -> Watch:
        self.heard = time.monotonic()
        self._server = _Server((self.bind, 0), _handler(self))
        self.address = Address(self.host, self._server.server_address[1], secrets.token_hex(32))
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="watch").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def stepping(self, ranks: int) -> bool:
        """Whether ranks are among their steps: one has taken a step, and not all of them are done."""
        places = list(self.places.values())
        return any(place.at for place in places) and not (len(places) == ranks and all(place.done for place in places))

    def silent_for(self) -> float:
        """Seconds since any rank was last heard."""
        return time.monotonic() - self.heard

    def behind(self) -> list[int]:
        """The ranks that told the fewest steps: where one stopped, the others wait for it, mostly one step ahead."""
        places = sorted(self.places.items(), key=lambda item: item[0])
        fewest = min((place.steps for _, place in places), default=0)
        return [rank for rank, place in places if place.steps == fewest]

    def take(self, rank: int, message: dict[str, Any]) -> None:
        """One line of a rank. Raises KeyError, TypeError or ValueError where it is none of those above."""
        place = self.places[rank]
        if "at" in message:
            epoch, step = message["at"]
            place.at, place.steps = (int(epoch), int(step)), place.steps + 1
        elif "record" in message:
            self.records.put({str(name): float(number) for name, number in message["record"].items()})
        else:
            error = Raised(rank, place.host, str(message["error"]), message["input"] is True, message["follows"] is True)
            self.errors.append(error)
        self.heard = time.monotonic()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A rank that was ended leaves its connection as it may; what it means is for the run to say."""


def _handler(watch: Watch) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            hello = self._read()
            if hello is None or not hmac.compare_digest(str(hello.get("token")), watch.address.token):
                return
            rank = int(hello["rank"])
            watch.places[rank] = Place(str(hello["host"]))
            watch.heard = time.monotonic()
            while (message := self._read()) is not None:
                watch.take(rank, message)
            watch.places[rank].done = True

        def _read(self) -> dict[str, Any] | None:
            line = self.rfile.readline(LONGEST_LINE)
            if not line.endswith(b"\n"):
                return None
            message = json.loads(line)
            return message if isinstance(message, dict) else None

    return Handler
