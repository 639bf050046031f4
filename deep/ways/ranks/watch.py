"""Reports of ranks to the driver, outside of the collective, so that a silent run can be ended and explained.

A rank opens one connection to the driver and writes JSON lines; the first carries a random token.

    {"token": …, "rank": 0, "host": "…", "pid": 71}    then any of
    {"alive": true, "works": false}           every second, from a thread of its own: whether the main thread works
    {"reads": true}                           after each row group that is read
    {"at": [epoch, step]}                     before each step
    {"record": {"epoch": 1, …}}               after each epoch, from rank 0
    {"checkpoint": 1048576}                   so many bytes follow, and their HMAC-SHA256 under the token
    {"error": "Traceback …", "input": false, "follows": false}
    {"stack": "  File …", "waits": true}      where its Python stands, when asked
    {"done": true}                            its function has returned

The driver writes single bytes: `?` asks a rank where it stands, `!` ends its process. Three things are told apart: a line that
breaks (the process ended), a line whose host's kernel answers no more (the host or its network is gone), and a line on which
nothing comes though it stands (the process is stopped).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import queue
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hindcast.deep.ways.listening import ANY, Address, Server
from hindcast.deep.ways.ranks.standing import Work, standing

LONGEST_LINE = 1 << 20
LONGEST_HELLO = 1 << 12
LARGEST_CHECKPOINT = 1 << 34
PIECE = 1 << 20
SEND_SECONDS = 60.0
HELLO_SECONDS = 10.0
BEAT_SECONDS = 1.0
# A host that answers no probe for so long is lost: a first probe after 5 s without a word, three of them, 4 s apart.
PROBE_AFTER, PROBE_EVERY, PROBES = 5, 4, 3
UNREACHABLE_SECONDS = PROBE_AFTER + PROBE_EVERY * PROBES
WHERE, END = b"?", b"!"


@dataclass(frozen=True)
class RankException:
    """An exception of a rank: its traceback, whether it was an InputError, and whether it only follows another rank's end."""

    rank: int
    host: str
    text: str
    input: bool
    follows: bool
    when: float = 0.0


@dataclass
class Place:
    """The last report of a rank. Times are of the driver's monotonic clock.

    steps           how many it has reported
    at              (epoch, step) of the last one
    done            whether its function has returned
    closed          whether its process has ended after that
    heard           when its last message came
    broken          how its line broke otherwise: "ended" (the process), "unreachable" (its host) or "damaged"
    broken_when     when that was
    stack           its Python stack in its last answer
    waits           whether it then was inside a collective
    idle            seconds without a step and, while it was starting, without work (under horovodrun)
    """

    host: str
    pid: int = 0
    steps: int = 0
    at: tuple[int, int] | None = None
    done: bool = False
    closed: bool = False
    heard: float = field(default_factory=time.monotonic)
    broken: str | None = None
    broken_when: float = 0.0
    stack: str = ""
    waits: bool = False
    idle: float = 0.0

    @property
    def starting(self) -> bool:
        """Whether it may still import, read and trace for long: its first step is not over."""
        return self.steps <= 1

    def breaks(self, how: str) -> None:
        if self.done and how == "ended":
            self.closed = True
        else:
            self.broken_when, self.broken = time.monotonic(), how


