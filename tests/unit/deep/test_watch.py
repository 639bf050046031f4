from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from deep.watch import Line, Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch("127.0.0.1", "127.0.0.1") as watching:
        yield watching


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.01)


def test_the_driver_knows_where_each_rank_is(watch: Watch) -> None:
    lines = [Line(watch.address, rank) for rank in range(2)]
    for step in (1, 2, 3):
        lines[0].step(1, step)
    lines[1].step(1, 1)
    until(lambda: len(watch.places) == 2 and watch.places[0].at == (1, 3) and watch.places[1].at == (1, 1))
    assert watch.places[0].host == socket.gethostname()
    assert watch.behind() == [1]
    assert watch.stepping(2)
    for line in lines:
        line.close()
    until(lambda: not watch.stepping(2))


def test_records_and_errors_reach_the_driver(watch: Watch) -> None:
    line = Line(watch.address, 0)
    line.record({"epoch": 1.0, "loss": 0.5})
    line.error("x" * 10_000_000 + "the end", input=False, follows=True)
    until(lambda: watch.errors)
    assert watch.records.get(timeout=1) == {"epoch": 1.0, "loss": 0.5}
    assert watch.errors[0].text.endswith("the end")
    assert watch.errors[0].follows
    line.close()


def test_silence_is_measured_from_the_last_word_of_any_rank(watch: Watch) -> None:
    line = Line(watch.address, 0)
    line.step(1, 1)
    until(lambda: watch.places and watch.places[0].at)
    time.sleep(0.2)
    assert watch.silent_for() > 0.15
    line.step(1, 2)
    until(lambda: watch.places[0].at == (1, 2))
    assert watch.silent_for() < 0.15
    line.close()


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"token": "guessed", "rank": 0, "host": "h"}).encode() + b'\n{"at": [1, 1]}\n',
        b'{"rank": 0, "host": "h"}\n{"at": [1, 1]}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"{" * 100_000 + b"\n",
    ],
)
def test_strangers_are_not_heard_and_do_no_harm(watch: Watch, said: bytes) -> None:
    before = watch.heard
    with socket.create_connection((watch.address.host, watch.address.port), timeout=5) as stranger:
        stranger.sendall(said)
        assert stranger.recv(1) == b""  # the driver hung up
    assert (watch.places, watch.errors, watch.heard) == ({}, [], before)
    line = Line(watch.address, 0)
    until(lambda: 0 in watch.places)
    line.close()


def test_it_listens_on_the_address_it_was_given_alone(watch: Watch) -> None:
    assert watch.address.host == "127.0.0.1"
    assert watch._server.server_address[0] == "127.0.0.1"
    assert len(watch.address.token) == 64
