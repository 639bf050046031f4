"""Exact quartiles of more values than fit anywhere, from counts that add up: in whatever order, the same to the last bit.

A radix selection: float32 values keep their order as unsigned integers when the bits of negative ones are turned over. One pass
counts them by their upper 16 bits; a second counts, by the lower 16, those that share their upper bits with a quartile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

QUARTILES = (0.25, 0.5, 0.75)
# (group, channel) → how many values have a half of their bits so
Cells = dict[tuple[str, int], Counter[int]]
Wanted = dict[tuple[str, int], set[int]]
# (group, channel) → the quartiles (3,)
Quartiles = dict[tuple[str, int], np.ndarray]


def quartiles(count: Callable[[Wanted | None], Cells]) -> Quartiles:
    """The quartiles (3,) of each (group, channel) that has a value, interpolated linearly between order statistics.

    `count(wanted)` is one pass over all values: the sum of what `tally` makes of its parts.
    """
    upper = count(None)
    ranks = {key: _ranks(cells.total()) for key, cells in upper.items()}
    places = {key: [_find(cells, rank) for rank in ranks[key]] for key, cells in upper.items()}
    lower = count({key: {cell for cell, _ in positions} for key, positions in places.items()})
    return {key: _interpolated(places[key], lower, key, upper[key].total()) for key in upper}


def tally(parts: Iterable[tuple[str, np.ndarray]], wanted: Wanted | None) -> Cells:
    """Counts of the upper bits of values (n, channels), NaN not counted, by group; of the lower bits where the upper are
    `wanted`.

    Then a cell is upper · 2^16 + lower.
    """
    cells: Cells = {}
    for group, values in parts:
        for channel in range(values.shape[1]):
            keys = ordered(values[~np.isnan(values[:, channel]), channel])
            keys = keys >> 16 if wanted is None else keys[np.isin(keys >> 16, list(wanted.get((group, channel), ())))]
            distinct, counts = np.unique(keys, return_counts=True)
            if len(distinct):
                cells.setdefault((group, channel), Counter()).update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))
    return cells


def added(tallies: Iterable[Cells]) -> Cells:
    """The sum of tallies."""
    total: Cells = {}
    for tallied in tallies:
        for key, cells in tallied.items():
            total.setdefault(key, Counter()).update(cells)
    return total


def ordered(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the values rounded to float32."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # −0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def values_of(keys: np.ndarray) -> np.ndarray:
    """The float32 values of `ordered` keys."""
    keys = np.asarray(keys, np.uint32)
    return np.where(keys >> 31, keys & np.uint32((1 << 31) - 1), ~keys).astype(np.uint32).view(np.float32)


def _ranks(total: int) -> list[int]:
    """The order statistics on both sides of each quartile."""
    return [rank for p in QUARTILES for rank in (int(p * (total - 1)), min(int(p * (total - 1)) + 1, total - 1))]


def _find(cells: Counter[int], rank: int) -> tuple[int, int]:
    """(cell, rank within it) of an order statistic."""
    for cell in sorted(cells):
        if rank < cells[cell]:
            return cell, rank
        rank -= cells[cell]
    raise AssertionError("a rank is below the number of values")


def _interpolated(places: list[tuple[int, int]], lower: Cells, key: tuple[str, int], total: int) -> np.ndarray:
    statistics = []
    for upper, rank in places:
        inside = Counter({cell: count for cell, count in lower[key].items() if cell >> 16 == upper})
        statistics.append(float(values_of(np.array([_find(inside, rank)[0]]))[0]))
    below, above = np.array(statistics[::2]), np.array(statistics[1::2])
    share = np.array([p * (total - 1) % 1 for p in QUARTILES])
    return below + (above - below) * share
