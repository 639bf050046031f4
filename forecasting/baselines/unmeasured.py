"""Of each step of the horizon, the Gram matrix of the windows in which it was not measured.

A matrix of its own for each step would be `horizon` times the work of a regression. But where windows begin k steps apart, those
without step h + k begin k steps before those without step h, and hold the same values k places further on. So the matrix of step
h + k is that of step h moved k places down its diagonal. New are its first k rows and columns, and the windows at the two ends of
a stored row, of which some have no counterpart. That holds of values, not of values about a window's last one; it does hold of
differences of successive values, which do not know the level. Sums of these along both sides of a matrix are the values again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout

PIECE = 8192


def unmeasured(holes: Sequence[Holes], layout: Layout) -> Iterator[tuple[int, np.ndarray]]:
    """(step of the horizon, Gram matrix) of each step that some window lacks, in any order.

    A matrix, (context + 1, context + 1) float64, is of all windows and channels in which the step was filled: of their contexts
    about the last value, and 1.

    Memory, beside the rows themselves: five such matrices, and three whole numbers for each value that was filled and may be a
    target. Work: for the first steps, as many as lie between two windows, their Gram matrices; for every other step, that many
    rows of one, and the windows at the ends of stored rows.
    """
    if not holes:
        return
    places = min(layout.stride, layout.context - 1)
    for first in range(min(layout.stride, layout.horizon)):
        matrix, before = np.zeros((0, 0)), None
        for step in range(first, layout.horizon, layout.stride):
            sums = _Sums.zero(layout.context - 1, layout.context - 1 if before is None else places, places)
            for block_holes in holes:
                for part in block_holes.windows(layout, step):
                    sums.add(*part)
            matrix = sums.rows if before is None else _moved(matrix, before, sums)
            before = sums
            if sums.count:
                yield step, _about_the_last(matrix, sums)


@dataclass(frozen=True)
class Holes:
    """Values of a block that were filled and may be targets: their row, step in the row and channel, each (holes,)."""

    block: Block
    row: np.ndarray
    at: np.ndarray
    channel: np.ndarray

    @classmethod
    def of(cls, block: Block, layout: Layout) -> Holes:
        ends = np.where(block.windows > 0, (block.windows - 1) * layout.stride + layout.window, 0)
        row, at, channel = np.nonzero(block.observed[:, layout.look_back :] == 0)
        at += layout.look_back
        inside = at < ends[row]
        return cls(block, *(numbers[inside].astype(np.int32) for numbers in (row, at, channel)))

    def windows(self, layout: Layout, step: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The windows that lack a step, by a few thousand: differences of successive values (windows, context - 1) float64, and
        whether each window is the first, and the last, of its row."""
        start = self.at - (layout.look_back + step)
        number, between = np.divmod(start, layout.stride)
        last = self.block.windows[self.row] - 1
        numbers = np.flatnonzero((between == 0) & (number >= 0) & (number <= last))
        contexts = np.lib.stride_tricks.sliding_window_view(self.block.values, layout.context, axis=1)
        for piece in np.split(numbers, range(PIECE, len(numbers), PIECE)):
            values = contexts[self.row[piece], start[piece], self.channel[piece]].astype(np.float64)
            yield np.diff(values, axis=1), number[piece] == 0, number[piece] == last[piece]


@dataclass
class _Sums:
    """Over the windows that lack a step.

    rows      (rows, differences): the first rows of their Gram matrix
    sums      (differences,)
    leaving   (differences - places, …) squared: of windows that are the first of their row, without their last places
    entering  the same shape: of windows that are the last of their row, without their first places
    """

    count: int
    rows: np.ndarray
    sums: np.ndarray
    leaving: np.ndarray
    entering: np.ndarray

    @classmethod
    def zero(cls, differences: int, rows: int, places: int) -> _Sums:
        shared = differences - places
        shapes = (rows, differences), (differences,), (shared, shared), (shared, shared)
        return cls(0, *map(np.zeros, shapes))

    def add(self, windows: np.ndarray, first: np.ndarray, last: np.ndarray) -> None:
        shared = len(self.leaving)
        self.count += len(windows)
        self.rows += windows[:, : len(self.rows)].T @ windows
        self.sums += windows.sum(axis=0)
        if first.any():
            self.leaving += windows[first, :shared].T @ windows[first, :shared]
        if last.any():
            later = windows[last, windows.shape[1] - shared :]
            self.entering += later.T @ later


def _moved(matrix: np.ndarray, before: _Sums, sums: _Sums) -> np.ndarray:
    """The matrix of the windows that `sums` are of, from that of the step before in which `before` are."""
    new, places = np.empty_like(matrix), len(sums.rows)
    shared = len(matrix) - places
    new[places:, places:] = matrix[:shared, :shared] - before.leaving + sums.entering
    new[:places], new[:, :places] = sums.rows, sums.rows.T
    return new


def _about_the_last(matrix: np.ndarray, sums: _Sums) -> np.ndarray:
    """From the Gram matrix of differences to that of values about the last one, which is 0 itself, and 1."""
    differences = len(matrix)
    gram = np.zeros((differences + 2, differences + 2))
    # A value is the last one less all differences after it.
    gram[:differences, :differences] = matrix[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    gram[:differences, -1] = gram[-1, :differences] = -sums.sums[::-1].cumsum()[::-1]
    gram[-1, -1] = sums.count
    return gram
