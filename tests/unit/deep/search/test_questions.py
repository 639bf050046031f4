from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hindcast.deep.search.questions import GO, Desk, _mark, ask
from hindcast.deep.ways.listening import Address

asked: list[tuple[int, tuple[float, ...], str]] = []


@pytest.fixture
def desk() -> Iterator[Desk]:
    def decide(trial: int, losses: tuple[float, ...], end: str) -> bool:
        asked.append((trial, losses, end))
        return losses[-1] > 1

    asked.clear()
    with Desk("127.0.0.1", "127.0.0.1", decide) as open_:
        yield open_


def test_a_trial_is_told_to_go_or_to_stop(desk: Desk) -> None:
    assert ask(desk.address, 3, [0.5]) is False
    assert ask(desk.address, 3, [0.5, 1.5]) is True
    assert ask(desk.address, 4, [0.5], "failed") is False
    assert asked == [(3, (0.5,), ""), (3, (0.5, 1.5), ""), (4, (0.5,), "failed")]


@pytest.mark.parametrize(
    "said",
    [
        b'{"trial": 0, "losses": [9]}\n',
        b'{"trial": 0, "losses": [9]}\t' + _mark("guessed", b'{"trial": 0, "losses": [9]}') + b"\n",
        b"\n",
        b"\xff\t\xff\n",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_strangers_are_not_heard(desk: Desk, said: bytes) -> None:
    with socket.create_connection((desk.address.host, desk.address.port), timeout=5) as stranger:
        stranger.sendall(said)
        assert stranger.recv(100) == b""
    assert ask(replace(desk.address, token="guessed"), 0, [9.0], seconds=2) is None
    assert asked == []


@pytest.mark.parametrize(
    "question",
    [
        b"[]",
        b"{}",
        b'{"trial": 0, "losses": [NaN], "end": ""}',
        b'{"trial": 0, "losses": [1], "end": "no"}',
        b'{"trial": [], "losses": [1], "end": ""}',
        b"no JSON",
    ],
)
def test_signed_nonsense_does_no_harm(desk: Desk, question: bytes) -> None:
    with socket.create_connection((desk.address.host, desk.address.port), timeout=5) as line:
        line.sendall(question + b"\t" + _mark(desk.address.token, question) + b"\n")
        assert line.recv(100) == b""
    assert ask(desk.address, 0, [0.5]) is False


class Stranger:
    """Listens where the driver should, and says what it is told to; None: nothing, and keeps the line."""

    def __init__(self, says: bytes | None, every: float = 0.0) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self.server.getsockname()[1], "token")
        self.says, self.every = says, every
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        line, _ = self.server.accept()
        with line:
            line.recv(1 << 16)
            try:
                for byte in self.says or b"":
                    line.sendall(bytes([byte]))
                    time.sleep(self.every)
                if self.says is None or self.every:
                    time.sleep(5)
            except OSError:
                return


def test_an_answer_that_is_not_the_drivers_is_none() -> None:
    for says in (
        b"stop\n",
        b"stop\t" + b"0" * 64 + b"\n",
        b"",
        b"x" * 1000,
        b"go\t" + _mark("token", GO + b"another question") + b"\n",
    ):
        assert ask(Stranger(says).address, 0, [1.0], seconds=3) is None


@pytest.mark.parametrize("stranger", [(None, 0.0), (b"s" * 100, 0.3)], ids=["silent", "slow"])
def test_a_trial_waits_for_an_answer_no_longer_than_its_limit(stranger: tuple[bytes | None, float]) -> None:
    began = time.monotonic()
    assert ask(Stranger(*stranger).address, 0, [1.0], seconds=0.7) is None
    assert time.monotonic() - began < 3


def test_without_a_driver_there_is_no_answer(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = Address("127.0.0.1", closed.getsockname()[1], "token")
    assert ask(nobody, 0, [1.0], seconds=2) is None


def test_the_token_does_not_travel(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1], desk.address.token)
        asking = threading.Thread(target=ask, args=(address, 0, [1.0], "", 2.0))
        asking.start()
        line, _ = server.accept()
        said = line.recv(1 << 16)
        line.close()
        asking.join(timeout=5)
    assert desk.address.token.encode() not in said
    assert json.loads(said.split(b"\t")[0])["losses"] == [1.0]
