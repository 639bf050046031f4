"""The contexts that series end with: those that preparation makes of the same readings, and a reason where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.grid.filling import fill
from hindcast.prep.grid.gaps import runs
from hindcast.prep.latest import arrivals as arrivals_
from hindcast.prep.latest import contexts as contexts_
from hindcast.prep.latest.contexts import ContextRequest, Contexts, contexts_of
from hindcast.prep.readings.companions import calendar
from hindcast.prep.scaling.affine import Affine, AffineOfEach, Scaling
from hindcast.prep.sequences.chunks import Plan, assembled
from hindcast.prep.sequences.chunks import Rows as ChunkRows
from hindcast.prep.spec import CalendarSpec, GridSpec, ReadingsSpec

MINUTE, HOUR = 60_000_000, 3_600_000_000
ORIGIN = 1_740_787_200_000_000
CONTEXT = 6
PLAIN = Scaling(method="none", overall=Affine(centre=(0.0, 0.0), scale=(1.0, 1.0)))


def preparation_of(grid: dict[str, Any], **fields: Any) -> Preparation:
    channels = (Column(name="heat"), Column(name="visits", kind="count"))
    base: dict[str, Any] = {
        "readings": ReadingsSpec(values=("heat", "visits"), counts=("visits",)),
        "series": "readings",
        "channels": channels,
        "joined": (),
        "attributes": (),
        "calendar": CalendarSpec(),
        "grid": GridSpec.model_validate({"max_gap": "3h"} | grid),
        "origin_micros": ORIGIN,
        "step_micros": HOUR,
        "unseen": "global",
    }
    return Preparation.model_validate(base | fields)


def batch_of(rows: list[tuple[Any, ...]], attributes: int = 0) -> pa.RecordBatch:
    """Rows of series, time (minutes after the origin), reason, heat, visits, attributes, and position."""
    names = ["series", "time", "reason", "c0", "c1", *(f"a{n}" for n in range(attributes)), "position"]
    kinds = [pa.string(), pa.int64(), pa.string(), pa.float64(), pa.float64(), *[pa.string()] * attributes, pa.int64()]
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[1] = [None if time is None else ORIGIN + time * MINUTE for time in columns[1]]
    return pa.RecordBatch.from_arrays([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names=names)


def contexts(wanted: ContextRequest, *batches: pa.RecordBatch) -> Contexts:
    arrivals = wanted.arrivals()
    for batch in batches:
        arrivals.add(batch)
    (found,) = contexts_of(arrivals, wanted)
    return found


def hourly(series: str, hours: Any, heat: Any = 1.0, visits: Any = 2.0) -> list[tuple[Any, ...]]:
    return [(series, 60 * hour, None, heat, visits, 0) for hour in hours]


def random_rows(rng: np.random.Generator, series: str) -> list[tuple[Any, ...]]:
    """Half an hour apart on average, values missing, several at a time and at the same time, with longer gaps between."""
    minutes = np.cumsum(
        rng.choice([0, 10, 30, 60, 60, 90, 150, 400], rng.integers(1, 60), p=[0.1, 0.2, 0.2, 0.3, 0.1, 0.04, 0.04, 0.02])
    )
    return [
        (
            series,
            int(minute),
            None,
            None if rng.random() < 0.1 else float(rng.normal()),
            None if rng.random() < 0.1 else float(rng.integers(9)),
            position,
        )
        for position, minute in enumerate(minutes)
    ]


def as_prepared(rows: list[tuple[Any, ...]], preparation: Preparation) -> tuple[int, np.ndarray, np.ndarray] | None:
    """By the code that makes datasets: the last run of usable steps, (its end, the last CONTEXT steps of it filled, observed)."""
    grid, rules, apart = preparation.lines, preparation.rules, preparation.most_apart
    time = np.array([ORIGIN + row[1] * MINUTE for row in rows])
    step = (time - ORIGIN) // HOUR if rules.aggregate else np.array([grid.nearest(int(one)) for one in time])
    stretch = np.cumsum(np.diff(step, prepend=step[:1]) > apart)
    zeros = np.zeros(len(rows), np.int64)
    numbers = np.array([row[3:5] for row in rows], float)
    plan = Plan(grid, rules, 1 << 20, 2, 0, (), (), 0, apart, preparation.ordered)
    *_, last = assembled("x", 0, ChunkRows(zeros, stretch, time, step, zeros, numbers), plan)
    filled, usable = fill(last.chunk.values, preparation.fills, apart)
    found = runs(usable)
    if not found or found[-1][1] - found[-1][0] < CONTEXT or len(usable) + 1 - found[-1][1] > apart:
        return None
    end = found[-1][1]
    return last.chunk.first + end, filled[end - CONTEXT : end], ~np.isnan(last.chunk.values[end - CONTEXT : end])


GRIDS: dict[str, dict[str, Any]] = {
    "first": {"duplicates": "first"},
    "last": {"duplicates": "last", "fill": "linear"},
    "mean": {"duplicates": "mean", "fill": "linear"},
    "no filling": {"duplicates": "mean", "fill": "none"},
    "aggregated": {"duplicates": "mean", "aggregate": "mean"},
    "each its own": {"duplicates": "last", "aggregate": {"heat": "max", "visits": "sum"}, "fill": "linear"},
    "counted": {"duplicates": "first", "aggregate": {"heat": "last", "visits": "count"}},
}


@pytest.mark.parametrize("rules", sorted(GRIDS))
def test_contexts_are_those_that_preparation_makes(rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_, "ROWS_AT_ONCE", 50)
    monkeypatch.setattr(contexts_, "BLOCK_BYTES", 5_000)
    rng = np.random.default_rng(3)
    preparation = preparation_of(GRIDS[rules])
    every = {f"s{number}": random_rows(rng, f"s{number}") for number in range(80)}
    wanted = ContextRequest(preparation, PLAIN, CONTEXT, 2)
    arrivals = wanted.arrivals()
    mixed = [row for rows in every.values() for row in rows]
    order = rng.permutation(len(mixed))
    for first in range(0, len(mixed), 40):
        arrivals.add(batch_of([mixed[place] for place in order[first : first + 40]]))
    blocks = [*contexts_of(arrivals, wanted)]
    assert len(blocks) > 1
    right = {name: as_prepared(rows, preparation) for name, rows in every.items()}
    assert {name for block in blocks for name, *_ in block.failures} == {name for name, one in right.items() if one is None}
    assert 10 < sum(one is not None for one in right.values()) < 80 or rules == "no filling"
    for block in blocks:
        for row, name in enumerate(block.given.series):
            one = right[str(name)]
            assert one is not None
            end, filled, observed = one
            np.testing.assert_array_equal(block.given.context[row], filled.astype(np.float32))
            np.testing.assert_array_equal(block.given.observed[row], observed)
            assert block.given.start[row].astype(np.int64) == ORIGIN + (end - CONTEXT) * HOUR


def test_a_series_without_a_context_says_why() -> None:
    late = [8, 9, 10, 11, 12]
    rows = [
        *hourly("whole", range(12)),
        *hourly("short", range(5)),
        *hourly("gap", [*range(7), *late]),
        *hourly("hole", range(6)),
        *hourly("hole", range(6, 10), visits=None),
        *hourly("hole", [10, 11]),
        *hourly("ended", range(6)),
        *hourly("ended", range(6, 11), visits=None),
        *hourly("never", range(12), heat=None),
        *hourly("old gap", range(7)),
        *hourly("old gap", range(200, 205)),
        *hourly("twice", range(8)),
        ("twice", 7 * 60 + 1, None, 5.0, 5.0, 0),
        *hourly("broken", range(8)),
        ("broken", 4 * 60, "heat", None, 2.0, 0),
        *hourly("long mended", range(40)),
        ("long mended", 4 * 60, "heat", None, 2.0, 0),
        *hourly("timeless", range(8)),
        ("timeless", None, "time", 1.0, 1.0, 0),
        ("no word of sense", 60, "visits", 1.0, None, 0),
    ]
    wanted = ContextRequest(preparation_of({"duplicates": "error", "max_gap": "1h"}), PLAIN, CONTEXT, 2)
    found = contexts(wanted, batch_of(rows))
    assert set(found.given.series) == {"whole", "long mended"}
    reasons = {name: reason for name, _, reason in found.failures}
    assert reasons == {
        "short": "fewer than 6 steps of readings, the context",
        "gap": "a gap longer than 1h in the last 6 steps",
        "hole": "a gap in visits longer than 1h in the last 6 steps",
        "ended": "no reading of visits at the end, for 1h or longer",
        "never": "no reading of heat at the end, for 1h or longer",
        "old gap": "a gap longer than 1h in the last 6 steps",
        "twice": "two readings of one time",
        "broken": "a reading whose heat is not understood",
        "timeless": "a reading whose time is not understood",
        "no word of sense": "a reading whose visits is not understood",
    }
    last = {name: time for name, time, _ in found.failures}
    assert last["short"] == np.datetime64("2025-03-01T04:00")
    assert np.isnat(last["no word of sense"])


def test_bad_readings_that_are_set_aside_keep_no_series_from_a_forecast_that_has_enough_without_them() -> None:
    readings = ReadingsSpec(values=("heat", "visits"), counts=("visits",), bad_rows="quarantine")
    wanted = ContextRequest(preparation_of({}, readings=readings), PLAIN, CONTEXT, 2)
    rows = [*hourly("a", range(8)), ("a", 60, "heat", None, 1.0, 0), ("b", 60, "heat", None, 1.0, 0)]
    found = contexts(wanted, batch_of(rows))
    assert list(found.given.series) == ["a"]
    assert [(name, reason) for name, _, reason in found.failures] == [("b", "a reading whose heat is not understood")]


def test_a_series_with_a_value_that_float32_does_not_hold_once_it_is_scaled_is_left_out_alone() -> None:
    small = Scaling(method="standard", overall=Affine(centre=(0.0, 0.0), scale=(1.0, 0.01)))
    rows = [*hourly("a", range(8)), *hourly("b", range(8), heat=3e38), *hourly("c", range(8), visits=3e38)]
    found = contexts(ContextRequest(preparation_of({}), small, CONTEXT, 2), batch_of(rows))
    assert list(found.given.series) == ["a", "b"]
    assert np.isfinite(found.given.context).all()
    assert len(found.given.start) == len(found.given.attributes) == len(found.given.known) == 2
    assert [(name, reason) for name, _, reason in found.failures] == [
        ("c", "a value of visits that is more than float32 holds once it is scaled")
    ]


def test_readings_that_do_not_say_their_series_are_told_of() -> None:
    wanted = ContextRequest(preparation_of({}), PLAIN, CONTEXT, 2)
    arrivals = wanted.arrivals()
    arrivals.add(batch_of([(None, 60, "sensor", 1.0, 1.0, 0)] * 3))
    arrivals.add(batch_of(hourly("a", range(8))))
    one, other = contexts_of(arrivals, wanted)
    assert list(one.given.series) == ["a"]
    assert [(name, reason) for name, _, reason in other.failures] == [(None, "readings whose sensor is not understood")]


def test_each_series_is_scaled_as_it_was_in_training_and_a_strange_one_as_all_or_not_at_all() -> None:
    own = Scaling(
        method="standard",
        overall=Affine(centre=(0.0, 1.0), scale=(1.0, 1.0)),
        by_series=AffineOfEach.of(["a"], np.array([[1.0, 0.0]]), np.array([[2.0, 4.0]])),
    )
    rows = batch_of([*hourly("a", range(8), heat=5.0, visits=8.0), *hourly("b", range(8), heat=5.0, visits=8.0)])
    found = contexts(ContextRequest(preparation_of({}), own, CONTEXT, 2), rows)
    np.testing.assert_array_equal(found.given.context[:, 0], [[2.0, 2.0], [5.0, 7.0]])
    found = contexts(ContextRequest(preparation_of({}, unseen="error"), own, CONTEXT, 2), rows)
    assert [(name, reason) for name, _, reason in found.failures] == [("b", "no training data to be scaled by")]


def test_the_calendar_is_known_ahead_and_attributes_are_those_of_the_series() -> None:
    asked = CalendarSpec(features=("hour", "weekday"), time_zone="Europe/Berlin")
    attributes = (Column(name="height"), Column(name="maker", kind="category", vocabulary={"by_split": {"train": ("x", "y")}}))
    wanted = ContextRequest(preparation_of({}, calendar=asked, attributes=attributes), PLAIN, CONTEXT, 3)
    rows = [
        *((*row[:5], "1.5", "y", 0) for row in hourly("a", range(8))),
        *((*row[:5], None, "z", 0) for row in hourly("b", range(7))),
        *((*row[:5], "1e39", "x", 0) for row in hourly("c", range(7))),
    ]
    given = contexts(wanted, batch_of(rows, attributes=2)).given
    np.testing.assert_array_equal(given.attributes, np.array([[1.5, 1], [np.nan, np.nan], [np.nan, 0]], np.float32))
    for row, first in enumerate((2, 1, 1)):
        times = ORIGIN + (first + np.arange(CONTEXT + 3)) * HOUR
        np.testing.assert_array_equal(given.known[row], calendar(times, ("hour", "weekday"), "Europe/Berlin").astype(np.float32))
    np.testing.assert_array_equal(given.covariates, given.known[:, :CONTEXT])
    assert given.covariates_observed.all()


def test_what_no_last_window_needs_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_, "ROWS_AT_ONCE", 100)
    wanted = ContextRequest(preparation_of({}), PLAIN, CONTEXT, 2)
    arrivals = wanted.arrivals()
    for first in range(0, 5_000, 50):
        arrivals.add(batch_of(hourly("a", range(first, first + 50))))
        assert len(arrivals._rows.time) + arrivals._batch_rows <= 150
    (found,) = contexts_of(arrivals, wanted)
    assert found.given.start[0] == np.datetime64("2025-03-01") + np.timedelta64(5_000 - CONTEXT, "h")
