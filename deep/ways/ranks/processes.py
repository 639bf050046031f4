"""The processes of ranks as their launcher sees them: their last lines and their exit codes."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field

LOG_LINES, LINE_CHARACTERS = 100, 2000
# What is still on its way when a run has ended.
LAST_WORDS_SECONDS = 2.0
PREFIX = re.compile(r"^\[\d+\]<std(?:out|err)>:")


class Tail:
    """A stream that keeps the last lines written to it. Two streams may share the deque of lines, in the order of writing."""

    def __init__(self, lines: deque[str]) -> None:
        self.lines, self.over, self._rest = lines, threading.Event(), ""

    def write(self, text: str) -> None:
        *whole, self._rest = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.lines.extend(PREFIX.sub("", line)[:LINE_CHARACTERS] for line in whole if line)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.write("\n" if self._rest else "")
        self.over.set()


@dataclass
class Processes:
    """The processes of ranks.

    tails       of each rank, its two streams
    exits       of each rank, its exit code; None where that is unknown
    hosts       of each rank
    abandoned   ranks that the launcher does not wait for any more
    """

    tails: dict[int, tuple[Tail, Tail]] = field(default_factory=dict)
    exits: dict[int, int | None] = field(default_factory=dict)
    hosts: dict[int, str] = field(default_factory=dict)
    abandoned: set[int] = field(default_factory=set)

    def enter(self, rank: int, host: str) -> tuple[Tail, Tail]:
        lines = deque[str](maxlen=LOG_LINES)
        self.tails[rank], self.hosts[rank] = (Tail(lines), Tail(lines)), host
        return self.tails[rank]

    def log(self, rank: int) -> list[str]:
        """The last lines that a rank printed."""
        tails = self.tails.get(rank, ())
        for tail in tails if rank not in self.abandoned else ():
            tail.over.wait(LAST_WORDS_SECONDS)
        return list(tails[0].lines) if tails else []
