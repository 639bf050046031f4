"""A chunk of readings → segments of one split without a hole in them. Leak-proof by construction: a split is made from the
readings before its end alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hindcast.prep.dataset.layout import Layout
from hindcast.prep.grid.filling import fill
from hindcast.prep.grid.gaps import runs
from hindcast.prep.grid.splits import SeriesSplit


@dataclass(frozen=True)
class Chunk:
    """What is known of a series around some of its steps. Windows that begin in [begin, end) are this chunk's to store.

    Row i of each array is the step `first` + i; before `begin` and from `end` on are steps of the neighbours, as far as they
    matter.
    values      (steps, channels) float64, NaN where nothing was measured
    covariates  (steps, covariates) float64, NaN where nothing is known
    labels      (steps, labels) float64: codes, NaN where there is none
    """

    series: str
    first: int
    begin: int
    end: int
    values: np.ndarray
    covariates: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Part:
    """What a split knows of a chunk: its steps up to the split's end, filled, and which of them are `usable` for it.

    known, filled  (steps, channels) float64, from the chunk's first step on
    usable         (steps,) bool: no channel is missing
    """

    split: str
    start: int
    earliest: int
    known: np.ndarray
    filled: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True)
class Segment:
    """Consecutive usable steps of one split, from the step `first` of the grid. Other steps count from there.

    values, observed   (steps, channels) float64, filled, and bool
    covariates, labels as in `Chunk`
    starts             (windows,): where the windows begin that are this chunk's
    own                [own[0], own[1]): the steps that are this chunk's to store; the others are context alone
    """

    series: str
    split: str
    first: int
    values: np.ndarray
    observed: np.ndarray
    covariates: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    own: tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """How chunks become segments.

    borders      split → its steps [start, stop) of the grid
    series       which split each series belongs to, where whole series are split
    fill         how holes are closed, for each channel: "none", "previous" or "linear"
    most_apart   steps between the readings on either side of the longest hole that is closed
    layout       the shape of windows; those with a share of measured values below `min_observed` are left out
    """

    borders: dict[str, tuple[int, int]]
    series: SeriesSplit | None
    fill: tuple[str, ...]
    most_apart: int
    layout: Layout
    min_observed: float = 0.0

    @property
    def halo(self) -> int:
        """How many steps of its neighbours a chunk must know."""
        return self.layout.reach + self.most_apart

    def borders_of(self, series: str) -> dict[str, tuple[int, int]]:
        if self.series is None:
            return self.borders
        split = self.series.of(series)
        return {split: self.borders[split]} if split else {}


def parts(chunk: Chunk, cut: Cut) -> Iterator[Part]:
    """What each split may know of a chunk: the readings before its end, and from its start or the context before it."""
    for split, (start, stop) in cut.borders_of(chunk.series).items():
        known = chunk.values[: max(0, stop - chunk.first)]
        if chunk.first + len(known) > max(start, chunk.begin):
            filled, usable = fill(known, cut.fill, cut.most_apart)
            earliest = start if split == "train" or cut.series else start - cut.layout.look_back
            usable[: max(0, earliest - chunk.first)] = False
            yield Part(split, start, earliest, known, filled, usable)


def segments(chunk: Chunk, part: Part, cut: Cut, seam: int) -> Iterator[Segment]:
    """The segments of a split in a chunk. Those before `seam` are in the dataset already."""
    for begin, end in runs(part.usable):
        observed = ~np.isnan(part.known[begin:end])
        starts, own = _share(chunk, part, cut, chunk.first + begin, observed, seam)
        if own[0] < own[1]:
            inside = slice(begin, end)
            yield Segment(
                series=chunk.series,
                split=part.split,
                first=chunk.first + begin,
                values=part.filled[inside],
                observed=observed,
                covariates=chunk.covariates[inside],
                labels=chunk.labels[inside],
                starts=starts,
                own=own,
            )


def _share(chunk: Chunk, part: Part, cut: Cut, first: int, observed: np.ndarray, seam: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Of a run of usable steps from `first` on: where this chunk's windows begin, and the steps it owns, both counted from
    `first`.

    Windows begin at every stride-th step from the earliest that a split may use, the same for all series, so that a chunk needs
    no word from its neighbours. A chunk owns its own steps, but for those that the last window of the chunk before reaches.
    """
    layout, steps = cut.layout, len(observed)
    starts = np.arange((part.earliest - first) % layout.stride, steps - layout.window + 1, layout.stride)
    if cut.min_observed > 0 and len(starts):
        measured = np.concatenate([[0], np.cumsum(observed.mean(axis=1))])
        starts = starts[measured[starts + layout.window] - measured[starts] >= cut.min_observed * layout.window - 1e-9]
    begin, end, kept = chunk.begin - first, chunk.end - first, max(seam - first, 0)
    before, until = starts[starts < begin], starts[starts < end]
    mine = until[(until >= begin) & (until + layout.window > kept)]
    own_start = max([begin, part.start - first, kept, *(before[-1:] + layout.reach)])
    own_stop = max([end, *(until[-1:] + layout.reach)])
    return mine, (int(own_start), int(min(own_stop, steps)))
