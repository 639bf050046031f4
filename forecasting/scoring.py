"""Asks every entrant for the same test windows, and scores what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecasting.entrant import Entrant
from forecasting.forecast import Forecast
from forecasting.metrics import Errors, errors
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.layout import Layout
from prep.windows import WindowBatch

BATCH, TRIED = 512, 3


@dataclass(frozen=True)
class Score:
    """Errors of one entrant over every test window, scaled and in sensor units; wall seconds spent on forecasting."""

    scaled: Errors
    in_units: Errors
    forecast_seconds: float

    def __add__(self, other: Score) -> Score:
        return Score(self.scaled + other.scaled, self.in_units + other.in_units, self.forecast_seconds + other.forecast_seconds)


@dataclass(frozen=True)
class Example:
    """One test window in sensor units, and what every entrant said of it."""

    number: int
    batch: WindowBatch
    context: np.ndarray
    target: np.ndarray
    forecasts: dict[str, Forecast]


def score(entrants: Sequence[Entrant], dataset: SequenceDataset, on_progress: Callable[[str], None]) -> dict[str, Score]:
    """Every entrant's errors on every window of the test split; only targets that were measured count.

    Raises InputError as `forecast_of` does.
    """
    windows = dataset.windows("test")
    total: dict[str, Score] = {}
    for first in range(0, len(windows), BATCH):
        batch = windows.batch(np.arange(first, min(first + BATCH, len(windows))))
        centre, scale = dataset.scaling.of(batch.series)
        target = Forecast(batch.target).in_units(centre, scale).mean
        for entrant in entrants:
            began = time.perf_counter()
            forecast = forecast_of(entrant, batch, dataset.layout)
            seconds = time.perf_counter() - began
            scaled = errors(forecast.mean, batch.target, batch.target_observed)
            in_units = errors(forecast.in_units(centre, scale).mean, target, batch.target_observed)
            part = Score(scaled, in_units, seconds)
            total[entrant.name] = total[entrant.name] + part if entrant.name in total else part
        on_progress(f"{first + len(batch.start):,} of {len(windows):,} windows")
    return total


def examples(entrants: Sequence[Entrant], dataset: SequenceDataset, count: int) -> list[Example]:
    """Evenly spaced test windows, so that nobody picks the pretty ones."""
    windows = dataset.windows("test")
    chosen = []
    for number in np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int)):
        batch = windows.batch(np.array([number]))
        centre, scale = dataset.scaling.of(batch.series)
        forecasts = {one.name: forecast_of(one, batch, dataset.layout).in_units(centre, scale) for one in entrants}
        context, target = (Forecast(values).in_units(centre, scale).mean[0] for values in (batch.context, batch.target))
        chosen.append(Example(int(number), batch, context, target, forecasts))
    return chosen


def try_out(entrant: Entrant, dataset: SequenceDataset) -> None:
    """Asks for a few windows of the validation split, or of the training split: a model that cannot answer shows it at once.

    Raises InputError as `forecast_of` does.
    """
    for split in ("validation", "train"):
        windows = dataset.windows(split, dataset.addresses(split)[:1])
        if len(windows):
            forecast_of(entrant, windows.batch(np.arange(min(TRIED, len(windows)))), dataset.layout)
            return


def forecast_of(entrant: Entrant, batch: WindowBatch, layout: Layout) -> Forecast:
    """What an entrant says of some windows: it is handed copies, so that it sees nothing beside them.

    Raises InputError where that is no Forecast or one of another shape and, of a model of the user's own, where it is not
    finite: a fitted one that has failed is listed as that.
    """
    given = batch.given
    found: Any = entrant.model.forecast(replace(given, context=given.context.copy(), observed=given.observed.copy()))
    if not isinstance(found, Forecast):
        raise InputError(
            f"{entrant.name}: forecast(given) returned {type(found).__name__}, expected a forecasting.forecast.Forecast: "
            "Forecast(mean)"
        )
    expected = (len(given.series), layout.horizon, given.context.shape[2])
    for name in ("mean", "deviation"):
        array = getattr(found, name)
        if array is not None and np.shape(array) != expected:
            raise InputError(
                f"{entrant.name}: found a forecast whose {name} has shape {np.shape(array)}, expected {expected}: (windows, "
                "horizon, channels)"
            )
    if entrant.card is None:
        faults = np.argwhere(~np.isfinite(found.mean))
        if len(faults):
            window, step, channel = faults[0]
            raise InputError(
                f"{entrant.name}: forecast {found.mean[window, step, channel]} for step {step + 1} of channel {channel}, of "
                f"series {batch.series[window]!r}, window from {batch.start[window]}; expected finite numbers"
            )
    return found
