"""What every partition counts by itself, in NumPy: histograms, outliers, and the sums behind correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

BINS = 40
SCHEMA = "grp int, place int, value double"


@dataclass(frozen=True)
class Plan:
    """By what values are counted. Group 0 is all series together, each other group one series.

    A column without a value in a group has a histogram of one bin there, and nothing to put into it.
    """

    columns: tuple[str, ...]
    edges: np.ndarray
    """(groups, columns, BINS + 1) of histograms; of fewer bins, what follows their edges is not used."""
    bins: np.ndarray
    """(groups, columns) how many bins there are."""
    inside: np.ndarray
    """(groups, columns, 2) what lies outside is an outlier."""
    centre: np.ndarray
    """(groups, columns) what is subtracted before values are multiplied: sums of squares stay exact far from zero."""
    half_range: np.ndarray
    """(groups, columns) half of what the highest is above the lowest: lest the difference of two huge values be infinite."""
    correlated: tuple[int, ...]
    """(groups,) how many of the columns are correlated, from the first."""

    def of_batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Counts batches of group (0 for a series without one) and columns.

        Gives a row for each number of each group that has a reading here: `SCHEMA`, the place being that in `Counts.vector`.
        """
        by_group: dict[int, Counts] = {}
        for batch in batches:
            group, *columns = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
            self._add(by_group, group, np.column_stack(columns).astype(float))
        for number, counts in by_group.items():
            vector = counts.vector()
            numbers = [np.full(len(vector), number, np.int32), np.arange(len(vector), dtype=np.int32), vector]
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in numbers], ["grp", "place", "value"])

    def _add(self, counts_of: dict[int, Counts], group: np.ndarray, values: np.ndarray) -> None:
        """Adds (rows, columns) values of (rows,) groups to what was found: all of them to group 0, and each to its own."""
        alone = np.flatnonzero(group)
        present = [0, *np.unique(group[alone]).tolist()]
        for number in present:
            counts_of.setdefault(number, Counts.empty(len(self.columns), self.correlated[number]))
        # By their places among those present, so that counting takes no more than these.
        places = np.searchsorted(present, np.r_[np.zeros(len(values), int), group[alone]])
        for index in range(len(self.columns)):
            counted = self._counted(np.r_[values[:, index], values[alone, index]], places, np.array(present), index)
            for number, bins, ends in zip(present, *counted, strict=True):
                counts_of[number].add(index, bins, ends)
        for number in present:
            if count := self.correlated[number]:
                rows = values if number == 0 else values[group == number]
                counts_of[number].pairs += self._paired(rows[:, :count], number)

    def _counted(self, values: np.ndarray, places: np.ndarray, groups: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(groups, BINS + 2) values in each bin, below and above; (groups, 2) the lowest and the highest inside."""
        finite = np.isfinite(values)
        values, places = values[finite], places[finite]
        inside, edges, bins = self.inside[groups, index], self.edges[groups, index], self.bins[groups, index]
        below, above = values < inside[places, 0], values > inside[places, 1]
        within = ~(below | above)
        slot = np.where(below, BINS, BINS + 1)
        slot[within] = bin_of(values[within], places[within], edges, bins)
        counts = np.bincount(places * (BINS + 2) + slot, minlength=len(groups) * (BINS + 2)).reshape(len(groups), BINS + 2)
        ends = np.tile([np.inf, -np.inf], (len(groups), 1))
        np.minimum.at(ends[:, 0], places[within], values[within])
        np.maximum.at(ends[:, 1], places[within], values[within])
        return counts, ends

    def _paired(self, values: np.ndarray, group: int) -> np.ndarray:
        """(4, n, n): over readings that hold both i and j, how many, the sums of i and of i squared, and of i times j."""
        count = values.shape[1]
        finite = np.isfinite(values)
        centre, half_range = self.centre[group, :count], self.half_range[group, :count]
        scale = np.where(half_range > 0, half_range, 1.0)
        scaled = np.where(finite, (np.where(finite, values, centre) / 2 - centre / 2) / scale, 0.0)
        finite = finite.astype(float)
        return np.stack([finite.T @ finite, scaled.T @ finite, (scaled**2).T @ finite, scaled.T @ scaled])


def bin_of(values: np.ndarray, places: np.ndarray, edges: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """(values,) the bin of each value inside: at or above its lower edge and below its upper; the last holds its upper as well.

    `places` (values,) are rows of `edges` (rows, BINS + 1) and `bins` (rows,), whose bins are of equal width.
    """
    last = bins[places] - 1
    first, stop = edges[places, 0] / 2, edges[places, bins[places]] / 2
    width = np.where(stop > first, stop - first, 1.0)
    guess = np.clip(((values / 2 - first) / width * (last + 1)).astype(int), 0, last)
    # Rounding may put a value that lies on an edge into the bin beside it.
    guess -= (values < edges[places, guess]) & (guess > 0)
    return guess + ((values >= edges[places, guess + 1]) & (guess < last))


def bin_edges(low: float, high: float, whole: bool) -> np.ndarray:
    """(bins + 1,) BINS of equal width, or, of whole numbers in a short range, one bin a number."""
    if low == high:
        return np.array([low, high])
    if whole and high - low < BINS:
        return np.arange(math.floor(low), math.ceil(high) + 2) - 0.5
    # Not low + share · (high - low), which is infinite where they are huge.
    share = np.linspace(0, 1, BINS + 1)
    return low * (1 - share) + high * share


@dataclass
class Counts:
    """What was counted in a group."""

    bins: np.ndarray
    """(columns, BINS + 2) values in each bin, then those below and above what is inside."""
    ends: np.ndarray
    """(columns, 2) the lowest and the highest value inside; infinite where there is none."""
    pairs: np.ndarray
    """(4, n, n) see `Plan._paired`."""

    @classmethod
    def empty(cls, columns: int, correlated: int) -> Counts:
        ends = np.tile([np.inf, -np.inf], (columns, 1))
        return cls(np.zeros((columns, BINS + 2)), ends, np.zeros((4, correlated, correlated)))

    def add(self, index: int, bins: np.ndarray, ends: np.ndarray) -> None:
        self.bins[index] += bins
        self.ends[index] = min(self.ends[index, 0], ends[0]), max(self.ends[index, 1], ends[1])

    def vector(self) -> np.ndarray:
        return np.r_[self.bins.ravel(), self.ends.ravel(), self.pairs.ravel()]

    @classmethod
    def of_sums(cls, summed: np.ndarray, lowest: np.ndarray, highest: np.ndarray, columns: int) -> Counts:
        """From the sum, the lowest and the highest of each place of the vectors of all partitions."""
        split, stop = columns * (BINS + 2), columns * (BINS + 4)
        ends = np.stack([lowest[split:stop:2], highest[split + 1 : stop : 2]], axis=1)
        correlated = math.isqrt((len(summed) - stop) // 4)
        return cls(summed[:split].reshape(columns, -1), ends, summed[stop:].reshape(4, correlated, correlated))
