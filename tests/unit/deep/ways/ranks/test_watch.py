from __future__ import annotations

import hmac
import json
import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from hindcast.deep.ways.ranks.watch import PIECE, WHERE, Line, Watch


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
    assert (watch.places[0].host, watch.places[0].pid) == (socket.gethostname(), os.getpid())
    assert watch.at_work(2)
    for line in lines:
        line.close()
    until(lambda: not watch.at_work(2))
    until(lambda: all(place.closed for place in watch.places.values()))
    assert not any(place.broken for place in watch.places.values()), "a rank that is done may hang up"


def test_records_and_errors_reach_the_driver(watch: Watch) -> None:
    line = Line(watch.address, 0)
    line.record({"epoch": 1.0, "loss": 0.5})
    line.error("x" * 10_000_000 + "the end", input=False, follows=True)
    until(lambda: watch.errors)
    assert watch.messages.get(timeout=1) == {"epoch": 1.0, "loss": 0.5}
    assert watch.errors[0].text.endswith("the end")
    assert watch.errors[0].follows
    line.close()


def test_a_rank_that_takes_no_step_is_still_heard(watch: Watch) -> None:
    line = Line(watch.address, 0)
    line.step(1, 1)
    until(lambda: watch.places and watch.places[0].at)
    moved, heard = watch.moved, watch.places[0].heard
    until(lambda: watch.places[0].heard > heard)
    assert watch.moved == moved, "to live is not to move"
    line.close()


def test_a_rank_works_only_until_its_first_step_is_over(watch: Watch) -> None:
    line = Line(watch.address, 0)
    until(lambda: watch.places)
    for place, counts in ((0, True), (1, True), (2, False)):
        watch.places[0].steps, before = place, watch.worked
        watch.take(0, {"alive": True, "works": True})
        assert (watch.worked > before) == counts
    line.close()


def test_reading_is_moving(watch: Watch) -> None:
    line = Line(watch.address, 0)
    until(lambda: watch.places)
    moved = watch.moved
    line.reads()
    until(lambda: watch.moved > moved)
    line.close()


def test_checkpoints_of_any_size_arrive_whole_and_in_order(watch: Watch) -> None:
    line, large = Line(watch.address, 0), os.urandom(3 * PIECE + 1)
    line.checkpoint(b"")
    line.record({"epoch": 1.0})
    line.checkpoint(large)
    line.step(1, 1)
    assert watch.messages.get(timeout=5) == b""
    assert watch.messages.get(timeout=5) == {"epoch": 1.0}
    assert watch.messages.get(timeout=5) == large
    until(lambda: watch.places[0].at == (1, 1))
    line.close()


def greeting(watch: Watch) -> bytes:
    return json.dumps({"token": watch.address.token, "rank": 0, "host": "h", "pid": 1}).encode() + b"\n"


def mark(watch: Watch, data: bytes) -> bytes:
    return hmac.digest(watch.address.token.encode(), data, "sha256")


@pytest.mark.parametrize(
    ("frame", "how"),
    [
        (lambda watch: b'{"checkpoint": 4}\nabcd' + mark(watch, b"abce"), "damaged"),
        (lambda watch: b'{"checkpoint": 4}\nabcd' + hmac.digest(b"guessed", b"abcd", "sha256"), "damaged"),
        (lambda watch: b'{"checkpoint": -1}\n' + mark(watch, b""), "damaged"),
        (lambda watch: b'{"checkpoint": 99999999999999}\n', "damaged"),
        (lambda watch: b'{"checkpoint": 5}\nabcd', "ended"),
        (lambda watch: b'{"checkpoint": 4}\nabcd' + mark(watch, b"abcd")[:-1], "damaged"),
        (lambda watch: b"no line of a rank\n", "damaged"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_cut_off_is_not_taken(watch: Watch, frame: Callable[[Watch], bytes], how: str) -> None:
    with socket.create_connection((watch.address.host, watch.address.port), timeout=5) as rank:
        rank.sendall(greeting(watch) + frame(watch))
        rank.shutdown(socket.SHUT_WR)
        until(lambda: watch.places and watch.places[0].broken)
    assert watch.places[0].broken == how
    assert watch.messages.empty()


def test_a_process_that_ends_before_its_function_is_known_at_once(watch: Watch) -> None:
    with socket.create_connection((watch.address.host, watch.address.port), timeout=5) as rank:
        rank.sendall(greeting(watch))
        until(lambda: watch.places)
    until(lambda: watch.places[0].broken)
    assert watch.places[0].broken == "ended"


def test_a_rank_says_where_its_python_stands_when_it_is_asked(watch: Watch) -> None:
    line = Line(watch.address, 0)
    until(lambda: watch.places)
    watch.say(WHERE)
    until(lambda: watch.places[0].stack)
    assert "test_a_rank_says_where_its_python_stands" in watch.places[0].stack
    assert not watch.places[0].waits
    line.close()


@pytest.mark.parametrize("told", [True, False])
def test_a_rank_learns_that_its_run_has_ended_or_its_driver_is_gone(told: bool) -> None:
    left: list[bool] = []
    with Watch("127.0.0.1", "127.0.0.1") as watch:
        line = Line(watch.address, 0, left.append)
        until(lambda: watch.places)
        if not told:
            watch._lines[0].shutdown(socket.SHUT_RDWR)
            until(lambda: left)
    until(lambda: left)
    assert left == [told]
    line._socket.close()


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"token": "guessed", "rank": 0, "host": "h"}).encode() + b'\n{"at": [1, 1]}\n',
        b'{"rank": 0, "host": "h"}\n{"at": [1, 1]}\n',
        b'{"checkpoint": 1}\nx' + bytes(32),
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"{" * 100_000 + b"\n",
    ],
)
def test_strangers_are_not_heard_and_do_no_harm(watch: Watch, said: bytes) -> None:
    before = watch.moved
    with socket.create_connection((watch.address.host, watch.address.port), timeout=5) as stranger:
        stranger.sendall(said)
        assert stranger.recv(1) == b""  # the driver hung up
    assert (watch.places, watch.errors, watch.moved) == ({}, [], before)
    assert watch.messages.empty()
    line = Line(watch.address, 0)
    until(lambda: 0 in watch.places)
    line.close()


def test_it_listens_on_the_address_it_was_given_alone(watch: Watch) -> None:
    assert watch.address.host == "127.0.0.1"
    assert watch._server.server_address[0] == "127.0.0.1"
    assert len(watch.address.token) == 64
