"""The forecasts of all entrants for the same test windows, and their scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.forecast import Forecast
from hindcast.forecasting.metrics import Errors, errors
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import WindowBatch
from hindcast.prep.errors import InputError

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
    """One test window in sensor units, and the forecast of every entrant for it."""

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
    windows_shown = []
    for number in np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int)):
        batch = windows.batch(np.array([number]))
        centre, scale = dataset.scaling.of(batch.series)
        forecasts = {entrant.name: forecast_of(entrant, batch, dataset.layout).in_units(centre, scale) for entrant in entrants}
        context, target = (Forecast(values).in_units(centre, scale).mean[0] for values in (batch.context, batch.target))
        windows_shown.append(Example(int(number), batch, context, target, forecasts))
    return windows_shown


def try_out(entrant: Entrant, dataset: SequenceDataset) -> None:
    """Forecasts a few windows of the validation split, or of the training split, so that a faulty model is found at once.

    Raises InputError as `forecast_of` does.
    """
    for split in ("validation", "train"):
        windows = dataset.windows(split, dataset.addresses(split)[:1])
        if len(windows):
            forecast_of(entrant, windows.batch(np.arange(min(TRIED, len(windows)))), dataset.layout)
            return


def forecast_of(entrant: Entrant, batch: WindowBatch, layout: Layout) -> Forecast:
    """The forecast of an entrant for the windows of a batch. It gets copies of these: it can neither see the targets nor change
    what other entrants see.

    Raises InputError where the answer is no Forecast, or has another shape. Of a model of the user's own also where it raises, or
    a number is not finite; a fitted model whose numbers are not finite is listed as failed.
    """
    given = batch.given.copied()
    if entrant.card is not None:
        return _checked(entrant.name, entrant.model.forecast(given), batch, layout)
    try:
        answer = entrant.model.forecast(given)
    except Exception as error:
        raise InputError(f"{entrant.name}: forecast(given) raised {in_a_line(error)}") from error
    forecast = _checked(entrant.name, answer, batch, layout)
    for name in ("mean", "deviation"):
        array = getattr(forecast, name)
        for window, step, channel in np.argwhere(~np.isfinite(array))[:1] if array is not None else ():
            raise InputError(
                f"{entrant.name}: {name} {array[window, step, channel]} for step {step + 1} of channel {channel}, of series "
                f"{batch.series[window]!r}, window from {batch.start[window]}; expected finite numbers"
            )
    return forecast


def in_a_line(error: BaseException) -> str:
    """The type and the message of an exception, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _checked(name: str, answer: Any, batch: WindowBatch, layout: Layout) -> Forecast:
    if not isinstance(answer, Forecast):
        raise InputError(
            f"{name}: forecast(given) returned {type(answer).__name__}, expected a hindcast Forecast: Forecast(mean)"
        )
    expected = (len(batch.series), layout.horizon, batch.target.shape[2])
    for field in ("mean", "deviation"):
        array = getattr(answer, field)
        if array is None and field == "deviation":
            continue
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"{name}: found a forecast whose {field} is {kind}, expected a NumPy array of floats")
        if array.shape != expected:
            raise InputError(
                f"{name}: found a forecast whose {field} has shape {array.shape}, expected {expected}: (windows, "
                "horizon, channels)"
            )
    return answer
