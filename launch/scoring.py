"""Scores forecasters on the same test windows, and keeps what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from forecasting.forecast import Forecast, Forecaster
from forecasting.metrics import Errors, errors
from prep.dataset import SequenceDataset
from prep.windows import WindowBatch

BATCH = 512
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entrant:
    """A forecaster, what it is in words, and what fitting it cost (wall and CPU seconds)."""

    forecaster: Forecaster
    kind: Literal["baseline", "model"]
    description: str
    fit_seconds: float
    fit_cpu_seconds: float
    bytes: int | None = None

    @property
    def name(self) -> str:
        return self.forecaster.name


@dataclass(frozen=True)
class Score:
    """Errors of one entrant over every test window, scaled and in sensor units; wall seconds spent on forecasting."""

    scaled: Errors
    in_units: Errors
    forecast_seconds: float


@dataclass(frozen=True)
class Example:
    """One test window in sensor units, and what every entrant said of it."""

    number: int
    batch: WindowBatch
    context: np.ndarray
    target: np.ndarray
    forecasts: dict[str, Forecast]


def score(entrants: Sequence[Entrant], dataset: SequenceDataset, on_progress: Callable[[str], None]) -> dict[str, Score]:
    """Every entrant's errors on every window of the test split; only targets that were measured count."""
    windows = dataset.windows("test")
    total: dict[str, Score] = {}
    for first in range(0, len(windows), BATCH):
        batch = windows.batch(np.arange(first, min(first + BATCH, len(windows))))
        centre, scale = dataset.scaling.of(batch.series)
        target = Forecast(batch.target).in_units(centre, scale).mean
        for entrant in entrants:
            began = time.perf_counter()
            forecast = entrant.forecaster.forecast(batch.given)
            seconds = time.perf_counter() - began
            scaled = errors(forecast.mean, batch.target, batch.target_observed)
            in_units = errors(forecast.in_units(centre, scale).mean, target, batch.target_observed)
            part = Score(scaled, in_units, seconds)
            so_far = total.get(entrant.name)
            total[entrant.name] = (
                part
                if so_far is None
                else Score(
                    so_far.scaled + part.scaled, so_far.in_units + part.in_units, so_far.forecast_seconds + part.forecast_seconds
                )
            )
        on_progress(f"{first + len(batch.start):,} of {len(windows):,} windows")
    return total


def examples(entrants: Sequence[Entrant], dataset: SequenceDataset, count: int) -> list[Example]:
    """Evenly spaced test windows, so that nobody picks the pretty ones."""
    windows = dataset.windows("test")
    found = []
    for number in np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int)):
        batch = windows.batch(np.array([number]))
        centre, scale = dataset.scaling.of(batch.series)
        forecasts = {entrant.name: entrant.forecaster.forecast(batch.given).in_units(centre, scale) for entrant in entrants}
        context, target = (Forecast(values).in_units(centre, scale).mean[0] for values in (batch.context, batch.target))
        found.append(Example(int(number), batch, context, target, forecasts))
    return found


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """What `work` gives, and the wall and CPU seconds that it took in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu
