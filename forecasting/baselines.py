"""The forecasts that every model has to beat: repeat-last, seasonal-naive and closed-form linear regression."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecasting.entrant import Entrant
from forecasting.forecast import Forecast
from forecasting.inputs import must_be_numbers
from prep.blocks import Block
from prep.dataset import SequenceDataset
from prep.layout import Layout
from prep.windows import Given, cut

DAY_MICROS = 86_400_000_000
PIECE = 8192


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


@dataclass(frozen=True)
class Linear:
    """Each step of the horizon is a linear function of the context, the last value subtracted; channels share the weights.

    weights (context + 1, horizon): the last row is the intercept.
    """

    weights: np.ndarray

    @property
    def parameters(self) -> int:
        return self.weights.size

    def forecast(self, given: Given) -> Forecast:
        last = given.context[:, -1:]
        past = np.moveaxis(given.context - last, 1, 2)
        return Forecast(np.moveaxis(past @ self.weights[:-1] + self.weights[-1], 2, 1) + last)


@dataclass(frozen=True)
class NormalEquations:
    """Additive statistics of least squares: `gram` (context + 1, context + 1) and `moment` (context + 1, horizon)."""

    gram: np.ndarray
    moment: np.ndarray

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.gram + other.gram, self.moment + other.moment)

    def solve(self) -> Linear:
        """The least-squares weights; of several, the smallest."""
        weights, *_ = np.linalg.lstsq(self.gram, self.moment, rcond=1e-10)
        return Linear(weights.astype(np.float32))


def enter(dataset: SequenceDataset, season: int) -> tuple[list[Entrant], list[str]]:
    """Repeat-last, seasonal-naive and closed-form linear regression, the last fitted here; and notes on what cannot enter."""
    layout = dataset.layout
    wall, cpu = time.perf_counter(), time.process_time()
    linear = fit_linear(dataset)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    in_words = f"closed-form least squares on {layout.context} steps of context, last value subtracted, channels share weights"
    seasonal = f"every step is the last reading known at the same point of a season of {season} steps"
    return [
        Entrant("repeat-last", RepeatLast(layout), "baseline", "every step is the last reading", parameters=0),
        Entrant("seasonal-naive", SeasonalNaive(layout, season), "baseline", seasonal, parameters=0),
        Entrant("linear", linear, "baseline", in_words, wall, cpu, linear.parameters, linear.weights.nbytes),
    ], []


def fit_linear(dataset: SequenceDataset) -> Linear:
    """Closed-form least squares over every window and channel of the training split, a row group at a time.

    Raises InputError where a channel is a category.
    """
    must_be_numbers(dataset)
    total: NormalEquations | None = None
    for block in dataset.blocks("train"):
        for piece in normal_equations(block, dataset.layout):
            total = piece if total is None else total + piece
    assert total is not None, "a dataset has training windows"
    return total.solve()


def normal_equations(block: Block, layout: Layout) -> Iterator[NormalEquations]:
    """Of the windows that start in a block, some thousands at a time. Windows with a filled target step do not count."""
    context, future = layout.context, layout.look_back
    for row in range(len(block.windows)):
        offsets = np.arange(block.windows[row]) * layout.stride
        for some in np.split(offsets, range(PIECE, len(offsets), PIECE)):
            windows = np.moveaxis(cut(block.values[row : row + 1], layout.window)[0, some], 2, 1)
            measured = np.moveaxis(cut(block.observed[row : row + 1], layout.window)[0, some], 2, 1)[..., future:].all(axis=2)
            windows = windows[measured].astype(np.float64)
            relative = windows - windows[:, context - 1 : context]
            past = np.concatenate([relative[:, :context], np.ones((len(windows), 1))], axis=1)
            yield NormalEquations(past.T @ past, past.T @ relative[:, future:])


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
        for values, seen, start, stop in zip(block.values, block.observed, block.own_start, block.own_stop, strict=True):
            begin = max(start, season)
            if stop <= begin:
                continue
            now, then = slice(begin, stop), slice(begin - season, stop - season)
            both = (seen[now] & seen[then]).astype(bool)
            total += np.where(both, np.abs(values[now].astype(np.float64) - values[then]), 0).sum(axis=0)
            count += both.sum(axis=0)
    return total / np.maximum(count, 1)
