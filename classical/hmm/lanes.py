"""Sequences into vector lanes: stretches of stored rows, cut, sorted by length and laid side by side for the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numba import njit

from classical.hmm.vector import LANES
from prep.blocks import Block

TILE = 16  # steps at a time, so that what is written stays in the nearest cache until its cache lines are full


@dataclass(frozen=True)
class Spans:
    """Sequences as stretches of rows; nothing is copied.

    values      (rows, length, channels) float32 or float64
    observed    the same shape, 0 where not measured; None where everything is
    row         (sequences,) int64: the row a sequence lies in
    first       (sequences,) int64: the first step of that row that may be looked at as its history
    start, stop (sequences,) int64: the steps of the row that are the sequence
    weight      (sequences,) float64: how often each sequence counts; None where each counts once
    """

    values: np.ndarray
    observed: np.ndarray | None
    row: np.ndarray
    first: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    weight: np.ndarray | None = None

    def after_history(self, order: int) -> Spans:
        """The same sequences, begun late where fewer than `order` steps lie before them: those steps are conditioned on."""
        start = np.maximum(self.start, self.first + order)
        return replace(self, start=start, stop=np.maximum(self.stop, start))

    @property
    def lengths(self) -> np.ndarray:
        return self.stop - self.start


@dataclass(frozen=True)
class Group:
    """Up to LANES sequences side by side.

    members     (LANES,) int64: which sequence is in each lane; -1 for a lane that is empty
    lengths     (LANES,) int64: steps in each lane, the longest first
    weights     (LANES,) float64: how often each lane counts; 0 for a lane that is empty
    values      (order + steps, channels, LANES) float64, less the centre; the first `order` are history; 0 after a lane's end
    observed    the same shape, 1.0 or 0.0; None where everything was measured
    """

    members: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    observed: np.ndarray | None
    weights: np.ndarray = field(default_factory=lambda: np.ones(LANES))

    @property
    def steps(self) -> int:
        return int(self.lengths[0])

    def each(self, of_lanes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Which sequence, and its part (its steps, ...) of an array (steps, ..., LANES)."""
        for lane in np.flatnonzero(self.members >= 0):
            yield int(self.members[lane]), of_lanes[: self.lengths[lane], ..., lane]


def owned(block: Block) -> Spans:
    """The steps that each row owns, with the rest of the row before them as history. Padding is never part of it."""
    rows = len(block.own_start)
    start = block.own_start.astype(np.int64)
    stop = np.maximum(block.own_stop.astype(np.int64), start)
    observed = np.asarray(block.observed)
    return Spans(
        values=np.asarray(block.values),
        observed=None if _all_ones(observed, start, stop) else observed,
        row=np.arange(rows),
        first=np.zeros(rows, np.int64),
        start=start,
        stop=stop,
    )


def whole(values: np.ndarray, observed: np.ndarray | None = None) -> Spans:
    """Each row of `values` (sequences, steps, channels) as one sequence."""
    rows, length = values.shape[:2]
    zero = np.zeros(rows, np.int64)
    return Spans(values, observed, np.arange(rows), zero, zero, np.full(rows, length, np.int64))


def concatenated(X: np.ndarray, lengths: np.ndarray, observed: np.ndarray | None = None) -> Spans:
    """Sequences one after the other in `X` (steps, channels), as hmmlearn takes them."""
    stop = np.cumsum(lengths, dtype=np.int64)
    start = stop - lengths
    row = np.zeros(len(stop), np.int64)
    return Spans(X[None], None if observed is None else observed[None], row, start, start, stop)


def stacked(rows: np.ndarray, spans: Spans) -> np.ndarray:
    """The steps of all sequences, one after the other: (steps, channels)."""
    return np.concatenate([rows[r, a:b] for r, a, b in zip(spans.row, spans.start, spans.stop, strict=True)])


def groups(spans: Spans, order: int, centre: np.ndarray) -> Iterator[Group]:
    """All sequences that have a step to score, longest first, LANES at a time.

    The arrays of a group are reused for the next one: take what is needed before going on.
    """
    spans = spans.after_history(order)
    by_length = np.argsort(-spans.lengths, kind="stable")[: int((spans.lengths > 0).sum())]
    if not len(by_length):
        return
    row, start, stop = spans.row[by_length], spans.start[by_length] - order, spans.stop[by_length]
    spare = -len(by_length) % LANES
    members = np.concatenate([by_length, np.full(spare, -1)])
    lengths = np.concatenate([stop - start - order, np.zeros(spare, np.int64)])
    weight = np.ones(len(by_length)) if spans.weight is None else spans.weight[by_length].astype(np.float64)
    weights = np.concatenate([weight, np.zeros(spare)])
    channels = spans.values.shape[2]
    values = np.empty((order + int(lengths[0]), channels, LANES))
    observed = None if spans.observed is None else np.empty_like(values)
    for first in range(0, len(by_length), LANES):
        here, steps = slice(first, first + LANES), order + int(lengths[first])
        _pack(spans.values, row[here], start[here], stop[here], centre, values[:steps])
        if observed is not None and spans.observed is not None:
            _pack(spans.observed, row[here], start[here], stop[here], np.zeros(channels), observed[:steps])
        seen = None if observed is None else observed[:steps]
        yield Group(members[here], lengths[here], values[:steps], seen, weights[here])


@njit(cache=True, nogil=True)
def _all_ones(observed: Any, start: Any, stop: Any) -> Any:
    for row in range(len(start)):
        zeros = 0
        for t in range(start[row], stop[row]):
            for c in range(observed.shape[2]):
                zeros += observed[row, t, c] == 0
        if zeros > 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _pack(source: Any, row: Any, start: Any, stop: Any, centre: Any, out: Any) -> None:
    steps, channels, width = out.shape
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for v in range(width):
            filled = 0
            if v < len(row):
                filled = max(0, min(end - tile, stop[v] - start[v] - tile))
                line = source[row[v], start[v] + tile : start[v] + tile + filled]
                for t in range(filled):
                    for c in range(channels):
                        out[tile + t, c, v] = line[t, c] - centre[c]
            for t in range(tile + filled, end):
                for c in range(channels):
                    out[t, c, v] = 0.0
