"""Values in memory: scaled as the model's series, forecast, and given back in the units of the sensor."""

from __future__ import annotations

import numpy as np
import pytest

from hindcast.forecasting.baselines.baselines import RepeatLast
from hindcast.forecasting.card import Card, Gives, Sequences
from hindcast.forecasting.values import forecast_values
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.errors import InputError
from hindcast.prep.scaling.affine import Affine, AffineOfEach, Scaling

LAST = RepeatLast(Layout(context=3, horizon=2, stride=1, windows_per_row=1))
CARD = Card[dict](
    kind="hmm",
    data=Sequences(
        channels=("heat", "load"),
        step_micros=1,
        context=3,
        horizon=2,
        lead=0,
        covariates=False,
        preparation=None,
        scaling=Scaling(
            method="standard",
            overall=Affine(centre=(0.0, 0.0), scale=(1.0, 1.0)),
            by_series=AffineOfEach.of(["a"], np.array([[100.0, -5.0]]), np.array([[10.0, 2.0]])),
        ),
        digest="",
    ),
    gives=Gives(deviation=False),
    parameters=0,
    bytes=0,
    fit_seconds=0,
    fit_cpu_seconds=0,
    seed=None,
    history=(),
    notes=(),
    versions={},
    part={},
)


def test_one_window_or_many_are_forecast_in_sensor_units() -> None:
    values = np.array([[100, -5], [110, -3], [120, -1]])
    one = forecast_values(LAST, CARD, values, "a")
    np.testing.assert_allclose(one.mean, [[[120, -1], [120, -1]]], rtol=1e-6)
    many = forecast_values(LAST, CARD, np.stack([values, values[::-1]]), "a")
    np.testing.assert_allclose(many.mean[:, 0], [[120, -1], [100, -5]], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 2)), r"values of shape \(4, 2\): expected 3 steps of heat, load: \(3, 2\), or \(windows, 3, 2\)"),
        (np.zeros(3), r"values of shape \(3,\)"),
        (np.array([[1.0, 2.0], [1.0, np.nan], [1.0, 2.0]]), "window 0, step 1, load: found nan, expected a finite number"),
    ],
)
def test_values_that_cannot_be_forecast_are_refused_in_a_line(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        forecast_values(LAST, CARD, values)
