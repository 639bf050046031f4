"""Where rows and windows lie on consecutive steps: pure arithmetic, shared by the writer and the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

ROW_BYTES = 4_000_000


class Layout(BaseModel):
    """The shape of windows and stored rows, in steps.

    A window is `context` steps, `lead` steps that are skipped, and the `horizon` steps after them. A row holds up to
    `windows_per_row` windows at offsets 0, stride, 2·stride …
    """

    model_config = ConfigDict(frozen=True)
    context: int
    horizon: int
    lead: int = 0
    stride: int
    windows_per_row: int

    @property
    def window(self) -> int:
        return self.context + self.lead + self.horizon

    @property
    def look_back(self) -> int:
        """How far a window's first target lies behind its first step: what of it may lie before the border of its split."""
        return self.context + self.lead

    @property
    def reach(self) -> int:
        """Steps that a row holds of its last window. Where windows lie further apart than they are long, those between as
        well.
        """
        return max(self.window, self.stride)

    @property
    def advance(self) -> int:
        """Steps between the starts of successive full rows."""
        return self.windows_per_row * self.stride

    @property
    def length(self) -> int:
        """Steps in a row."""
        return self.reach + (self.windows_per_row - 1) * self.stride


@dataclass(frozen=True)
class Rows:
    """Rows over consecutive steps: each holds [start, stop), has `windows` windows, and owns its steps from own_start on.

    All are arrays (rows,) of steps counted from the same origin.
    """

    start: np.ndarray
    stop: np.ndarray
    windows: np.ndarray
    own_start: np.ndarray


def rows_of(layout: Layout, starts: np.ndarray, own: tuple[int, int]) -> Rows:
    """The rows of windows that begin at `starts` (ascending), which own the steps [own[0], own[1]), from step 0 on.

    Every step of `own` is owned by exactly one row: the first that holds it, so that a row begins with history and owns what
    comes after. Steps in no window are held by rows without windows. Windows reach no further than own[1].
    """
    begin, end = own
    first, windows = packed(layout, starts)
    stop = np.minimum(first + (windows - 1) * layout.stride + layout.reach, end)
    # What a row leaves over up to the next row, or to the end, it holds too as far as it is long.
    following = np.append(first[1:], end)
    stop = np.maximum(stop, np.minimum(first + layout.length, following))
    owned_until = np.maximum.accumulate(np.concatenate([[begin], stop]))
    own_start = np.maximum(owned_until[:-1], first)
    rows = list(zip(first, stop, windows, own_start, strict=True))
    for before, after in zip(owned_until, np.append(first, end), strict=True):
        rows += _without_windows(layout, int(before), int(after))
    table = np.array(sorted(rows, key=lambda row: row[3]), np.int64).reshape(-1, 4)
    return Rows(*table.T)


def packed(layout: Layout, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, windows) of the rows that hold windows at `starts`: where each begins, and how many follow it a stride apart."""
    run = np.cumsum(np.diff(starts, prepend=starts[:1]) != layout.stride)
    begin = np.maximum.accumulate(np.where(np.diff(run, prepend=-1) != 0, np.arange(len(starts)), 0))
    heads = np.flatnonzero((np.arange(len(starts)) - begin) % layout.windows_per_row == 0)
    return starts[heads], np.diff(np.append(heads, len(starts)))


def _without_windows(layout: Layout, begin: int, end: int) -> list[tuple[int, int, int, int]]:
    """Rows that own [begin, end), each with as much history before it as half a row holds."""
    rows = []
    while begin < end:
        stop = min(end, max(layout.length, begin + max(layout.advance, layout.length // 2)))
        rows.append((max(0, stop - layout.length), stop, 0, begin))
        begin = stop
    return rows


def best_windows_per_row(layout: Layout, runs: Mapping[int, int], channels: int, most: int = 4096) -> int:
    """The packing that stores the fewest steps, padding included, for runs of successive windows given as {windows: how many
    runs}.

    Overlap shrinks as rows grow, and padding grows: short runs want short rows.
    """
    most = max(1, min(most, ROW_BYTES // (4 * channels * layout.stride)))
    lengths, counts = np.array(list(runs)), np.array(list(runs.values()))

    def stored(windows_per_row: int) -> int:
        length = layout.model_copy(update={"windows_per_row": windows_per_row}).length
        return int((counts * -(-lengths // windows_per_row)).sum()) * length

    longest = min(most, int(lengths.max(initial=1)))
    candidates = {max(1, round(longest / divisor)) for divisor in np.geomspace(1, longest, 60)}
    return min(sorted(candidates), key=stored)
