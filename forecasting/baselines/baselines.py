"""The forecasts that every model has to beat: repeat-last, seasonal-naive and closed-form linear regression."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from hindcast.forecasting.baselines.linear import Linear, fit_linear
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.forecast import Forecast
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given

DAY_MICROS = 86_400_000_000


@dataclass(frozen=True)
class RepeatLast:
    """Nothing changes: every step of the horizon is the last step of the context."""

    layout: Layout

    def forecast(self, given: Given) -> Forecast:
        return Forecast(np.repeat(given.context[:, -1:], self.layout.horizon, axis=1))


@dataclass(frozen=True)
class SeasonalNaive:
    """Every step is what it was a season (in steps) ago, or as many seasons as it takes to lie in the context."""

    layout: Layout
    season: int

    def forecast(self, given: Given) -> Forecast:
        start = given.context.shape[1] - self.season
        ahead = self.layout.lead + np.arange(self.layout.horizon)
        return Forecast(given.context[:, start + ahead % self.season])


def enter(dataset: SequenceDataset, season: int) -> tuple[list[Entrant], list[str]]:
    """Repeat-last, seasonal-naive and closed-form linear regression, the last fitted here; and notes on what cannot enter."""
    layout = dataset.layout
    seasonal = f"every step is the last reading known at the same point of a season of {season} steps"
    entrants = [
        Entrant("repeat-last", RepeatLast(layout), "baseline", "every step is the last reading", parameters=0),
        Entrant("seasonal-naive", SeasonalNaive(layout, season), "baseline", seasonal, parameters=0),
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    linear = fit_linear(dataset)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if len(linear.unfitted) == layout.horizon:
        return entrants, ["linear is left out: no window of the training split has a target that was measured"]
    in_words = f"closed-form least squares on {layout.context} steps of context, last value subtracted, channels share weights"
    fitted = Entrant("linear", linear, "baseline", in_words, wall, cpu, linear.parameters, linear.weights.nbytes)
    return [*entrants, fitted], _repeated(linear)


def _repeated(linear: Linear) -> list[str]:
    if not linear.unfitted:
        return []
    steps = f"{len(linear.unfitted)} of {linear.weights.shape[1]} steps ahead, the first of them {linear.unfitted[0] + 1}"
    return [f"linear repeats the last value at {steps}: no window of the training split measured them"]


def season_of(step_micros: int, layout: Layout) -> int:
    """Steps in a day where a day is at least two steps and fits into the context, else in a week, else the whole context."""
    for period in (DAY_MICROS, 7 * DAY_MICROS):
        steps, rest = divmod(period, step_micros)
        if rest == 0 and 2 <= steps <= layout.context:
            return steps
    return layout.context


def naive_error(dataset: SequenceDataset, season: int) -> np.ndarray:
    """(channels,): the mean absolute change over a season in the training split, scaled units; what MASE divides by.

    As Hyndman and Koehler define it, it is a property of the series alone, whatever is forecast: neither the horizon nor the lead
    changes it, so errors at different leads are in one unit and can be compared.
    """
    total, count = np.zeros(len(dataset.channels)), np.zeros(len(dataset.channels))
    for block in dataset.blocks("train"):
        for values, observed, start, stop in zip(block.values, block.observed, block.own_start, block.own_stop, strict=True):
            begin = max(start, season)
            if stop <= begin:
                continue
            now, then = slice(begin, stop), slice(begin - season, stop - season)
            both = (observed[now] & observed[then]).astype(bool)
            total += np.where(both, np.abs(values[now].astype(np.float64) - values[then]), 0).sum(axis=0)
            count += both.sum(axis=0)
    return total / np.maximum(count, 1)
