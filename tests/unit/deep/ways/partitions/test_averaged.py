"""Weights of several partitions as one."""

from __future__ import annotations

import numpy as np

from hindcast.deep.ways.partitions.averaged import averaged


def test_a_mean_is_weighted_by_windows_and_counters_are_not_averaged() -> None:
    parts = [
        (3, [np.array([1.0, 2.0], np.float32), np.array(7), np.float32(0.5)]),
        (1, [np.array([5.0, -2.0], np.float32), np.array(8), np.float32(0.1)]),
    ]
    weights, counter, rate = averaged(parts)
    np.testing.assert_array_equal(weights, np.array([(3 * 1 + 5) / 4, (3 * 2 - 2) / 4], np.float32))
    assert (weights.dtype, int(counter)) == (np.float32, 7)
    np.testing.assert_allclose(rate, 0.4, rtol=1e-7)


def test_one_partition_stays_as_it_is_bit_for_bit() -> None:
    array = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    (same,) = averaged([(12_345, [array])])
    np.testing.assert_array_equal(same, array)
