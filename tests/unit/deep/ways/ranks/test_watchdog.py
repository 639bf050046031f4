"""Ranks of one process at a real board, Horovod's own key-value store; they would end the process, and here only say so."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest
from horovod.runner.http.http_server import RendezvousServer

from hindcast.deep.ways.ranks import watchdog
from hindcast.deep.ways.ranks.watch import Place
from hindcast.deep.ways.ranks.watchdog import Board, Watchdog


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The statuses that this process would have ended with. Watchdogs of a test that failed are stopped too: they end it."""
    statuses: list[int] = []
    dogs: list[Watchdog] = []
    begin = Watchdog.__init__

    def kept(dog: Watchdog, rank: int, silence_seconds: float) -> None:
        dogs.append(dog)
        begin(dog, rank, silence_seconds)

    monkeypatch.setattr(Watchdog, "__init__", kept)
    monkeypatch.setattr(watchdog.os, "_exit", statuses.append)
    for name, seconds in {
        "BEAT_SECONDS": 0.1,
        "ANSWER_SECONDS": 0.5,
        "STOPPED_SECONDS": 1.0,
        "STOPPED_AT_START_SECONDS": 2.0,
    }.items():
        monkeypatch.setattr(watchdog, name, seconds)
    yield statuses
    for dog in dogs:
        dog.stop()


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    server = RendezvousServer()
    port = server.start()
    server._httpd.init([])
    for name, value in {"RENDEZVOUS_ADDR": "127.0.0.1", "RENDEZVOUS_PORT": str(port)}.items():
        monkeypatch.setenv(f"HOROVOD_GLOO_{name}", value)
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    yield Board("127.0.0.1", port, 2)
    server.stop()
    server._httpd.server_close()


def until_ended(ended: list[int], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not ended:
        assert time.monotonic() < limit, "it did not end"
        time.sleep(0.05)


def test_a_silent_run_is_ended_for_the_rank_that_is_behind(
    board: Board, ended: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    dogs = [Watchdog(rank, 1.0) for rank in range(2)]
    for step in range(1, 6):
        dogs[0].step(1, step)
        if step < 5:
            dogs[1].step(1, step)
    until_ended(ended)
    for dog in dogs:
        dog.stop()
    said = capsys.readouterr().err
    assert "hindcast: no rank has moved for 1 s; the others wait for: rank 1 on " in said
    assert "(at epoch 1, step 4)" in said
    assert "Rank 1 stands at:" in said
    assert ended[0] == watchdog.EXIT_STATUS


def test_a_rank_that_works_before_its_first_step_is_waited_for_and_one_that_sleeps_is_not(
    board: Board, ended: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works = {0: False, 1: True}  # rank 0 waits in the collective for rank 1, which is reading
    dogs = [Watchdog(rank, 1.0) for rank in works]
    for rank, dog in enumerate(dogs):
        monkeypatch.setattr(dog._work, "worked", lambda rank=rank: works[rank])
    dogs[0].step(1, 1)
    time.sleep(4)
    assert not ended
    works[1] = False
    until_ended(ended)
    for dog in dogs:
        dog.stop()
    assert "no rank has moved for 1 s; the others wait for: rank 1 on " in (said := capsys.readouterr().err)
    assert "(before its first step)" in said


def test_a_rank_without_a_sign_of_life_is_found_by_the_one_before_it(
    board: Board, ended: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    board.put(1, 7, Place("far", steps=3, at=(1, 3)), {"stack": "", "waits": False})
    dog = Watchdog(0, 60.0)
    until_ended(ended)
    dog.stop()
    assert "hindcast: rank 1 on far (at epoch 1, step 3) has given no sign of life for 1 s" in capsys.readouterr().err


def test_a_rank_that_is_done_is_not_missed(board: Board, ended: list[int]) -> None:
    dogs = [Watchdog(rank, 60.0) for rank in range(2)]
    dogs[0].step(1, 1)
    dogs[1].stop()
    time.sleep(2.5)
    dogs[0].stop()
    assert not ended


def test_a_rank_whose_horovodrun_is_gone_ends(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watchdog, "own_board", lambda: Board("127.0.0.1", 9, 2))  # nobody listens there
    dog = Watchdog(0, 60.0)
    until_ended(ended)
    dog.stop()
    assert "hindcast: horovodrun has not answered rank 0 on " in capsys.readouterr().err


def test_without_a_board_silence_is_noticed_still(ended: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    dog = Watchdog(3, 0.3)
    for step in (4, 5):
        dog.step(2, step)
    until_ended(ended)
    dog.stop()
    assert "rank 3 on " in (said := capsys.readouterr().err)
    assert "(at epoch 2, step 5) has taken no step for 0.3 s: it, or a rank that it waits for, has stopped" in said


@pytest.mark.parametrize("word", ["", "[]", "{}", '{"beats": "x"}', "\xff"])
def test_what_no_rank_has_left_at_the_board_is_no_word(board: Board, word: str) -> None:
    connection = http.client.HTTPConnection(board.host, board.port, timeout=5)
    connection.request("PUT", "/hindcast/1", word.encode("latin-1"))
    assert connection.getresponse().status == 200
    connection.close()
    assert board.read(1) is None
