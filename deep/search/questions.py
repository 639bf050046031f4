"""The question of a trial to the driver, after each epoch, whether it is to go on: a signed line each way on one connection.

    {"trial": 3, "losses": [0.52, 0.48], "end": "", "nonce": …}⇥HMAC-SHA256 of that⏎
    go⇥HMAC-SHA256 of "go" and the question⏎              or "stop"

The last question says how the trial ended, "complete" or "failed". The token that signs does not travel. Each question holds all
losses so far, so a lost one does no harm. Every wait has a limit, at either end: a trial that gets no answer goes on.
"""

from __future__ import annotations

import hmac
import json
import math
import secrets
import socket
import socketserver
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hindcast.deep.ways.listening import ANY, Address, Server

ANSWER_SECONDS = 10.0
LONGEST_QUESTION = 1 << 20
LONGEST_ANSWER = 1 << 7
GO, STOP = b"go", b"stop"
ENDS = ("", "complete", "failed")


def ask(address: Address, trial: int, losses: Sequence[float], end: str = "", seconds: float = ANSWER_SECONDS) -> bool | None:
    """Whether the trial is to stop; None where the driver has not answered within `seconds`. `end`: one of ENDS."""
    until = time.monotonic() + seconds
    question = json.dumps({"trial": trial, "losses": list(losses), "end": end, "nonce": secrets.token_hex(16)}).encode()
    try:
        with socket.create_connection((address.host, address.port), timeout=seconds) as line:
            line.sendall(question + b"\t" + _mark(address.token, question) + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                line.settimeout(max(1e-3, until - time.monotonic()))
                piece = line.recv(LONGEST_ANSWER)
                if not piece or len(answer) > LONGEST_ANSWER:
                    return None
                answer += piece
    except OSError:
        return None
    word, _, mark = answer.strip().partition(b"\t")
    if word not in (GO, STOP) or not hmac.compare_digest(mark, _mark(address.token, word + question)):
        return None
    return word == STOP


@dataclass
class Desk:
    """The driver's end: listens on `bind`, on one of `ports`, tells trials to ask at `host`. `decide(trial, losses, end)` says
    whether that trial is to stop; it is called in a thread of the question's own."""

    bind: str
    host: str
    decide: Callable[[int, tuple[float, ...], str], bool]
    ports: Sequence[int] = ANY

    def __enter__(self) -> Desk:
        self._server = Server(self.bind, self.host, _handler(self), self.ports)
        self.address = self._server.address
        self._server.start("desk")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def answer(self, line: bytes) -> bytes | None:
        """The answer to a line; None where it is no signed question. Raises ValueError, KeyError or TypeError where a signed
        question has other contents than these."""
        question, _, mark = line.removesuffix(b"\n").rpartition(b"\t")
        if not line.endswith(b"\n") or not hmac.compare_digest(mark, _mark(self.address.token, question)):
            return None
        request = json.loads(question)
        losses = tuple(map(float, request["losses"]))
        if not all(map(math.isfinite, losses)):
            raise ValueError("a loss that is no number")
        if request["end"] not in ENDS:
            raise ValueError("another end")
        word = STOP if self.decide(int(request["trial"]), losses, request["end"]) else GO
        return word + b"\t" + _mark(self.address.token, word + question) + b"\n"


def _mark(token: str, data: bytes) -> bytes:
    return hmac.digest(token.encode(), data, "sha256").hex().encode()


def _handler(desk: Desk) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        timeout = ANSWER_SECONDS

        def handle(self) -> None:
            answer = desk.answer(self.rfile.readline(LONGEST_QUESTION))
            if answer is not None:
                self.wfile.write(answer)

    return Handler
