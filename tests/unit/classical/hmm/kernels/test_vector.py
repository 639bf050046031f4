"""Values of LANES numbers: what the compiled kernels do their arithmetic with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.vector import (
    BLOCK,
    LANES,
    add_rows,
    any_below,
    exp_of_negative,
    larger,
    load,
    splat,
    store,
    take_rows,
    total,
    where_larger,
)


@njit
def _exp(x: Any, out: Any) -> None:
    for row in range(len(x)):
        store(out, (row,), exp_of_negative(load(x, (row,))))


@njit
def _arithmetic(a: Any, b: Any, out: Any) -> Any:
    x, y = load(a, (1, 0)), load(b, (0,))
    store(out, (0,), x + y * 2.0)
    store(out, (1,), 1.0 / y - x)
    store(out, (2,), larger(x, splat(0.5)))
    return any_below(y, 0.25)


@njit
def _rows(table: Any, first: Any, lanes: Any, sums: Any) -> None:
    for state in range(0, lanes.shape[1], BLOCK):
        take_rows(lanes, (1, state), table.ravel(), first, state)
        add_rows(lanes, (1, state), sums.ravel(), first, state)


@njit
def _chosen(a: Any, out: Any) -> Any:
    store(out, (0,), where_larger(load(a, (0,)), load(a, (1,)), splat(1.0), splat(2.0)))
    return total(load(a, (0,)))


def test_exp_is_right_to_the_last_digits_from_zero_down_to_underflow() -> None:
    x = -np.concatenate([np.linspace(0, 708, 16_000 - 3), [1e-300, 0.0, 1e-17]]).reshape(-1, LANES)
    found = np.empty_like(x)
    _exp(x, found)
    np.testing.assert_allclose(found, np.exp(x), rtol=5e-16)


def test_exp_of_what_lies_below_is_tiny_and_never_nan() -> None:
    x = np.full((1, LANES), -1e9)
    x[0, :3] = -np.inf, np.nan, -709
    found = np.empty_like(x)
    _exp(x, found)
    assert ((found > 0) & (found < 1e-300)).all()


def test_lanes_are_loaded_from_where_they_are_and_computed_with_one_by_one() -> None:
    rng = np.random.default_rng(0)
    a, b, out = rng.random((2, 3, LANES)), rng.uniform(0.3, 1, (1, LANES)), np.empty((3, LANES))
    assert not _arithmetic(a, b, out)
    expected = [a[1, 0] + 2 * b[0], 1 / b[0] - a[1, 0], np.maximum(a[1, 0], 0.5)]
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    b[0, 7] = 0.2
    assert _arithmetic(a, b, out)


def test_rows_are_turned_into_lanes_and_added_to_from_them() -> None:
    rng = np.random.default_rng(1)
    table, lanes, which = rng.random((3 * LANES, 2 * BLOCK)), np.zeros((2, 2 * BLOCK, LANES)), rng.permutation(3 * LANES)[:LANES]
    sums = np.ones_like(table)
    _rows(table, (which * 2 * BLOCK).astype(np.uint32), lanes, sums)
    np.testing.assert_array_equal(lanes[1], table[which].T)
    assert not lanes[0].any()
    expected = np.ones_like(table)
    expected[which] += table[which]
    np.testing.assert_array_equal(sums, expected)


def test_lanes_are_chosen_one_by_one_and_summed() -> None:
    a, out = np.random.default_rng(2).normal(size=(2, LANES)), np.empty((1, LANES))
    np.testing.assert_allclose(_chosen(a, out), a[0].sum(), rtol=1e-14)
    np.testing.assert_array_equal(out[0], np.where(a[0] > a[1], 1.0, 2.0))
