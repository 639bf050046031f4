"""Filling and cutting: holes are closed by a stated rule, no split sees what comes after it, and chunks come to the same as the
whole.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from hindcast.prep.dataset.layout import Layout
from hindcast.prep.grid.filling import fill
from hindcast.prep.grid.gaps import runs
from hindcast.prep.grid.splits import SeriesSplit
from hindcast.prep.sequences.segments import Chunk, Cut, Segment, parts, segments

NAN = np.nan
BORDERS = {"train": (0, 20), "validation": (20, 30), "test": (32, 45)}
FAR = 10**6


def cut(
    how: str = "previous", most_apart: int = 3, stride: int = 1, min_observed: float = 0.0, series: SeriesSplit | None = None
) -> Cut:
    layout = Layout(context=4, horizon=1, lead=1, stride=stride, windows_per_row=3)
    return Cut(BORDERS, series, (how, how), most_apart, layout, min_observed)


def chunk_of(values: np.ndarray, first: int = 0, begin: int = -FAR, end: int = FAR) -> Chunk:
    steps = len(values)
    return Chunk("s", first, begin, end, values, np.empty((steps, 0)), np.empty((steps, 0)))


def segments_of(chunk: Chunk, how: Cut, seam: int = -FAR) -> list[Segment]:
    return [segment for part in parts(chunk, how) for segment in segments(chunk, part, how, seam)]


def test_previous_fills_short_holes_only() -> None:
    values = np.array([[1.0], [NAN], [NAN], [4.0], [NAN], [NAN], [NAN], [8.0]])
    filled, usable = fill(values, ("previous",), 3)
    assert filled[:4, 0].tolist() == [1, 1, 1, 4]
    assert usable.tolist() == [True] * 4 + [False] * 3 + [True]


def test_each_channel_is_filled_by_its_own_rule() -> None:
    values = np.array([[0.0, 5.0], [NAN, 6.0], [NAN, NAN], [3.0, 8.0]])
    filled, usable = fill(values, ("linear", "previous"), 3)
    np.testing.assert_allclose(filled, [[0, 5], [1, 6], [2, 6], [3, 8]])
    assert usable.all()


def test_none_leaves_holes_and_nothing_is_extrapolated() -> None:
    values = np.array([[NAN], [1.0], [NAN], [2.0], [NAN]])
    assert fill(values, ("none",), 3)[1].tolist() == [False, True, False, True, False]
    assert fill(values, ("linear",), 3)[1].tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(("mask", "expected"), [([], []), ([0], []), ([1, 1, 0, 1], [(0, 2), (3, 4)])])
def test_runs(mask: list[int], expected: list[tuple[int, int]]) -> None:
    assert runs(np.array(mask, bool)) == expected


def test_validation_and_test_look_back_for_context_and_training_does_not() -> None:
    values = np.arange(50.0)[:, None].repeat(2, axis=1)
    found = {s.split: (s.first, s.first + s.own[0], s.first + s.own[1]) for s in segments_of(chunk_of(values), cut())}
    assert found == {"train": (0, 0, 20), "validation": (15, 20, 30), "test": (27, 32, 45)}


def test_windows_are_left_out_where_too_little_was_measured() -> None:
    values = np.ones((20, 2))
    values[9:11] = NAN
    (segment,) = segments_of(chunk_of(values), cut(min_observed=0.9))
    assert segment.starts.tolist() == [0, 1, 2, 3, 11, 12, 13, 14]
    assert segment.own == (0, 20)


def test_whole_series_go_to_their_split_and_others_nowhere() -> None:
    values = np.ones((19, 2))
    named = SeriesSplit(seed=0, named={"s": "validation"})
    borders = dict.fromkeys(BORDERS, (0, 19))
    how = Cut(borders, named, ("none", "none"), 1, cut().layout)
    (segment,) = segments_of(chunk_of(values), how)
    assert (segment.split, segment.own, segment.starts[0]) == ("validation", (0, 19), 0)
    assert not segments_of(chunk_of(values), Cut(borders, SeriesSplit(seed=0), ("none", "none"), 1, cut().layout))


holey = st_numpy.arrays(float, st.tuples(st.integers(1, 50), st.just(2)), elements=st.sampled_from([1.0, 2.0, 3.0, NAN]))
ways = st.sampled_from(["none", "previous", "linear"])


@given(holey, st.integers(0, 15), ways, st.data())
def test_a_split_does_not_change_with_what_comes_after_it(values: np.ndarray, first: int, how: str, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from(sorted(BORDERS)))
    later = values.copy()
    later[max(0, BORDERS[split][1] - first) :] = data.draw(st.sampled_from([NAN, 99.0]))
    before, now = ([s for s in segments_of(chunk_of(v, first), cut(how)) if s.split == split] for v in (values, later))
    assert [(s.first, s.own, s.starts.tolist()) for s in before] == [(s.first, s.own, s.starts.tolist()) for s in now]
    for one, other in zip(before, now, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.observed, other.observed)


@given(holey, st.integers(0, 15), ways)
def test_segments_have_no_hole_and_own_every_usable_step_once(values: np.ndarray, first: int, how: str) -> None:
    owned: Counter[int] = Counter()
    for segment in segments_of(chunk_of(values, first), cut(how)):
        start, stop = BORDERS[segment.split]
        assert not np.isnan(segment.values).any()
        assert segment.first + len(segment.values) <= stop
        assert segment.first >= (start if segment.split == "train" else start - 5)
        owned.update(range(segment.first + segment.own[0], segment.first + segment.own[1]))
        original = values[segment.first - first : segment.first - first + len(segment.values)]
        np.testing.assert_array_equal(segment.values[segment.observed], original[segment.observed])
        np.testing.assert_array_equal(segment.observed, ~np.isnan(original))
    expected = {
        first + int(step)
        for start, stop in BORDERS.values()
        for step in np.flatnonzero(fill(values[: max(0, stop - first)], (how, how), 3)[1])
        if start <= first + step
    }
    assert owned == Counter(expected)


def stored(chunks: list[Chunk], how: Cut, seam: int = -FAR) -> tuple[Counter[tuple[object, ...]], Counter[tuple[str, int]]]:
    """Every window, with its split, start and values, and every owned step."""
    windows: Counter[tuple[object, ...]] = Counter()
    owned: Counter[tuple[str, int]] = Counter()
    for chunk in chunks:
        for segment in segments_of(chunk, how, seam):
            for start in segment.starts.tolist():
                inside = slice(start, start + how.layout.window)
                assert start + how.layout.window <= segment.own[1]
                windows[segment.split, segment.first + start, segment.values[inside].tobytes()] += 1
            owned.update((segment.split, segment.first + step) for step in range(*segment.own))
    return windows, owned


@settings(max_examples=300)
@given(holey, st.integers(0, 15), ways, st.integers(1, 9), st.sampled_from([0.0, 0.6]), st.integers(5, 60))
def test_chunks_hold_the_windows_and_steps_of_the_whole(
    values: np.ndarray, first: int, how: str, stride: int, share: float, size: int
) -> None:
    way = cut(how, stride=stride, min_observed=share)
    pieces = []
    for begin in range(0, 70, size):
        low, high = (np.clip(edge - first, 0, len(values)) for edge in (begin - way.halo, begin + size + way.halo))
        if low < high:
            pieces.append(chunk_of(values[low:high], first + low, begin, begin + size))
    assert stored(pieces, way) == stored([chunk_of(values, first)], way)


@settings(max_examples=300)
@given(holey, ways, st.integers(1, 9), st.integers(1, 49))
def test_what_comes_later_adds_windows_and_steps_and_repeats_none(values: np.ndarray, how: str, stride: int, known: int) -> None:
    borders = {"train": (0, 10), "test": (10, 60)}
    way = Cut(borders, None, (how, how), 3, cut(stride=stride).layout)
    early = chunk_of(values[:known])
    usable = [int(step) for part in parts(early, way) for step in np.flatnonzero(part.usable) if step >= part.start]
    seam = max(usable, default=-1) + 1
    since = max(0, seam - way.halo)
    before, later, whole = (
        stored([early], way),
        stored([chunk_of(values[since:], since)], way, seam),
        stored([chunk_of(values)], way),
    )
    assert (before[0] + later[0], before[1] + later[1]) == whole
