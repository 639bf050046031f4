"""Filling and cutting: holes are closed by a stated rule, and no split sees what comes after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from prep.segments import Cut, Stretch, fill, runs, segments

NAN = np.nan
BORDERS = {"train": (0, 20), "validation": (20, 30), "test": (30, 40)}


def cut(fill: str = "previous", most_apart: int = 3) -> Cut:
    return Cut(borders=BORDERS, fill=fill, most_apart=most_apart, look_back=5)


def test_previous_fills_short_holes_only() -> None:
    values = np.array([[1.0], [NAN], [NAN], [4.0], [NAN], [NAN], [NAN], [8.0]])
    filled, usable = fill(values, cut("previous"))
    assert filled[:4, 0].tolist() == [1, 1, 1, 4]
    assert usable.tolist() == [True] * 4 + [False] * 3 + [True]


def test_linear_interpolates_each_channel_on_its_own() -> None:
    values = np.array([[0.0, 5.0], [NAN, 6.0], [NAN, NAN], [3.0, 8.0]])
    filled, usable = fill(values, cut("linear"))
    np.testing.assert_allclose(filled, [[0, 5], [1, 6], [2, 7], [3, 8]])
    assert usable.all()


def test_none_leaves_holes_and_nothing_is_extrapolated() -> None:
    values = np.array([[NAN], [1.0], [NAN], [2.0], [NAN]])
    assert fill(values, cut("none"))[1].tolist() == [False, True, False, True, False]
    assert fill(values, cut("linear"))[1].tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(("mask", "expected"), [([], []), ([0], []), ([1, 1, 0, 1], [(0, 2), (3, 4)])])
def test_runs(mask: list[int], expected: list[tuple[int, int]]) -> None:
    assert runs(np.array(mask, bool)) == expected


def test_validation_and_test_look_back_for_context_and_training_does_not() -> None:
    whole = Stretch("s", 0, 0, np.arange(45.0)[:, None], 45, 0)
    found = {s.split: (s.first, s.look_back, len(s.values)) for s in segments(whole, cut())}
    assert found == {"train": (0, 0, 20), "validation": (15, 5, 15), "test": (25, 5, 15)}


holey = st_numpy.arrays(float, st.tuples(st.integers(1, 45), st.just(2)), elements=st.sampled_from([1.0, 2.0, 3.0, NAN]))


@given(holey, st.integers(0, 15), st.sampled_from(["none", "previous", "linear"]), st.data())
def test_a_split_does_not_change_with_what_comes_after_it(values: np.ndarray, first: int, how: str, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from(sorted(BORDERS)))
    later = values.copy()
    after = max(0, BORDERS[split][1] - first)
    later[after:] = data.draw(st.sampled_from([NAN, 99.0]))
    before, now = ([s for s in segments(Stretch("s", 0, first, v, 0, 0), cut(how)) if s.split == split] for v in (values, later))
    assert [s.first for s in before] == [s.first for s in now]
    for one, other in zip(before, now, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.observed, other.observed)


@given(holey, st.integers(0, 15), st.sampled_from(["none", "previous", "linear"]))
def test_segments_have_no_hole_and_no_step_is_in_two(values: np.ndarray, first: int, how: str) -> None:
    owned: list[int] = []
    for segment in segments(Stretch("s", 0, first, values, 0, 0), cut(how)):
        start, stop = BORDERS[segment.split]
        assert not np.isnan(segment.values).any()
        assert segment.first + len(segment.values) <= stop
        assert segment.first >= (start if segment.split == "train" else start - 5)
        own = range(segment.first + segment.look_back, segment.first + len(segment.values))
        assert own
        assert start <= own[0]
        owned += own
        original = values[segment.first - first : segment.first - first + len(segment.values)]
        np.testing.assert_array_equal(segment.values[segment.observed], original[segment.observed])
        np.testing.assert_array_equal(segment.observed, ~np.isnan(original))
    assert len(set(owned)) == len(owned)
    for split, (start, stop) in BORDERS.items():
        _, usable = fill(values[: max(0, stop - first)], cut(how))
        expected = {first + int(step) for step in np.flatnonzero(usable) if start <= first + step}
        assert {step for step in owned if start <= step < stop} == expected, split
