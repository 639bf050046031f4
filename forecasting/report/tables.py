"""The tables of the page as rows of cells: their text, the best of each column, the length of bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hindcast.forecasting.report.contents import Model, States
from hindcast.forecasting.report.numbers import count, decimals, duration, fixed, is_finite, percent, size

Value = float | None
STATE_CHANNELS = 8
"""How many channels the table of states shows."""


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False
    bar: float | None = None
    """Share of the longest bar in the column, 0 to 1; None: no bar."""


@dataclass(frozen=True)
class Column:
    """`explains` is one plain sentence on what the number is, for below the table; empty where the label says it all."""

    label: str
    explains: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class _Metric:
    label: str
    explains: str
    value: Callable[[Model], Value]
    text: Callable[[Value], str] | None = None
    """None: the same number of decimals in the whole column."""
    loss: Callable[[float], float] = float
    """What is lowest for the best."""
    bar: bool = False


_QUALITY = (
    _Metric(
        "MSE",
        "mean squared error on scaled values: large misses weigh most. The table is sorted by it, best first.",
        lambda model: model.mse,
        bar=True,
    ),
    _Metric("MAE", "mean absolute error on scaled values: how far off a forecast is on average.", lambda model: model.mae),
    _Metric(
        "MASE",
        "MAE divided by the MAE of the seasonal-naive forecast on the training split: below 1 is better than that habit was.",
        lambda model: model.mase,
    ),
    _Metric(
        "CRPS",
        "continuous ranked probability score: what MAE is for a point, for a whole distribution. Lower is better.",
        lambda model: model.crps,
    ),
    _Metric(
        "Log density",
        "mean log of the density that the forecast gave to what happened, in nats: higher is better.",
        lambda model: model.log_density,
        loss=lambda value: -value,
    ),
    _Metric(
        "90 % interval",
        "share of what happened that fell inside the forecast's central 90 % interval: closest to 90 % is best.",
        lambda model: model.coverage,
        text=lambda value: percent(value) if value is not None and math.isfinite(value) else fixed(value, 0),
        loss=lambda value: abs(value - 0.9),
    ),
)
_COST = (
    _Metric("Fit", "wall time of fitting.", lambda model: model.fit_seconds, duration, bar=True),
    _Metric("Fit, CPU", "CPU time of fitting, summed over all processes.", lambda model: model.fit_cpu_seconds, duration),
    _Metric("Forecast", "wall time to forecast every test window.", lambda model: model.forecast_seconds, duration),
    _Metric("Parameters", "numbers that were estimated.", lambda model: model.parameters, count),
    _Metric("Size", "bytes of the saved model.", lambda model: model.bytes, size),
)


def ranking(models: Sequence[Model]) -> list[Model]:
    """Lowest MSE first; those without a finite one last."""
    return sorted(models, key=lambda model: model.mse if math.isfinite(model.mse) else math.inf)


def quality(ranked: Sequence[Model]) -> list[Column]:
    """Columns of quality, one cell a model, in this order. A metric that no model has is left out."""
    columns = [_column(metric, ranked) for metric in _QUALITY if any(is_finite(metric.value(model)) for model in ranked)]
    baselines = [model.mse for model in ranked if model.role == "baseline" and math.isfinite(model.mse)]
    if baselines:
        columns[1:1] = [_against(min(baselines), ranked)]
    return columns


def cost(ranked: Sequence[Model]) -> list[Column]:
    """Columns of cost, one cell a model, in this order. A metric that no model has is left out."""
    return [_column(metric, ranked) for metric in _COST if any(is_finite(metric.value(model)) for model in ranked)]


def by_channel(ranked: Sequence[Model], channels: Sequence[str]) -> list[tuple[str, list[Cell]]]:
    """Each channel's MAE in the units of its sensor, one cell a model; the best of the channel is marked."""
    rows = []
    for number, channel in enumerate(channels):
        errors = [float(model.channel_mae[number]) for model in ranked]
        places = decimals(errors, most=6)
        rows.append((channel, _cells(errors, partial(fixed, places=places))))
    return rows


