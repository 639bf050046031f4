"""As-of values equal pandas' merge_asof, calendar features follow local time, and words keep their codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hindcast.prep.errors import InputError
from hindcast.prep.readings.companions import as_of, calendar
from hindcast.prep.readings.vocabulary import vocabulary

tables = st.lists(st.tuples(st.integers(0, 50), st.sampled_from([1.0, 2.0, float("nan")])), max_size=20, unique_by=lambda r: r[0])


@given(tables, st.integers(0, 20))
def test_the_latest_measured_value_within_the_tolerance(rows: list[tuple[int, float]], tolerance: int) -> None:
    times = np.array([time for time, _ in sorted(rows)], np.int64)
    values = np.array([value for _, value in sorted(rows)], float)[:, None]
    at = np.arange(-2, 60)
    measured = pd.DataFrame({"time": times, "value": values[:, 0]}).dropna()
    expected = pd.merge_asof(pd.DataFrame({"time": at}), measured, on="time", tolerance=tolerance)
    np.testing.assert_array_equal(as_of(times, values, at, tolerance)[:, 0], expected["value"].to_numpy(float))


def test_calendar_features_follow_the_clocks_of_the_zone() -> None:
    utc = pd.date_range("2025-03-29", "2025-04-02", freq="37min", tz="UTC")
    local = utc.tz_convert("Europe/Berlin")
    found = calendar(
        utc.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64), ("hour", "weekday", "month"), "Europe/Berlin"
    )
    angles = np.arctan2(found[:, ::2], found[:, 1::2]) % (2 * np.pi) / (2 * np.pi)
    hours = np.asarray(local.hour + local.minute / 60)
    np.testing.assert_allclose(np.exp(2j * np.pi * angles[:, 0]), np.exp(2j * np.pi * hours / 24), atol=1e-9)
    np.testing.assert_allclose(np.exp(2j * np.pi * angles[:, 1]), np.exp(2j * np.pi * np.asarray(local.weekday) / 7), atol=1e-9)
    assert calendar(np.zeros(3, np.int64), (), "UTC").shape == (3, 0)


def test_words_of_training_come_first_and_keep_their_codes() -> None:
    early = vocabulary({"train": ["10", "9", "b", "a"], "test": []}, "label")
    late = vocabulary({"train": ["10", "9", "b", "a"], "test": ["0", "a", "c"]}, "label")
    assert early.words == ("9", "10", "a", "b")
    assert late.words[:4] == early.words
    assert late.by_split["test"] == ("0", "c")
    assert late.extended(["z", "a"]).words == (*late.words, "z")
    assert vocabulary({"train": ["b", "a"]}, "category", ordered=True).words == ("b", "a")
    with pytest.raises(InputError, match="10,001 different words"):
        vocabulary({"train": map(str, range(10_001))}, "label 'id'")
