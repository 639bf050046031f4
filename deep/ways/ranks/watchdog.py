"""Ends a rank of a run that has gone quiet where no driver watches: under horovodrun, whose stall options do not fire with Gloo.

Every second a rank leaves word at the board, the key-value store that horovodrun keeps for the rendezvous (with Gloo, not with
MPI), so that whichever rank ends the run can say for whom. Horovod guards that store with no key; nothing there is secret.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from hindcast.deep.ways.ranks.faults import START_SECONDS, STOPPED_AT_START_SECONDS, STOPPED_SECONDS, WORK_SECONDS, behind
from hindcast.deep.ways.ranks.standing import Work, standing
from hindcast.deep.ways.ranks.watch import BEAT_SECONDS, Place

EXIT_STATUS = 75
ANSWER_SECONDS, REQUEST_SECONDS, LONGEST_STACK = 2.5, 5.0, 1 << 13


class Watchdog:
    """A thread that ends this process, and with it the run: horovodrun then ends the other ranks.

    It does so when no step was taken for `silence_seconds` (a rank that waits for one that stopped is as silent as that one, so
    whichever can still act does) and no rank that is still starting works, when the next rank gives no sign of life, or when
    horovodrun does not answer any more.
    """

    def __init__(self, rank: int, silence_seconds: float) -> None:
        self.rank, self.silence_seconds = rank, silence_seconds
        self._place, self._beats, self._board = Place(socket.gethostname(), os.getpid()), 0, own_board()
        self._moved = self._worked = self._answered = self._next_heard = time.monotonic()
        self._work = Work()
        self._next_beats = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()

    def reads(self) -> None:
        """Called after each row group that is read."""
        self._moved = time.monotonic()

    def step(self, epoch: int, step: int) -> None:
        """Called before each step."""
        self._place.at, self._place.steps, self._moved = (epoch, step), self._place.steps + 1, time.monotonic()

    def stop(self) -> None:
        self._place.done = True
        self._done.set()
        self._thread.join(2 * REQUEST_SECONDS)

    def _watch(self) -> None:
        self._tell()
        while not self._done.wait(min(BEAT_SECONDS, self.silence_seconds)):
            self._tell()
            if reason := self._silent() or self._next_stopped() or self._alone():
                sys.stderr.write(f"hindcast: {reason}. The run is ended\n")
                sys.stderr.flush()
                os._exit(EXIT_STATUS)  # the main thread may wait in the collective for ever, and would not hear an exception
        self._tell()

    def _silent(self) -> str | None:
        starting, moved = self._place.starting, self._moved
        # Without a board nobody can tell whether the others work.
        limit = max(START_SECONDS, self.silence_seconds) if starting and self._board is None else self.silence_seconds
        if too_long := time.monotonic() - moved > max(WORK_SECONDS, limit):
            limit = max(WORK_SECONDS, limit)
        elif self._idle() <= limit:
            return None
        if self._board is None:
            return (
                f"{_name(self.rank, self._place)} has taken no step for {limit:g} s: it, or a rank that it waits for, has stopped"
            )
        places = self._places()
        works = starting and not too_long and any(place.idle <= limit for place in places.values())
        if self._done.is_set() or self._moved != moved or works:
            return None
        last = behind(places)
        stacks = "".join(f"\nRank {rank} stands at:\n{places[rank].stack}" for rank in last if places[rank].stack)
        names = ", ".join(_name(rank, places[rank]) for rank in last)
        return f"no rank has moved for {limit:g} s; the others wait for: {names}{stacks}"

    def _places(self) -> dict[int, Place]:
        """Where all ranks are. One that leaves no word meanwhile has no stack."""
        assert self._board is not None
        before = [self._board.get(rank) for rank in range(self._board.size)]
        time.sleep(ANSWER_SECONDS)
        self._tell()
        places = {}
        for rank, (then, now) in enumerate(zip(before, map(self._board.get, range(self._board.size)), strict=True)):
            if now is not None:
                places[rank] = now[1]
                if then is not None and then[0] == now[0]:
                    places[rank].stack, places[rank].waits = "", False
        return places

    def _next_stopped(self) -> str | None:
        """Each rank looks after the next one, so that all are looked after."""
        if self._board is None or self._board.size == 1:
            return None
        rank, now = (self.rank + 1) % self._board.size, time.monotonic()
        try:
            word = self._board.read(rank)
        except (OSError, http.client.HTTPException):
            self._next_heard = now  # not its fault
            return None
        self._answered = now
        beats, place = word or (0, Place("a host unknown"))
        if place.done or beats != self._next_beats:
            self._next_beats, self._next_heard = beats, now
        limit = STOPPED_SECONDS if place.at else STOPPED_AT_START_SECONDS
        if now - self._next_heard <= limit:
            return None
        return f"{_name(rank, place)} has given no sign of life for {limit:g} s, and rank {self.rank} is {_where(self._place)}"

    def _alone(self) -> str | None:
        if self._board is None or self._board.size == 1 or time.monotonic() - self._answered <= STOPPED_SECONDS:
            return None
        return f"horovodrun has not answered {_name(self.rank, self._place)} for {STOPPED_SECONDS:g} s"

    def _idle(self) -> float:
        """Seconds since this rank moved, or worked while it was starting."""
        return time.monotonic() - max(self._moved, self._worked)

    def _tell(self) -> None:
        if self._work.worked() and self._place.starting:
            self._worked = time.monotonic()
        if self._board is not None:
            self._beats, self._place.idle = self._beats + 1, self._idle()
            quiet = self._place.idle > self.silence_seconds / 2
            self._board.put(self.rank, self._beats, self._place, standing() if quiet else {"stack": "", "waits": False})


def _name(rank: int, place: Place) -> str:
    return f"rank {rank} on {place.host} ({_where(place)})"


def _where(place: Place) -> str:
    return "at epoch {}, step {}".format(*place.at) if place.at else "before its first step"


@dataclass(frozen=True)
class Board:
    """The store of the ranks' reports: JSON under /hindcast/RANK."""

    host: str
    port: int
    size: int

    def put(self, rank: int, beats: int, place: Place, stands: dict[str, Any]) -> None:
        word = {"beats": beats, "host": place.host, "pid": place.pid, "steps": place.steps, "at": place.at, "done": place.done}
        word["idle"] = place.idle
        try:
            self._ask("PUT", rank, json.dumps({**word, **stands, "stack": stands["stack"][-LONGEST_STACK:]}))
        except (OSError, http.client.HTTPException):
            return  # that the board is gone is found when it is read

    def get(self, rank: int) -> tuple[int, Place] | None:
        """As `read`; None where the board does not answer."""
        try:
            return self.read(rank)
        except (OSError, http.client.HTTPException):
            return None

    def read(self, rank: int) -> tuple[int, Place] | None:
        """How many reports a rank has left, and the last of them; None where it left none. Raises OSError or HTTPException."""
        text = self._ask("GET", rank)
        try:
            word = json.loads(text or "")
            at = None if word["at"] is None else (int(word["at"][0]), int(word["at"][1]))
            place = Place(str(word["host"]), int(word["pid"]), int(word["steps"]), at, word["done"] is True)
            place.stack, place.waits, place.idle = str(word["stack"])[-LONGEST_STACK:], word["waits"] is True, float(word["idle"])
            return int(word["beats"]), place
        except (ValueError, KeyError, TypeError, IndexError):
            return None

    def _ask(self, verb: str, rank: int, body: str | None = None) -> bytes | None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=REQUEST_SECONDS)
        try:
            connection.request(verb, f"/hindcast/{rank}", body)
            answer = connection.getresponse()
            return answer.read(1 << 16) if answer.status == http.client.OK else None
        finally:
            connection.close()


def own_board() -> Board | None:
    """The board of the horovodrun that started this process, if it has one."""
    host, port = os.environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR"), os.environ.get("HOROVOD_GLOO_RENDEZVOUS_PORT")
    return Board(host, int(port), int(os.environ["HOROVOD_SIZE"])) if host and port else None
