"""The sections that are made of pictures: what of the contents is drawn, and the words that stand beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hindcast.forecasting.report import figures, numbers, tables
from hindcast.forecasting.report.contents import Contents, Example, Learning, Likelihood, States
from hindcast.forecasting.report.palette import Style, state_colours

WINDOWS, CHANNELS, POINTS = 6, 9, 120_000
"""At most so many windows, channels and points of lines are drawn: a page of more is too large to open, let alone to read."""
NUMBERED_STATES = 16
"""Transition matrices up to this size show their numbers."""


@dataclass(frozen=True)
class Gallery:
    """The forecasts drawn: some of the examples, each with one figure for each of `channels`."""

    windows: tuple[tuple[Example, tuple[str, ...]], ...]
    channels: tuple[str, ...]
    shown: tuple[str, ...]
    """Keys of what is shown until the reader asks for others: the models, and the best baseline."""
    banded: bool
    """Whether any forecast drawn has a deviation."""
    filled: bool
    """Whether any target drawn was filled, not measured."""
    omissions: str
    """In words, what was not drawn; empty where everything was."""


def gallery(contents: Contents, looks: dict[str, Style]) -> Gallery | None:
    if not contents.examples:
        return None
    names, past = contents.setup.channels, max(contents.setup.horizon, 24)
    windows, channels = _affordable(contents, past)
    examples = contents.examples[:windows]
    missing = []
    if windows < len(contents.examples):
        missing.append(f"the first {windows} of {len(contents.examples)} windows")
    if channels < len(names):
        missing.append(f"the first {channels} of {len(names)} channels")
    baselines = [model for model in tables.ranking(contents.models) if model.role == "baseline"]
    shown = [model for model in contents.models if model.role == "model"] + baselines[:1]
    deviations = [line.deviation for example in examples for line in example.lines if line.deviation is not None]
    return Gallery(
        windows=tuple((example, _figures(contents, number, channels, past, looks)) for number, example in enumerate(examples)),
        channels=names[:channels],
        shown=tuple(looks[model.name].key for model in shown),
        banded=any(bool(np.isfinite(deviation[:, :channels]).any()) for deviation in deviations),
        filled=any(not np.all(example.observed[:, :channels]) for example in examples),
        omissions=f"Drawn are {numbers.listed(missing)}; the scores are of all of them." if missing else "",
    )


def _affordable(contents: Contents, past: int) -> tuple[int, int]:
    """How many windows and channels can be drawn within the limits."""
    windows, channels = min(WINDOWS, len(contents.examples)), min(CHANNELS, len(contents.setup.channels))
    lines = max(len(example.lines) for example in contents.examples)
    points = min(past, max(len(example.past) for example in contents.examples)) + (1 + 2 * lines) * contents.setup.horizon
    while windows * channels * points > POINTS and windows * channels > 1:
        windows, channels = (windows - 1, channels) if windows > 1 else (windows, channels - 1)
    return windows, channels


def _figures(contents: Contents, number: int, channels: int, past: int, looks: dict[str, Style]) -> tuple[str, ...]:
    example = contents.examples[number]
    models = numbers.listed([line.model for line in example.lines] or ["no model"])
    pictures = []
    for channel, name in enumerate(contents.setup.channels[:channels]):
        label = f"Window {number + 1}, {name}: what happened, and the forecasts of {models}"
        pictures.append(
            figures.forecast(example, channel, past, contents.setup.lead, looks, f"forecast-{number}-{channel}", label)
        )
    return tuple(pictures)


def horizon(contents: Contents, looks: dict[str, Style]) -> tuple[str, str] | None:
    """The figure of errors by step ahead, for wide and for narrow screens; None where there is nothing to draw."""
    models = [model for model in contents.models if np.isfinite(model.step_mse).any()]
    if not models or contents.setup.horizon < 2:
        return None
    setup = contents.setup
    ends = [f"{model.name} {numbers.short(model.step_mse[0])} and {numbers.short(model.step_mse[-1])}" for model in models]
    label = f"Mean squared error at the first and at the last of {setup.horizon} steps ahead: {numbers.listed(ends)}"
    wide, narrow = (figures.by_horizon(models, looks, setup.season, setup.lead, width, label) for width in (760, 360))
    return wide, narrow


@dataclass(frozen=True)
class Curve:
    """How one model learnt."""

    model: str
    figure: str
    caption: str


def curves(contents: Contents, looks: dict[str, Style]) -> list[Curve]:
    drawings = []
    for number, curve in enumerate(contents.learning):
        text = _learning_words(curve)
        figure = figures.learning(curve, looks[curve.model], f"learning-{number}", f"{curve.model}. {text}")
        drawings.append(Curve(curve.model, figure, text))
    for number, rise in enumerate(contents.likelihood):
        text = _likelihood_words(rise)
        figure = figures.likelihood(rise, looks[rise.model], f"likelihood-{number}", f"{rise.model}. {text}")
        drawings.append(Curve(rise.model, figure, text))
    return drawings


def _learning_words(curve: Learning) -> str:
    first, last = numbers.short(curve.loss[0]), numbers.short(curve.loss[-1])
    text = f"By epoch: {curve.unit}. Dashed: training, from {first} to {last}"
    if np.isfinite(curve.validation_loss).any():
        best = int(np.nanargmin(curve.validation_loss))
        text += f". Solid: validation, lowest at epoch {curve.epoch[best]} (ringed, {numbers.short(curve.validation_loss[best])})"
    return f"{text}."


def _likelihood_words(curve: Likelihood) -> str:
    first, last = numbers.short(curve.per_step[0], 4), numbers.short(curve.per_step[-1], 4)
    text = f"Training log-likelihood per measured step, in nats, by iteration of EM: from {first} to {last}, higher is better"
    if curve.ceiling is not None:
        text += f". Dashed: the true model's, {numbers.short(curve.ceiling, 4)}"
    return f"{text}."


@dataclass(frozen=True)
class StatesView:
    """What the hidden states are: a table, and the stretch of signal where there is one."""

    states: States
    table: tables.StateTable
    colours: tuple[str, ...]
    """(states,) CSS colours"""
    numbered: bool
    """Whether the transition matrix is small enough to show its numbers."""
    signals: tuple[tuple[str, str], ...]
    """Name and figure of each channel of the stretch that is drawn."""
    strip: str | None
    truth: str | None
    cut: str
    """In words, what of the stretch was not drawn; empty where everything was."""


def states(contents: Contents) -> list[StatesView]:
    """The view of each model that has hidden states."""
    return [_states_view(number, of_model, contents.setup.channels) for number, of_model in enumerate(contents.states)]


def _states_view(place: int, states: States, channels: tuple[str, ...]) -> StatesView:
    count, stretch = len(states.mean), states.stretch
    colours = state_colours(count)
    signals: tuple[tuple[str, str], ...] = ()
    strip = truth = None
    cut = ""
    if stretch is not None and len(stretch.times):
        signals = tuple(
            (name, figures.signal(stretch, number, colours, f"signal-{place}-{number}", f"{name}, on a ground coloured by state"))
            for number, name in enumerate(stretch.channels[:CHANNELS])
        )
        strip = figures.strip(stretch.state, stretch.times, colours, f"strip-state-{place}", "State of every step")
        if stretch.truth is not None:
            truth = figures.strip(stretch.truth, stretch.times, colours, f"strip-truth-{place}", "True regime of every step")
        if len(stretch.times) > figures.STRETCH_STEPS:
            cut = f"The first {figures.STRETCH_STEPS:,} of {len(stretch.times):,} steps are drawn."
    return StatesView(
        states=states,
        table=tables.state_table(states, channels),
        colours=tuple(colours),
        numbered=count <= NUMBERED_STATES,
        signals=signals,
        strip=strip,
        truth=truth,
        cut=cut,
    )
