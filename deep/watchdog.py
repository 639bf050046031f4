"""Ends a rank that has gone quiet, where nobody else watches: under horovodrun, whose own stall options do not fire with Gloo."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

# This rank and others decode data before the first step.
START_SECONDS = 300.0
EXIT_STATUS = 75


class Watchdog:
    """A thread that ends this process when no step was taken for `silence_seconds`; horovodrun then ends the other ranks.

    A rank that waits for one that stopped is as silent as that one, so whichever can still act does.
    """

    def __init__(self, rank: int, silence_seconds: float) -> None:
        self.rank, self.silence_seconds = rank, silence_seconds
        self._at: tuple[int, int] | None = None
        self._heard = time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def step(self, epoch: int, step: int) -> None:
        """Called before each step."""
        self._at, self._heard = (epoch, step), time.monotonic()

    def stop(self) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self.silence_seconds)):
            limit = START_SECONDS if self._at is None else self.silence_seconds
            if time.monotonic() - self._heard > limit:
                last = "before its first step" if self._at is None else "since epoch {}, step {}".format(*self._at)
                sys.stderr.write(
                    f"hindcast: rank {self.rank} on {socket.gethostname()} has taken no step for {limit:g} s ({last}): "
                    "it, or a rank that it waits for, has stopped. The run is ended\n"
                )
                sys.stderr.flush()
                os._exit(EXIT_STATUS)  # the main thread may wait in the collective for ever, and would not hear an exception
