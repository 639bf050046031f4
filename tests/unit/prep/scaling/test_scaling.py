"""Scaling statistics: those of NumPy, whatever the partitioning; and a map that can be inverted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError
from pyspark.serializers import CloudPickleSerializer as SparkPickles

from hindcast.prep.scaling.affine import Affine, AffineOfEach, Moments, Scaling, affine, merge, moments

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
    centre, scale = affine(method, moments(VALUES, np.ones_like(SEEN)), NO_QUARTILES, ALL)
    scaled = (VALUES - centre) / scale
    assert scaled.min() >= low
    assert scaled.max() <= high


def test_standard_gives_mean_0_and_deviation_1() -> None:
    centre, scale = affine("standard", moments(VALUES, np.ones_like(SEEN)), NO_QUARTILES, ALL)
    scaled = (VALUES - centre) / scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-12)


def test_a_constant_or_unmeasured_channel_keeps_its_units() -> None:
    values = np.stack([np.full(10, 5.0), np.zeros(10)], axis=1)
    seen = np.stack([np.ones(10), np.zeros(10)], axis=1)
    for method in ("standard", "robust", "minmax"):
        centre, scale = affine(method, moments(values, seen), np.array([[5.0, 0.0]] * 3), np.ones(2, bool))
        assert scale.tolist() == [1.0, 1.0]
        assert centre.tolist() == [5.0, 0.0]


def test_the_inverse_is_exact_to_float32() -> None:
    centre, scale = affine("standard", moments(VALUES, SEEN), NO_QUARTILES, ALL)
    scaled = ((VALUES - centre) / scale).astype(np.float32)
    np.testing.assert_allclose(scaled.astype(float) * scale + centre, VALUES, rtol=1e-6)


def test_channels_that_are_no_quantities_are_left_as_they_are() -> None:
    centre, scale = affine("standard", moments(VALUES, SEEN), NO_QUARTILES, np.array([True, False, True]))
    assert (centre[1], scale[1]) == (0.0, 1.0)


def test_robust_gives_median_0_and_an_interquartile_range_of_1() -> None:
    quartiles = np.quantile(VALUES, [0.25, 0.5, 0.75], axis=0)
    centre, scale = affine("robust", moments(VALUES, np.ones_like(SEEN)), quartiles, ALL)
    low, middle, high = np.quantile((VALUES - centre) / scale, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-12)
    np.testing.assert_allclose(high - low, 1, rtol=1e-12)


@pytest.mark.parametrize("method", ["standard", "robust", "minmax", "none"])
def test_groups_side_by_side_are_each_mapped_as_alone(method: str) -> None:
    groups = [moments(VALUES[:500], SEEN[:500]), moments(VALUES[500:], SEEN[500:]), moments(np.full((9, 3), 2.0), SEEN[:9])]
    quartiles = rng.random((3, 3, 3)).cumsum(axis=0)
    together = affine(method, Moments.stacked(groups), quartiles, np.array([True, False, True]))
    for place, group in enumerate(groups):
        alone = affine(method, group, quartiles[:, place], np.array([True, False, True]))
        np.testing.assert_array_equal([found[place] for found in together], alone)


def of_two(centre: np.ndarray, scale: np.ndarray) -> Scaling:
    overall = Affine(centre=(7.0, 8.0, 9.0), scale=(1.0, 2.0, 3.0))
    return Scaling(method="standard", overall=overall, by_series=AffineOfEach.of(["b", "a"], centre, scale))


def test_each_series_has_its_own_map_and_strangers_the_overall_one() -> None:
    centre, scale = rng.normal(size=(2, 2, 3))
    found = of_two(centre, scale).of(np.array(["a", "c", "b", "a"]))
    np.testing.assert_array_equal(found[0], [centre[1], [7, 8, 9], centre[0], centre[1]])
    np.testing.assert_array_equal(found[1], [scale[1], [1, 2, 3], scale[0], scale[1]])


def test_maps_come_back_from_json_and_from_spark_to_the_last_bit() -> None:
    scaling = of_two(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)) * 1e-300)
    scaling.of(["a"])  # what is worked out on the way is not part of it
    for again in (
        Scaling.model_validate_json(scaling.model_dump_json()),
        Scaling.model_validate(json.loads(json.dumps(scaling.model_dump(mode="json")))),
        SparkPickles().loads(SparkPickles().dumps(scaling)),
    ):
        assert again == scaling
        np.testing.assert_array_equal(again.of(["b", "x"]), scaling.of(["b", "x"]))
    assert of_two(np.ones((2, 3)), np.ones((2, 3))) != scaling


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centre": "AAAA"}, "by_series.centre has 3 bytes, and 2 x 3 float64 were expected"),
        ({"names": ["a"]}, "by_series.centre has 48 bytes, and 1 x 3 float64 were expected"),
        ({"scale": "?"}, "base64"),
        ({"a": {"centre": [0.0], "scale": [1.0]}}, "maps by the names of series are of an earlier version; arrays were expected"),
    ],
)
def test_maps_that_are_damaged_or_of_another_version_are_refused(change: dict[str, object], message: str) -> None:
    told = of_two(np.zeros((2, 3)), np.ones((2, 3))).model_dump(mode="json")
    with pytest.raises(ValidationError, match=message):
        Scaling.model_validate({**told, "by_series": {**told["by_series"], **change}})
