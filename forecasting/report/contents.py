"""The contents of the page: plain numbers, filled in by the comparison.

Numbers "in sensor units" are in the units of the readings, each channel in its own; "scaled" ones are errors on values scaled
with training statistics. A number that was not measured is None (a whole field) or NaN (inside an array), and is shown as a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split of the dataset, by the first and last reading it owns (context before `first` belongs to another split)."""

    name: str
    first: datetime
    last: datetime
    steps: int
    """Grid steps that it owns, over all series."""


@dataclass(frozen=True)
class Setup:
    """The dataset of a comparison, its windows, and the command that repeats it."""

    dataset: str
    """Path or address of the dataset, as the user gave it."""
    windows: int
    """Test windows that every model was scored on."""
    context: int
    """Steps of the past that a forecast may look at."""
    horizon: int
    """Steps that are forecast."""
    step_seconds: float
    """Length of one step."""
    season: int
    """Steps that seasonal-naive looks back, and that MASE is scaled with."""
    channels: tuple[str, ...]
    series: int
    """How many series the dataset holds."""
    splits: tuple[Split, ...]
    """Those that own steps; in order of time unless `whole_series`."""
    scaling: str
    """In words: `standard, per channel, from the training split alone`."""
    counts: Mapping[str, Mapping[str, int]]
    """What was kept, dropped or filled when preparing, in the words to show, and how much of it in each split: `values filled` ->
    {`train`: 12, `outside`: 3}."""
    command: str
    """The command line that repeats the comparison."""
    seeds: Mapping[str, int]
    """Model (or `all`) -> seed."""
    versions: Mapping[str, str]
    """Library -> version."""
    cores: int
    memory_bytes: int
    accelerator: str = ""
    """In words, empty where there is none: `1 x NVIDIA H200`."""
    lead: int = 0
    """Steps after the context that are skipped before the first that is forecast."""
    whole_series: bool = False
    """Whether each series belongs to one split; otherwise splits follow each other in time."""


@dataclass(frozen=True)
class Model:
    """One row of the comparison. Means are over test windows, steps and channels, at observed targets only."""

    name: str
    role: Literal["baseline", "model"]
    description: str
    """One line: what it is, and its key settings."""
    mse: float
    """Mean squared error, scaled. NaN or infinite where the model failed: it is then listed last, and said so."""
    mae: float
    """Mean absolute error, scaled."""
    mase: float
    """MAE divided by the MAE of the seasonal-naive forecast on the training split, without unit."""
    channel_mae: np.ndarray
    """(channels,) mean absolute error in sensor units."""
    step_mse: np.ndarray
    """(horizon,) mean squared error, scaled, at each step ahead; the first is one step ahead of context and lead."""
    parameters: int | None = None
    """How many numbers were estimated."""
    bytes: int | None = None
    """Size of the saved model."""
    fit_seconds: float | None = None
    """Wall seconds of fitting."""
    fit_cpu_seconds: float | None = None
    """CPU seconds of fitting, summed over all processes."""
    forecast_seconds: float | None = None
    """Wall seconds to forecast all test windows."""
    crps: float | None = None
    """Continuous ranked probability score, scaled. Lower is better."""
    log_density: float | None = None
    """Mean log density of an observed target under the forecast, in nats, scaled values. Higher is better."""
    coverage: float | None = None
    """Share (0 to 1) of the observed targets inside the central 90 % interval."""


@dataclass(frozen=True)
class Line:
    """The forecast of one model for one window, in sensor units."""

    model: str
    """`Model.name`."""
    mean: np.ndarray
    """(horizon, channels)"""
    deviation: np.ndarray | None = None
    """(horizon, channels) standard deviation of the predictive distribution; None or NaN where there is none."""


@dataclass(frozen=True)
class Example:
    """One test window, in sensor units."""

    series: str
    why: str
    """How this window was picked, so that nobody suspects cherry-picking: `first test window`, `median error of lstm`."""
    past_times: np.ndarray
    """(past,) datetime64: the last steps of the context; no need for all of it, two or three horizons look well."""
    past: np.ndarray
    """(past, channels)"""
    times: np.ndarray
    """(horizon,) datetime64"""
    actual: np.ndarray
    """(horizon, channels) what happened, filled values included."""
    observed: np.ndarray
    """(horizon, channels) bool or uint8: whether the target was measured. Targets that were not are drawn apart."""
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Learning:
    """The learning curve of a model trained by epochs."""

    model: str
    epoch: np.ndarray
    """(epochs,)"""
    loss: np.ndarray
    """(epochs,) training loss."""
    validation_loss: np.ndarray
    """(epochs,) NaN where it was not measured."""
    unit: str = "loss"
    """What the loss is: `mean squared error, scaled`."""


