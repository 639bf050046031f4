"""Scaling statistics: those of NumPy, whatever the partitioning; and a map that can be inverted."""

from __future__ import annotations

import numpy as np
import pytest

from prep.scaling import affine, merge, moments

ALL, NO_QUARTILES = np.ones(3, bool), np.zeros((3, 3))
rng = np.random.default_rng(3)
VALUES = rng.normal(50, 7, (1000, 3))
SEEN = rng.random((1000, 3)) < 0.8


def test_moments_are_those_of_the_measured_values() -> None:
    found = moments(VALUES, SEEN)
    for channel in range(3):
        measured = VALUES[SEEN[:, channel], channel]
        assert found.count[channel] == len(measured)
        np.testing.assert_allclose(found.mean[channel], measured.mean(), rtol=1e-13)
        np.testing.assert_allclose(found.squares[channel] / len(measured), measured.var(), rtol=1e-12)
        assert (found.low[channel], found.high[channel]) == (measured.min(), measured.max())


def test_merging_does_not_depend_on_order_to_the_last_bit() -> None:
    parts = [moments(v, s) for v, s in zip(np.split(VALUES, 10), np.split(SEEN, 10), strict=True)]
    one, other = merge(parts), merge(parts[::-1])
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.squares, other.squares)
    whole = moments(VALUES, SEEN)
    np.testing.assert_allclose(one.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(one.squares, whole.squares, rtol=1e-12)


@pytest.mark.parametrize(("method", "low", "high"), [("minmax", 0, 1), ("none", 20, 80)])
def test_methods(method: str, low: float, high: float) -> None:
    found = affine(method, moments(VALUES, np.ones_like(SEEN)), NO_QUARTILES, ALL)
    scaled = (VALUES - found.centre) / found.scale
    assert scaled.min() >= low
    assert scaled.max() <= high


def test_standard_gives_mean_0_and_deviation_1() -> None:
    found = affine("standard", moments(VALUES, np.ones_like(SEEN)), NO_QUARTILES, ALL)
    scaled = (VALUES - found.centre) / found.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-12)


def test_a_constant_or_unmeasured_channel_keeps_its_units() -> None:
    values = np.stack([np.full(10, 5.0), np.zeros(10)], axis=1)
    seen = np.stack([np.ones(10), np.zeros(10)], axis=1)
    for method in ("standard", "robust", "minmax"):
        found = affine(method, moments(values, seen), np.array([[5.0, 0.0]] * 3), np.ones(2, bool))
        assert found.scale == (1.0, 1.0)
        assert found.centre == (5.0, 0.0)


def test_the_inverse_is_exact_to_float32() -> None:
    found = affine("standard", moments(VALUES, SEEN), NO_QUARTILES, ALL)
    scaled = ((VALUES - found.centre) / found.scale).astype(np.float32)
    np.testing.assert_allclose(scaled.astype(float) * found.scale + found.centre, VALUES, rtol=1e-6)


def test_channels_that_are_no_quantities_are_left_as_they_are() -> None:
    found = affine("standard", moments(VALUES, SEEN), NO_QUARTILES, np.array([True, False, True]))
    assert (found.centre[1], found.scale[1]) == (0.0, 1.0)


def test_robust_gives_median_0_and_an_interquartile_range_of_1() -> None:
    quartiles = np.quantile(VALUES, [0.25, 0.5, 0.75], axis=0)
    found = affine("robust", moments(VALUES, np.ones_like(SEEN)), quartiles, ALL)
    low, middle, high = np.quantile((VALUES - found.centre) / found.scale, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-12)
    np.testing.assert_allclose(high - low, 1, rtol=1e-12)
