"""Forecasts of values in memory, as the sensor gave them: a single window, or many."""

from __future__ import annotations

import numpy as np

from forecasting.card import Card
from forecasting.forecast import Forecast, Forecaster
from prep.errors import InputError
from prep.windows import Given


def forecast_values(model: Forecaster, card: Card, values: np.ndarray, series: str = "") -> Forecast:
    """What a saved model expects after each context of `values`, (context, channels) or (windows, context, channels), in the
    units of the sensor; `series` says whose scaling is theirs, where each series has its own.

    The forecast has a window for a single context too. Raises InputError for another number of steps or channels than the model
    was fitted on, and for values that are missing or infinite.
    """
    values = np.asarray(values, np.float64)
    expected = (card.context, len(card.channels))
    if values.ndim not in (2, 3) or values.shape[-2:] != expected:
        raise InputError(
            f"values of shape {values.shape}: expected {expected[0]} steps of {', '.join(card.channels)}: {expected}, or "
            f"(windows, {expected[0]}, {expected[1]})"
        )
    windows = values.reshape(-1, *expected)
    faults = np.argwhere(~np.isfinite(windows))
    if len(faults):
        window, step, channel = faults[0]
        found = windows[window, step, channel]
        raise InputError(f"window {window}, step {step}, {card.channels[channel]}: found {found}, expected a finite number")
    centre, scale = card.scaling.of([series] * len(windows))
    scaled = ((windows - centre[:, None]) / scale[:, None]).astype(np.float32)
    return model.forecast(Given.of(scaled)).in_units(centre, scale)