@dataclass(frozen=True)
class Likelihood:
    """How the likelihood rose while EM ran."""

    model: str
    iteration: np.ndarray
    """(iterations,)"""
    per_step: np.ndarray
    """(iterations,) training log-likelihood divided by the measured steps, in nats."""
    ceiling: float | None = None
    """The same of the true model, where the data are simulated."""


@dataclass(frozen=True)
class Stretch:
    """Some signal and the state that an HMM gives each step of it, in sensor units."""

    series: str
    times: np.ndarray
    """(steps,) datetime64; the first 1,500 are drawn."""
    channels: tuple[str, ...]
    """Names of the channels drawn: a few."""
    values: np.ndarray
    """(steps, channels drawn)"""
    state: np.ndarray
    """(steps,) int in [0, states)"""
    truth: np.ndarray | None = None
    """(steps,) int: the true regime of simulated data, numbered as the state it was matched with; -1 matches none."""
    agreement: float | None = None
    """Share (0 to 1) of steps where state and true regime agree after matching, over all data it was measured on."""


@dataclass(frozen=True)
class States:
    """What the hidden states of an HMM are, in sensor units."""

    model: str
    mean: np.ndarray
    """(states, channels)"""
    deviation: np.ndarray
    """(states, channels)"""
    share: np.ndarray
    """(states,) share of time spent in each, sums to 1."""
    duration: np.ndarray
    """(states,) expected steps that a visit lasts: 1 / (1 - probability to stay)."""
    transition: np.ndarray
    """(states, states) probability to go from the row's state to the column's in one step; rows sum to 1."""
    stretch: Stretch | None = None


@dataclass(frozen=True)
class Contents:
    """Everything on the page. A section without data is left out. Raises ValueError where shapes or names do not fit."""

    title: str
    created: datetime
    setup: Setup
    models: tuple[Model, ...]
    """In any order; colours follow it, so keep it the same from run to run."""
    examples: tuple[Example, ...] = ()
    learning: tuple[Learning, ...] = ()
    likelihood: tuple[Likelihood, ...] = ()
    states: tuple[States, ...] = ()
    """Of each model that has hidden states."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader must know to judge the numbers: `lstm was stopped by the time limit at epoch 7`."""

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"models: one at least, and no name twice; got {names}")
        channels, horizon = len(self.setup.channels), self.setup.horizon
        for model in self.models:
            _fits(f"{model.name}: channel_mae", model.channel_mae, (channels,))
            _fits(f"{model.name}: step_mse", model.step_mse, (horizon,))
        for number, example in enumerate(self.examples):
            _check_example(f"examples[{number}]", example, horizon, channels)
        for states in self.states:
            _check_states(states, channels)
        used = [line.model for example in self.examples for line in example.lines]
        used += [*(curve.model for curve in self.learning), *(curve.model for curve in self.likelihood)]
        used += [states.model for states in self.states]
        unknown = set(used) - set(names)
        if unknown:
            raise ValueError(f"forecasts, curves or states of {sorted(unknown)}, but the models are {names}")


def _check_example(what: str, example: Example, horizon: int, channels: int) -> None:
    _fits(f"{what}.past", example.past, (len(example.past_times), channels))
    _fits(f"{what}.times", example.times, (horizon,))
    _fits(f"{what}.actual", example.actual, (horizon, channels))
    _fits(f"{what}.observed", example.observed, (horizon, channels))
    for line in example.lines:
        _fits(f"{what}: mean of {line.model}", line.mean, (horizon, channels))
        if line.deviation is not None:
            _fits(f"{what}: deviation of {line.model}", line.deviation, (horizon, channels))


def _check_states(states: States, channels: int) -> None:
    count, of = len(states.mean), f"states of {states.model}"
    _fits(f"{of}: mean", states.mean, (count, channels))
    _fits(f"{of}: deviation", states.deviation, (count, channels))
    _fits(f"{of}: share", states.share, (count,))
    _fits(f"{of}: duration", states.duration, (count,))
    _fits(f"{of}: transition", states.transition, (count, count))
    stretch = states.stretch
    if stretch is not None:
        steps = len(stretch.times)
        _fits(f"stretch of {states.model}: values", stretch.values, (steps, len(stretch.channels)))
        _fits(f"stretch of {states.model}: state", stretch.state, (steps,))
        if stretch.truth is not None:
            _fits(f"stretch of {states.model}: truth", stretch.truth, (steps,))


def _fits(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise ValueError(f"{what} has shape {np.shape(array)}, expected {shape}")