@dataclass(frozen=True)
class StateCell:
    """`apart`: how many overall deviations the mean lies from the overall mean."""

    mean: str
    deviation: str
    apart: float

    @property
    def weight(self) -> float:
        """Strength of the tint in percent: full at two deviations."""
        return min(abs(self.apart), 2.0) * 50


@dataclass(frozen=True)
class StateTable:
    """`channels` are the columns, `shown` of `of` channels; a row is a state."""

    channels: tuple[str, ...]
    of: int
    rows: tuple[tuple[StateCell, ...], ...]
    """(states, channels shown)"""
    marks: tuple[str, ...]
    """(states,) what sets the state apart, in words."""


def state_table(states: States, channels: Sequence[str]) -> StateTable:
    """Means and deviations, of the channels in which the states differ most where there are too many to show."""
    apart = _apart(states)
    spread = np.nan_to_num(np.sqrt((states.share[:, None] * apart**2).sum(0)))
    numbers = np.sort(np.argsort(-spread, kind="stable")[:STATE_CHANNELS])
    places = [decimals([*states.deviation[:, channel]], digits=2, most=6) for channel in numbers]
    rows = tuple(
        tuple(
            StateCell(
                mean=fixed(states.mean[state, channel], place),
                deviation=fixed(states.deviation[state, channel], place),
                apart=float(np.nan_to_num(apart[state, channel])),
            )
            for channel, place in zip(numbers, places, strict=True)
        )
        for state in range(len(states.mean))
    )
    marks = tuple(_mark(apart[state], channels) for state in range(len(states.mean)))
    return StateTable(tuple(channels[channel] for channel in numbers), len(channels), rows, marks)


def _column(metric: _Metric, ranked: Sequence[Model]) -> Column:
    values = [metric.value(model) for model in ranked]
    text = metric.text or partial(fixed, places=decimals(values, most=6))
    return Column(metric.label, metric.explains, tuple(_cells(values, text, metric.loss, metric.bar)))


def _cells(
    values: Sequence[Value], text: Callable[[Value], str], loss: Callable[[float], float] = float, bar: bool = False
) -> list[Cell]:
    """What reads the same as the best is as good as the best."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    best = text(min(finite, key=loss)) if len(finite) > 1 else None
    longest = max(finite, default=0.0)
    return [
        Cell(
            text(value),
            best=is_finite(value) and text(value) == best,
            bar=value / longest if bar and value is not None and math.isfinite(value) and longest > 0 else None,
        )
        for value in values
    ]


def _against(baseline: float, ranked: Sequence[Model]) -> Column:
    cells = []
    for model in ranked:
        if model.role == "baseline" and model.mse == baseline:
            cells.append(Cell("reference"))
        elif math.isfinite(model.mse) and baseline > 0:
            cells.append(Cell(percent(model.mse / baseline - 1, signed=True)))
        else:
            cells.append(Cell(fixed(math.nan, 0)))
    return Column("vs best baseline", "how far the MSE is above (+) or below (−) the best baseline's.", tuple(cells))


def _apart(states: States) -> np.ndarray:
    """(states, channels) how many overall standard deviations a state's mean lies from the overall mean."""
    share = states.share[:, None]
    overall = (share * states.mean).sum(0)
    variance = (share * (states.deviation**2 + (states.mean - overall) ** 2)).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (states.mean - overall) / np.sqrt(variance)


def _mark(apart: np.ndarray, channels: Sequence[str]) -> str:
    """The one to three channels that lie at least half a deviation off."""
    far = [channel for channel in np.argsort(-np.abs(np.nan_to_num(apart)), kind="stable") if abs(apart[channel]) >= 0.5][:3]
    if not far:
        return "near the overall mean"
    return ", ".join(
        f"{channels[channel]} {'high' if apart[channel] > 0 else 'low'} ({fixed(float(apart[channel]), 1)} σ)" for channel in far
    )
