"""Stretches of readings → segments of one split without a hole in them. Leak-proof by construction: a split is made from the
readings before its end alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Stretch:
    """The `number`-th readings of a series without a gap longer than allowed, a row for every step from `first`.

    values (steps, channels) float64, NaN where nothing was measured; of its `readings`, `moved` did not lie on their step.
    """

    series: str
    number: int
    first: int
    values: np.ndarray
    readings: int
    moved: int


@dataclass(frozen=True)
class Segment:
    """Consecutive usable steps of one split; the first `look_back` belong to the split before, and are context alone.

    values (steps, channels) float64, filled; observed the same shape, bool.
    """

    series: str
    split: str
    first: int
    look_back: int
    values: np.ndarray
    observed: np.ndarray

    @property
    def own(self) -> slice:
        return slice(self.look_back, None)


@dataclass(frozen=True)
class Cut:
    """How stretches become segments. `borders` maps each split to its steps [start, stop)."""

    borders: dict[str, tuple[int, int]]
    fill: str
    most_apart: int
    look_back: int


def segments(stretch: Stretch, cut: Cut) -> Iterator[Segment]:
    """The segments of a stretch, split by split, each made of the readings before that split's end alone."""
    for split, (start, stop) in cut.borders.items():
        known = stretch.values[: max(0, stop - stretch.first)]
        if stretch.first + len(known) <= start:
            continue
        filled, usable = fill(known, cut)
        earliest = start if split == "train" else start - cut.look_back
        for begin, end in runs(usable):
            first, last = max(stretch.first + begin, earliest), stretch.first + end
            if last > start:
                inside = slice(first - stretch.first, end)
                observed = ~np.isnan(known[inside])
                yield Segment(stretch.series, split, first, max(0, start - first), filled[inside], observed)


def fill(values: np.ndarray, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """(filled, usable): `values` (steps, channels) with holes between known values closed, and the steps at which none is left.

    A hole is closed where the known values on either side lie at most `most_apart` steps apart; nothing is extrapolated.
    """
    known = ~np.isnan(values)
    if known.all():
        return values, np.ones(len(values), bool)
    step = np.arange(len(values))[:, None]
    before = np.maximum.accumulate(np.where(known, step, -1))
    after = np.minimum.accumulate(np.where(known, step, len(values))[::-1])[::-1]
    closed = ~known & (before >= 0) & (after < len(values)) & (after - before <= cut.most_apart) & (cut.fill != "none")
    left = np.take_along_axis(values, np.maximum(before, 0), axis=0)
    filling = left
    if cut.fill == "linear":
        right = np.take_along_axis(values, np.minimum(after, len(values) - 1), axis=0)
        filling = left + (right - left) * (step - before) / np.maximum(after - before, 1)
    return np.where(closed, filling, values), (known | closed).all(axis=1)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def stretches(batches: Iterable[pa.RecordBatch], channels: int) -> Iterator[Stretch]:
    """From the rows of `on_grid`, sorted by series and step. Holds one stretch at a time."""
    pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    current: tuple[str, int] | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        series = columns["series"].dictionary_encode()
        stretch = columns["stretch"].to_numpy()
        steps, moved = columns["step"].to_numpy(), columns["moved"].to_numpy(zero_copy_only=False)
        values = columns["values"].flatten().to_numpy(zero_copy_only=False).reshape(-1, channels)
        codes = series.indices.to_numpy()
        changes = np.flatnonzero((np.diff(codes) != 0) | (np.diff(stretch) != 0)) + 1
        for start, stop in zip([0, *changes], [*changes, batch.num_rows], strict=True):
            key = (series.dictionary[int(codes[start])].as_py(), int(stretch[start]))
            if key != current and current is not None:
                yield _stretch(*current, pending, channels)
                pending = []
            current = key
            pending.append((steps[start:stop], values[start:stop], moved[start:stop]))
    if current is not None:
        yield _stretch(*current, pending, channels)


def _stretch(series: str, number: int, pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], channels: int) -> Stretch:
    steps, values, moved = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    dense = np.full((int(steps[-1] - steps[0]) + 1, channels), np.nan)
    dense[steps - steps[0]] = values
    return Stretch(series, number, int(steps[0]), dense, len(steps), int(moved.sum()))
