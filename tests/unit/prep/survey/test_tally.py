"""Histograms are NumPy's, and what partitions count by themselves adds up to what one would count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from hindcast.prep.survey.tally import BINS, Counts, Plan, bin_edges, bin_of

ENDS = [(0.0, 1.0), (0.1, 0.7), (-1e308, 1e308), (1e6, 1e6 + 1e-6), (-3.0, 1e9), (7.0, 7.0)]


@pytest.mark.parametrize(("low", "high"), ENDS)
def test_a_value_on_an_edge_is_in_the_bin_that_numpy_says(low: float, high: float) -> None:
    edges = bin_edges(low, high, whole=False)
    rng = np.random.default_rng(1)
    near = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), rng.choice(edges, 50)])
    values = near[(near >= low) & (near <= high)]
    padded, bins = np.zeros((1, BINS + 1)), np.array([len(edges) - 1])
    padded[0, : len(edges)] = edges
    found = bin_of(values, np.zeros(len(values), int), padded, bins)
    np.testing.assert_array_equal(np.bincount(found, minlength=bins[0]), np.histogram(values, edges)[0])


def test_whole_numbers_in_a_short_range_have_a_bin_each() -> None:
    np.testing.assert_array_equal(bin_edges(2, 5, whole=True), [1.5, 2.5, 3.5, 4.5, 5.5])
    assert len(bin_edges(0, BINS - 1, whole=True)) == BINS + 1
    assert bin_edges(0, BINS, whole=True)[-1] == BINS


def plan() -> Plan:
    """All together and two series, of two columns; all and the first series are correlated."""
    edges = np.stack([np.stack([bin_edges(-3 - group, 3 + group, False) for _ in range(2)]) for group in range(3)])
    return Plan(
        columns=("a", "b"),
        edges=edges,
        bins=np.full((3, 2), BINS),
        inside=np.stack([edges[:, :, 0], edges[:, :, -1]], axis=2),
        centre=np.full((3, 2), 0.5),
        half_range=np.full((3, 2), 4.0),
        correlated=(2, 2, 0),
    )


def counted(batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[int, np.ndarray]:
    """Group -> its vector, of batches of (rows,) groups and (rows, 2) values."""
    given = [
        pa.RecordBatch.from_arrays([pa.array(group.astype(np.int32)), *map(pa.array, values.T)], ["grp", "a", "b"])
        for group, values in batches
    ]
    found = {}
    for batch in plan().of_batches(iter(given)):
        group, place, value = (column.to_numpy() for column in batch.columns)
        assert (np.diff(place) == 1).all()
        found[int(group[0])] = value
    return found


def test_a_series_is_counted_by_itself_and_with_all_others() -> None:
    rng = np.random.default_rng(2)
    group, values = rng.integers(0, 3, 900), rng.normal(0, 2, (900, 2))
    values[rng.random(values.shape) < 0.1] = np.nan
    found = counted([(group, values)])
    for number in range(3):
        mine = values if number == 0 else values[group == number]
        vector = found[number]
        counts = Counts.of_sums(vector, vector, vector, 2)
        edges = plan().edges[number, 0]
        for index in range(2):
            held = mine[np.isfinite(mine[:, index]), index]
            within = held[(held >= edges[0]) & (held <= edges[-1])]
            np.testing.assert_array_equal(counts.bins[index, :BINS], np.histogram(within, edges)[0])
            assert counts.bins[index, BINS:].tolist() == [(held < edges[0]).sum(), (held > edges[-1]).sum()]
            assert counts.ends[index].tolist() == [within.min(), within.max()]
        both = np.isfinite(mine).all(axis=1).sum()
        assert counts.pairs.shape == ((4, 2, 2) if number < 2 else (4, 0, 0))
        assert number == 2 or counts.pairs[0, 0, 1] == both


@pytest.mark.parametrize("parts", [2, 7])
def test_partitions_and_batches_add_up_to_one(parts: int) -> None:
    rng = np.random.default_rng(3)
    group, values = rng.integers(0, 3, 500), rng.normal(0, 2, (500, 2))
    group[:250] = np.minimum(group[:250], 1)  # the second series is in the later batches alone
    whole = counted([(group, values)])
    pieces = list(zip(np.array_split(group, parts), np.array_split(values, parts), strict=True))
    in_batches = counted(pieces)
    in_parts = [counted([piece]) for piece in pieces]
    for number, vector in whole.items():
        np.testing.assert_allclose(in_batches[number], vector, atol=1e-9)
        have = [part[number] for part in in_parts if number in part]
        added = Counts.of_sums(np.sum(have, axis=0), np.min(have, axis=0), np.max(have, axis=0), 2)
        np.testing.assert_allclose(added.vector(), vector, atol=1e-9)
    assert 2 not in in_parts[0]