class Line:
    """The rank's end of the connection. A thread of its own reports every second that this process lives. It calls
    `on_end(ended)` once the driver is gone, or ends the run (`ended` is true)."""

    def __init__(self, address: Address, rank: int, on_end: Callable[[bool], None] = lambda ended: None) -> None:
        self._token, self._on_end, self._closed, self._lock = address.token.encode(), on_end, threading.Event(), threading.Lock()
        self._socket = socket.create_connection((address.host, address.port), timeout=SEND_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: what was sent and not acknowledged for so long breaks the line
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREACHABLE_SECONDS))
        self._send({"token": address.token, "rank": rank, "host": socket.gethostname(), "pid": os.getpid()})
        threading.Thread(target=self._beat, daemon=True, name="line to the driver").start()

    def reads(self) -> None:
        self._send({"reads": True})

    def step(self, epoch: int, step: int) -> None:
        self._send({"at": [epoch, step]})

    def record(self, record: dict[str, float]) -> None:
        self._send({"record": record})

    def checkpoint(self, data: bytes) -> None:
        """Hands bytes of any size to the driver: all of them arrive there, or none."""
        digest = hmac.digest(self._token, data, "sha256")
        with self._lock:
            self._socket.sendall(json.dumps({"checkpoint": len(data)}).encode() + b"\n")
            for first in range(0, len(data), PIECE):  # the time limit is for each piece
                self._socket.sendall(memoryview(data)[first : first + PIECE])
            self._socket.sendall(digest)

    def error(self, text: str, *, input: bool, follows: bool) -> None:
        self._send({"error": text[-LONGEST_LINE // 8 :], "input": input, "follows": follows})

    def done(self) -> None:
        """Reports that the function has returned. The line stays open until this process ends: its host may still be lost, and
        the result with it."""
        self._send({"done": True})

    def close(self) -> None:
        self.done()
        self._closed.set()
        self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _beat(self) -> None:
        ended, poll, work = False, select.poll(), Work()
        poll.register(self._socket, select.POLLIN)
        try:
            while not self._closed.is_set():
                if not poll.poll(1000 * BEAT_SECONDS):
                    self._send({"alive": True, "works": work.worked()})
                    continue
                word = self._socket.recv(1)
                if word != WHERE:
                    ended = word == END
                    break
                self._send(standing())
        except OSError:  # the line broke, or was closed by this process
            ended = False
        if not self._closed.is_set():
            self._on_end(ended)


@dataclass
class Watch:
    """The driver's end: listens on `bind`, on one of `ports`; ranks report to `host`.

    messages    records and checkpoints, in order
    errors      exceptions of ranks, in order
    places      of each rank, its last report
    moved       when a rank last connected, took a step, read a row group, or reported anything else
    worked      when the main thread of a rank that is starting last worked
    """

    bind: str
    host: str
    messages: queue.SimpleQueue[dict[str, float] | bytes] = field(default_factory=queue.SimpleQueue)
    errors: list[RankException] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    ports: Sequence[int] = ANY

    def __enter__(self) -> Watch:
        self.moved = self.worked = time.monotonic()
        self.first_heard = float("inf")
        self._lines: dict[int, socket.socket] = {}
        self._server = Server(self.bind, self.host, _handler(self), self.ports)
        self.address = self._server.address
        self._server.start("watch")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self.say(END)

    def say(self, word: bytes) -> None:
        """Asks all ranks where they stand (WHERE), or has their processes end (END)."""
        for line in list(self._lines.values()):
            try:
                line.send(word, socket.MSG_DONTWAIT)
            except OSError:  # the line broke, which is known from reading it
                continue

    def enter(self, hello: dict[str, Any], line: socket.socket) -> int:
        """Admits a rank that knows the token. Returns its number."""
        rank, now = int(hello["rank"]), time.monotonic()
        self.places[rank], self._lines[rank] = Place(str(hello["host"]), int(hello["pid"])), line
        self.moved, self.first_heard = now, min(now, self.first_heard)
        return rank

    def at_work(self, ranks: int) -> bool:
        """Whether ranks have reported, and not all of them are done."""
        places = list(self.places.values())
        return bool(places) and not (len(places) == ranks and all(place.done for place in places))

    def take(self, rank: int, message: dict[str, Any]) -> None:
        """Takes a message of a rank. Raises KeyError, TypeError or ValueError where it is none of those above."""
        place = self.places[rank]
        place.heard = time.monotonic()
        if "alive" in message:
            if message["works"] is True and place.starting:
                self.worked = place.heard
            return
        if "stack" in message:
            place.stack, place.waits = str(message["stack"]), message["waits"] is True
            return
        if "at" in message:
            epoch, step = message["at"]
            place.at, place.steps = (int(epoch), int(step)), place.steps + 1
        elif "record" in message:
            self.messages.put({str(name): float(number) for name, number in message["record"].items()})
        elif "done" in message:
            place.done = True
        elif "reads" not in message:
            text, now = str(message["error"]), time.monotonic()
            self.errors.append(RankException(rank, place.host, text, message["input"] is True, message["follows"] is True, now))
        self.moved = time.monotonic()


def _handler(watch: Watch) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.connection.settimeout(HELLO_SECONDS)
            hello = self._read(LONGEST_HELLO)
            if hello is None or not hmac.compare_digest(str(hello.get("token")), watch.address.token):
                return
            self.connection.settimeout(None)
            probed(self.connection)
            rank = watch.enter(hello, self.connection)
            place = watch.places[rank]
            try:
                self._listen(rank, place)
            except ConnectionResetError:
                place.breaks("ended")
            except OSError:
                place.breaks("unreachable")
            except (KeyError, TypeError, ValueError, RecursionError):
                place.breaks("damaged")

        def _listen(self, rank: int, place: Place) -> None:
            while (message := self._read(LONGEST_LINE)) is not None:
                if "checkpoint" in message:
                    watch.messages.put(self._checkpoint(int(message["checkpoint"]), place))
                else:
                    watch.take(rank, message)
            place.breaks("ended")

        def _read(self, longest: int) -> dict[str, Any] | None:
            """A line; None at the end. Raises ValueError for what is none."""
            line = self.rfile.readline(longest)
            if not line.endswith(b"\n"):
                if len(line) == longest:
                    raise ValueError("a line without an end")
                return None
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("a line that is no object")
            return message

        def _checkpoint(self, size: int, place: Place) -> bytes:
            """All of a checkpoint. Raises ValueError where it bears not the token's mark, ConnectionResetError at an end."""
            if not 0 <= size <= LARGEST_CHECKPOINT:
                raise ValueError(f"a checkpoint of {size} bytes")
            data, mark = bytearray(size), hmac.new(watch.address.token.encode(), digestmod=hashlib.sha256)
            rest = memoryview(data)
            while rest:
                count = self.rfile.readinto1(rest[:PIECE])
                if not count:
                    raise ConnectionResetError
                mark.update(rest[:count])
                rest = rest[count:]
                place.heard = watch.moved = time.monotonic()
            if not hmac.compare_digest(self.rfile.read(mark.digest_size), mark.digest()):
                raise ValueError("a checkpoint that was damaged on its way")
            return bytes(data)

    return Handler


def probed(connection: socket.socket) -> socket.socket:
    """The connection, whose other host the kernel now probes: where that is lost, reading raises OSError, and does not wait."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", PROBE_AFTER), ("TCP_KEEPINTVL", PROBE_EVERY), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
