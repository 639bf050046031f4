"""Which state is which regime: the matching that agrees most often, state by state."""

from __future__ import annotations

import numpy as np

from hindcast.classical.hmm.states.regimes import best_matching
from hindcast.forecasting.report.contents import Stretch
from hindcast.forecasting.truth import Truth


def test_matching_follows_the_larger_counts() -> None:
    assert best_matching(np.array([[1, 90, 2], [80, 0, 5], [3, 4, 70]])).tolist() == [1, 0, 2]


def test_with_fewer_states_than_regimes_one_regime_stays_unmatched() -> None:
    assert sorted(best_matching(np.array([[9, 1, 2], [1, 8, 2]])).tolist()) == [-1, 0, 1]


def test_the_truth_is_looked_up_by_time() -> None:
    times = np.datetime64("2025-01-01T00") + np.arange(10)
    truth = Truth(times, {"a": np.arange(10)}, ("x",) * 10)
    stretch = Stretch("a", times[3:6].astype("datetime64[us]"), ("c",), np.zeros((3, 1)), np.zeros(3, int))
    assert truth.along(stretch.series, stretch.times).tolist() == [3, 4, 5]
