"""Forecasts of values in memory, as the sensor gave them: a single window, or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from hindcast.forecasting.card import Card
from hindcast.forecasting.forecast import Forecast, Forecaster
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError


def forecast_values(model: Forecaster, card: Card[Any], values: np.ndarray, series: str = "") -> Forecast:
    """The forecast of a saved model after each context, in the units of the sensor.

    values  (context, channels), or (windows, context, channels), in the units of the sensor
    series  whose scaling to use, where each series has its own

    A single context is one window. Raises InputError for another number of steps or channels than the model was fitted on, and
    for values that are missing or infinite.
    """
    values, data = np.asarray(values, np.float64), card.sequences("the model")
    expected = (data.context, len(data.channels))
    if values.ndim not in (2, 3) or values.shape[-2:] != expected:
        raise InputError(
            f"values of shape {values.shape}: expected {expected[0]} steps of {', '.join(data.channels)}: {expected}, or "
            f"(windows, {expected[0]}, {expected[1]})"
        )
    windows = values.reshape(-1, *expected)
    faults = np.argwhere(~np.isfinite(windows))
    if len(faults):
        window, step, channel = faults[0]
        value = windows[window, step, channel]
        raise InputError(f"window {window}, step {step}, {data.channels[channel]}: found {value}, expected a finite number")
    centre, scale = data.scaling.of([series] * len(windows))
    scaled = ((windows - centre[:, None]) / scale[:, None]).astype(np.float32)
    return model.forecast(Given.of(scaled)).in_units(centre, scale)
