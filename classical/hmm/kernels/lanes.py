"""Sequences into vector lanes: stretches of stored rows, cut, sorted by length and laid side by side for the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.prep.dataset.blocks import Block

TILE = 16  # steps at a time, so that what is written stays in the nearest cache until its cache lines are full
LONG = 128  # steps of the shortest sequence that is worth folding
# Of this share of lanes and less, that sequences of so many steps and more fill, each is quicker folded. The longer one is, the
# surer it is that its pieces need not wait for each other.
FILLED = ((4096, 0.75), (LONG, 0.25))


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
    """Sequences side by side, LANES of them a section, and sections one after the other.

    A place is a lane of a section: place p is lane p % LANES of section p // LANES. Where the group is `folded`, its places are,
    in order, the pieces of one long sequence, of one length or a step less.

    members     (places,) int64: which sequence is at each place; -1 where none is
    lengths     (places,) int64: steps at each place, the most at the first of a section
    values      (order + steps, channels, LANES) float64, less the centre; the first `order` are history; 0 after a place's end
    observed    the same shape, 1.0 or 0.0; None where everything was measured
    weights     (places,) float64: how often each counts; 0 where there is none
    begins      (sections,) int64: the step that each section begins at; one section where the order is not 0
    """

    members: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    observed: np.ndarray | None
    weights: np.ndarray = field(default_factory=lambda: np.ones(LANES))
    begins: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    folded: bool = False

    @property
    def steps(self) -> int:
        return int(self.begins[-1] + self.lengths[-LANES])

    @property
    def inside(self) -> np.ndarray:
        """(steps, LANES): whether a sequence has a step there."""
        step = np.arange(self.steps)
        section = np.searchsorted(self.begins, step, side="right") - 1
        return (step - self.begins[section])[:, None] < self.lengths.reshape(-1, LANES)[section]

    def label(self, step: int, lane: int) -> str:
        """The sequence and the step at this place, in words."""
        section = int(np.searchsorted(self.begins, step, side="right")) - 1
        place = section * LANES + lane
        before = int(self.lengths[:place].sum()) if self.folded else 0
        return f"sequence {self.members[place]}, step {before + step - self.begins[section]}"

    def each(self, of_lanes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The number of each sequence, and its part (its steps, ...) of an array (steps, ..., LANES)."""
        if self.folded:
            pieces = [of_lanes[:length, ..., lane] for lane, length in enumerate(self.lengths)]
            yield int(self.members[0]), np.concatenate(pieces)
            return
        for place in np.flatnonzero(self.members >= 0):
            begin, lane = self.begins[place // LANES], place % LANES
            yield int(self.members[place]), of_lanes[begin : begin + self.lengths[place], ..., lane]


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
    """All sequences that have a step to score, longest first, LANES at a time: groups of one section, nothing folded.

    The arrays of a group are reused for the next one: take what is needed before going on.
    """
    packer = _Packer(spans, order, centre)
    for first in range(0, packer.sequences, LANES):
        yield packer.side_by_side(first, 1)


def batches(spans: Spans, order: int, centre: np.ndarray, at_once: int) -> Iterator[Group]:
    """As `groups`, but laid out for speed: long sequences that are too few are folded, and short ones lie in several sections, of
    at most `at_once` steps together, so that calls cost little beside what they do."""
    packer, first = _Packer(spans, order, centre), 0
    while first < packer.sequences:
        longest = int(packer.lengths[first])
        if _better_folded(longest, float(packer.lengths[first : first + LANES].mean()) / longest):
            yield packer.folded(first)
            first += 1
        else:
            sections = 1 if order else max(1, at_once // longest)
            yield packer.side_by_side(first, sections)
            first += sections * LANES


def _better_folded(longest: int, filled: float) -> bool:
    return any(longest >= steps and filled <= share for steps, share in FILLED)


class _Packer:
    """Sequences that have a step to score, longest first, and the arrays they are laid into, which grow to the largest group."""

    def __init__(self, spans: Spans, order: int, centre: np.ndarray) -> None:
        spans = spans.after_history(order)
        self.sequences = int((spans.lengths > 0).sum())
        order_of_length = np.argsort(-spans.lengths, kind="stable")[: self.sequences]
        weight = np.ones(len(spans.row)) if spans.weight is None else spans.weight.astype(np.float64)
        self.members, self.weights, self.lengths = (
            _padded(order_of_length, -1, LANES),
            _padded(weight[order_of_length], 0, LANES),
            _padded(spans.lengths[order_of_length], 0, LANES),
        )
        self.row, self.start = (
            _padded(spans.row[order_of_length], 0, LANES),
            _padded(spans.start[order_of_length] - order, 0, LANES),
        )
        self.order, self.centre, self.nothing = order, np.asarray(centre, np.float64), np.zeros(len(centre))
        self.readings, self.seen = _flat(spans.values), None if spans.observed is None else _flat(spans.observed)
        self.values, self.observed = np.empty((2, 0, len(centre), LANES))

    def side_by_side(self, first: int, sections: int) -> Group:
        """The sequences from `first` on, each at a place of its own."""
        sections = min(sections, -(-(self.sequences - first) // LANES))
        here = slice(first, first + sections * LANES)
        lengths = self.lengths[here]
        begins = np.zeros(sections + 1, np.int64)
        np.cumsum(lengths[::LANES], out=begins[1:])
        values, observed = self._packed(self.row[here], self.start[here], lengths, begins)
        return Group(self.members[here], lengths, values, observed, self.weights[here], begins[:-1])

    def folded(self, which: int) -> Group:
        """One sequence in pieces."""
        steps, longer = divmod(int(self.lengths[which]), LANES)
        lengths = np.where(np.arange(LANES) < longer, steps + 1, steps)
        begins, row = np.array([0, lengths[0]]), np.full(LANES, self.row[which])
        values, observed = self._packed(row, self.start[which] + np.cumsum(lengths) - lengths, lengths, begins)
        members = np.where(lengths > 0, self.members[which], -1)
        weights = np.where(lengths > 0, self.weights[which], 0.0)
        return Group(members, lengths, values, observed, weights, begins[:-1], folded=True)

    def _packed(
        self, row: np.ndarray, start: np.ndarray, lengths: np.ndarray, begins: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values and what was observed of them. `begins` has the end of the last section too."""
        rows = self.order + int(begins[-1])
        if rows > len(self.values):
            self.values, self.observed = np.empty((2, rows, *self.values.shape[1:]))
        _pack(self.readings, row, start, lengths, begins, self.order, self.centre, self.values[:rows])
        if self.seen is None:
            return self.values[:rows], None
        _pack(self.seen, row, start, lengths, begins, self.order, self.nothing, self.observed[:rows])
        return self.values[:rows], self.observed[:rows]


def _padded(numbers: np.ndarray, empty: int, spare: int) -> np.ndarray:
    return np.concatenate([numbers, np.full(spare, empty, numbers.dtype)])


def _flat(readings: np.ndarray) -> np.ndarray:
    """(rows, length · channels)"""
    return readings.reshape(len(readings), readings.shape[1] * readings.shape[2])


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
def _pack(source: Any, row: Any, start: Any, lengths: Any, begins: Any, order: Any, centre: Any, out: Any) -> None:
    """`source` (rows, length · channels); `start` with, `lengths` without the `order` steps of history."""
    channels, width = len(centre), source.shape[1]
    less, readings, numbers = np.empty(TILE * channels), source.ravel(), out.ravel()
    for n in range(len(less)):
        less[n] = centre[n % channels]
    for section in range(len(begins) - 1):
        begin, end = begins[section] * channels, (begins[section + 1] + order) * channels
        for tile in range(begin, end, TILE * channels):
            last = min(tile + TILE * channels, end)
            for v in range(LANES):
                place = section * LANES + v
                steps = lengths[place] + order if lengths[place] > 0 else 0
                filled = max(0, min(last - tile, steps * channels - (tile - begin)))
                first = np.uint64(row[place] * width + start[place] * channels + tile - begin)
                to = np.uint64(tile * LANES + v)
                for n in range(np.uint64(filled)):  # without a sign, there is no looking whether it counts from the end
                    numbers[to + n * np.uint64(LANES)] = readings[first + n] - less[n]
                for n in range(np.uint64(filled), np.uint64(last - tile)):
                    numbers[to + n * np.uint64(LANES)] = 0.0
