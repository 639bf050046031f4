"""What goes along with the channels: values of a second table as they were known at each step, and the calendar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hindcast.prep.spec import CalendarFeature

# What a feature counts, and how many make its period.
PERIODS: dict[CalendarFeature, float] = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "week": 366 / 7, "month": 12}


def as_of(times: np.ndarray, values: np.ndarray, at: np.ndarray, tolerance: int) -> np.ndarray:
    """At each time of `at` (steps,), the latest measured value of `values` (n, columns) at or before it and at most `tolerance`
    old.

    Times are in one unit, ascending. NaN where there is none.
    """
    latest_values = np.full((len(at), values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        measured = np.flatnonzero(~np.isnan(values[:, column]))
        place = np.searchsorted(times[measured], at, side="right") - 1
        rows = np.flatnonzero(place >= 0)
        latest = measured[place[rows]]
        fresh = at[rows] - times[latest] <= tolerance
        latest_values[rows[fresh], column] = values[latest[fresh], column]
    return latest_values


def calendar_names(features: Sequence[CalendarFeature]) -> tuple[str, ...]:
    return tuple(f"{feature}_{wave}" for feature in features for wave in ("sin", "cos"))


def calendar(micros: np.ndarray, features: Sequence[CalendarFeature], time_zone: str) -> np.ndarray:
    """The features of times (steps,), microseconds since the epoch: (steps, 2 · features) float64, a sine and a cosine each."""
    if not features:
        return np.empty((len(micros), 0))
    local = pd.DatetimeIndex(micros.astype("datetime64[us]"), tz="UTC").tz_convert(time_zone)
    hour = local.hour + local.minute / 60 + local.second / 3600
    counts = {
        "minute": hour * 60 % 60,
        "hour": hour,
        "weekday": local.weekday,
        "day": local.day - 1,
        "week": (local.dayofyear - 1) / 7,
        "month": local.month - 1,
    }
    angles = [2 * np.pi * np.asarray(counts[feature], float) / PERIODS[feature] for feature in features]
    return np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
