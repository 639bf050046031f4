"""Several readings on a step become one, as stated, and as pandas has it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hindcast.prep.grid.resampling import Rules, resample

NAN = np.nan


def only(duplicates: str) -> Rules:
    return Rules(duplicates, merge=("mean", "last"), aggregate=())


@pytest.mark.parametrize(("duplicates", "expected"), [("first", [1, 5]), ("last", [NAN, 7]), ("mean", [2, 7])])
def test_duplicates_are_taken_as_they_are_or_averaged(duplicates: str, expected: list[float]) -> None:
    values = np.array([[1.0, 5.0], [3.0, NAN], [NAN, 7.0], [9.0, 9.0]])
    found = resample(np.array([4, 4, 4, 6]), np.array([40, 40, 41, 60]), values, only(duplicates))
    assert found.steps.tolist() == [4, 6]
    np.testing.assert_array_equal(found.values, [expected, [9, 9]])
    assert found.duplicates.tolist() == [4, 4]


def test_the_mean_does_not_depend_on_the_order() -> None:
    values = np.array([[1e16, 0.0], [1.0, 0.0], [-1e16, 0.0], [3.0, 0.0]])
    zero = np.zeros(4, int)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        found = resample(zero, zero, values[order], only("mean"))
        assert found.values[0, 0] == resample(zero, zero, values, only("mean")).values[0, 0]


readings = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([NAN, 1.0, 2.5, -3.0])), min_size=1, max_size=60, unique_by=lambda r: r[0]
)


@given(readings, st.sampled_from(["mean", "last", "min", "max", "sum", "count"]), st.integers(1, 50))
def test_aggregation_equals_pandas(rows: list[tuple[int, float]], rule: str, step: int) -> None:
    times, values = (np.array(column) for column in zip(*sorted(rows), strict=True))
    found = resample(times // step, times, values[:, None], Rules("first", ("mean",), (rule,)))
    series = pd.Series(values, index=pd.to_datetime(times, unit="s"))
    resampler = series.resample(f"{step}s", origin="epoch")
    expected = resampler.sum(min_count=1) if rule == "sum" else getattr(resampler, rule)()
    steps = expected.index.astype("int64") // 10**9 // step
    theirs = expected[steps.isin(found.steps)]
    np.testing.assert_array_equal(found.steps, steps[steps.isin(found.steps)])
    np.testing.assert_allclose(found.values[:, 0], theirs.to_numpy(float), rtol=1e-15)


def test_readings_of_one_time_are_merged_before_they_are_aggregated() -> None:
    values = np.array([[1.0], [3.0], [10.0]])
    found = resample(np.array([0, 0, 0]), np.array([5, 5, 6]), values, Rules("mean", ("mean",), ("sum",)))
    assert found.values.tolist() == [[12.0]]
    assert found.duplicates.tolist() == [0]
