"""The pictures of the page. No name that came from a user is drawn into them: names stand beside them, in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, MaxNLocator

from hindcast.forecasting.report.contents import Example, Learning, Likelihood, Line, Model, Stretch
from hindcast.forecasting.report.palette import Style, drawable, stand_in
from hindcast.forecasting.report.svg import inline

BAND = 1.645
"""Deviations either side of the mean that hold nine tenths of a Gaussian."""
STRETCH_STEPS = 1500
"""How many steps of a stretch are drawn: more of them are narrower than a pixel."""
PIXELS = 72
"""An inch of Matplotlib's is this many units of the SVG, and a unit is about a pixel on the page."""


def forecast(example: Example, channel: int, past: int, lead: int, looks: Mapping[str, Style], name: str, label: str) -> str:
    """One channel of one window: the last `past` steps, what happened, and every model's forecast, in sensor units.

    Of the `lead` steps between nothing is drawn.
    """
    figure, axes = _figure(360, 200)
    times = example.times.astype("datetime64[us]")
    before = example.past_times[-past:].astype("datetime64[us]")
    actual, observed = example.actual[:, channel].astype(float), example.observed[:, channel].astype(bool)
    history = example.past[-past:, channel]
    for line in example.lines:
        _draw_band(axes, times, line, channel, looks[line.model])
    for line in example.lines:
        _draw(axes, times, line.mean[:, channel], looks[line.model])
    # The last of the past joins what happened, so that the truth is one line, unless there are steps between the two.
    last = np.where(lead > 0, np.nan, history[-1:])
    joined, values = np.r_[before[-1:], times], np.r_[last, np.where(observed, actual, np.nan)]
    axes.axvspan(joined[0], joined[-1], color=stand_in("shade"), linewidth=0, zorder=0)
    axes.plot(before, history, color=stand_in("muted"), linewidth=1.1)
    axes.plot(joined, values, color=stand_in("ink"), linewidth=1.5, zorder=2.5)
    alone = _isolated(np.isfinite(values))
    axes.plot(joined[alone], values[alone], ".", color=stand_in("ink"), markersize=5, zorder=2.5)
    filled = np.where(_touching(~observed), actual, np.nan)
    axes.plot(times, filled, color=stand_in("muted"), linewidth=1.1, linestyle=(0, (1, 1.6)), zorder=2.4)
    edges = [edge for line in example.lines for band in _bands(line, channel) for edge in band]
    _limit(axes, [history, actual], [*edges, *(line.mean[:, channel] for line in example.lines)])
    _dates(axes, 5)
    return inline(figure, name, label)


def by_horizon(models: Sequence[Model], looks: Mapping[str, Style], season: int, lead: int, width: int, label: str) -> str:
    """Mean squared error at each step ahead, from lead + 1 on; a tick stands at every season, or every few, where there is more
    than one."""
    figure, axes = _figure(width, 240 + width // 12)
    for model in models:
        _draw(axes, lead + np.arange(1, len(model.step_mse) + 1), model.step_mse, looks[model.name])
    axes.set_ylim(bottom=0)
    steps = max(len(model.step_mse) for model in models)
    axes.set_xlim(lead + 1 - 0.01 * steps, lead + steps * 1.01)
    _whole_numbers(axes)
    if 1 < season <= steps // 2:
        axes.xaxis.set_major_locator(FixedLocator(range(0, lead + steps + 1, season * -(-steps // (width // 90 * season)))))
    return inline(figure, f"horizon-{width}", label)


def learning(curve: Learning, look: Style, name: str, label: str) -> str:
    """Training loss (thin) and validation loss (strong) by epoch; a ring marks the best validation loss."""
    figure, axes = _figure(360, 210)
    axes.plot(curve.epoch, curve.loss, color=look.colour, linewidth=1.3, linestyle=(0, (3, 2)), **_dots(curve.epoch))
    axes.plot(curve.epoch, curve.validation_loss, color=look.colour, linewidth=1.9, **_dots(curve.epoch))
    if np.isfinite(curve.validation_loss).any():
        best = int(np.nanargmin(curve.validation_loss))
        ring: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.5}
        axes.plot(curve.epoch[best], curve.validation_loss[best], "o", color=stand_in("ink"), **ring)
    _whole_numbers(axes)
    return inline(figure, name, label)


def likelihood(curve: Likelihood, look: Style, name: str, label: str) -> str:
    """Log-likelihood per measured step by iteration of EM, and the true model's where it is known."""
    figure, axes = _figure(360, 210)
    axes.plot(curve.iteration, curve.per_step, color=look.colour, linewidth=1.9, **_dots(curve.iteration))
    if curve.ceiling is not None:
        axes.axhline(curve.ceiling, color=stand_in("ink"), linewidth=1.1, linestyle=(0, (4, 3)))
    _whole_numbers(axes)
    return inline(figure, name, label)


def signal(stretch: Stretch, channel: int, colours: Sequence[str], name: str, label: str) -> str:
    """One channel of the stretch on a ground tinted by the state of every step."""
    figure, axes = _figure(960, 170)
    times, values = stretch.times[:STRETCH_STEPS].astype("datetime64[us]"), stretch.values[:STRETCH_STEPS, channel]
    axes.plot(times, values, color=stand_in("ink"), linewidth=1.1)
    axes.set_xlim(*_edges(times)[[0, -1]])
    _limit(axes, [values], [])
    _tint(axes, times, stretch.state[:STRETCH_STEPS], colours, 0.3)
    _dates(axes, 9)
    return inline(figure, name, label)


def strip(states: np.ndarray, times: np.ndarray, colours: Sequence[str], name: str, label: str) -> str:
    """(steps,) states, and (steps,) times, as one coloured strip below the signal."""
    figure, axes = _figure(960, 22, bottom=2, top=2)
    times = times[:STRETCH_STEPS].astype("datetime64[us]")
    axes.set_axis_off()
    axes.set_xlim(*_edges(times)[[0, -1]])
    _tint(axes, times, states[:STRETCH_STEPS], colours, 1.0)
    return inline(figure, name, label)


def _figure(width: int, height: int, bottom: int = 24, top: int = 14) -> tuple[Figure, Axes]:
    """Margins are fixed, so that plots below and beside each other line up."""
    figure = Figure(figsize=(width / PIXELS, height / PIXELS))
    axes = figure.add_axes((48 / width, bottom / height, 1 - 60 / width, 1 - (bottom + top) / height))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(stand_in("rule"))
    axes.grid(axis="y", color=stand_in("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=11, labelcolor=stand_in("muted"), pad=5)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.get_offset_text().set(color=stand_in("muted"), fontsize=10)
    return figure, axes


def _draw(axes: Axes, x: np.ndarray, values: np.ndarray, look: Style) -> None:
    linestyle = (0, look.dashes) if look.dashes else "solid"
    axes.plot(x, values, color=look.colour, linewidth=look.width, linestyle=linestyle, gid=look.key, zorder=3, **_dots(x))


def _draw_band(axes: Axes, times: np.ndarray, line: Line, channel: int, look: Style) -> None:
    for low, high in _bands(line, channel):
        axes.fill_between(times, low, high, color=look.colour, alpha=0.15, linewidth=0, gid=look.key)


def _bands(line: Line, channel: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The lower and upper edge, (horizon,) each, of the forecast's band; none where it has no deviation."""
    if line.deviation is None or not np.isfinite(line.deviation[:, channel]).any():
        return []
    mean, reach = line.mean[:, channel], BAND * line.deviation[:, channel]
    return [(mean - reach, mean + reach)]


def _dots(x: np.ndarray) -> dict[str, Any]:
    """A handful of points is a line too short to see without them."""
    return {"marker": "o", "markersize": 4} if len(x) <= 4 else {}


def _isolated(present: np.ndarray) -> np.ndarray:
    """(steps,) which of the known values have no known neighbour, and so would not show in a line."""
    padded = np.r_[False, present, False]
    return present & ~padded[:-2] & ~padded[2:]


def _touching(filled: np.ndarray) -> np.ndarray:
    """(steps,) the filled values and their neighbours, so that the line of filled values meets that of measured ones."""
    padded = np.r_[False, filled, False]
    return (filled | padded[:-2] | padded[2:]) & filled.any()


def _limit(axes: Axes, truth: Sequence[np.ndarray], forecasts: Sequence[np.ndarray]) -> None:
    """All of the truth is shown; of forecasts that run away, half as much again on either side, lest they flatten it."""
    values = np.concatenate(list(truth))
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    room = max(high - low, 1e-9 * max(abs(low), abs(high), 1e-9))
    reach = np.concatenate([*forecasts, values]) if forecasts else values
    reach = reach[np.isfinite(reach)]
    if len(reach):
        low, high = max(low - room / 2, min(low, reach.min())), min(high + room / 2, max(high, reach.max()))
    axes.set_ylim(low - 0.06 * (high - low or room), high + 0.06 * (high - low or room))


def _dates(axes: Axes, most: int) -> None:
    locator = AutoDateLocator(minticks=2, maxticks=most)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.margins(x=0.01)


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 3, 5, 6, 10]))


def _edges(times: np.ndarray) -> np.ndarray:
    """(steps + 1,) times half a step before, between and after."""
    step = times[1] - times[0] if len(times) > 1 else np.timedelta64(1, "s").astype("timedelta64[us]")
    return np.r_[times - step // 2, times[-1:] + step // 2]


def _tint(axes: Axes, times: np.ndarray, states: np.ndarray, colours: Sequence[str], alpha: float) -> None:
    """One path a state, of one rectangle a visit: a path a visit would be a large file."""
    edges = axes.convert_xunits(_edges(times))
    starts = np.flatnonzero(np.r_[True, states[1:] != states[:-1]])
    stops = np.r_[starts[1:], len(states)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    for state, colour in enumerate(colours):
        visits = [(edges[a], edges[b]) for a, b in zip(starts, stops, strict=True) if states[a] == state]
        if visits:
            corners = [corner for a, b in visits for corner in ((a, 0), (b, 0), (b, 1), (a, 1), (a, 0))]
            patch = PathPatch(Path(corners, codes * len(visits)), facecolor=drawable(colour), alpha=alpha, linewidth=0, zorder=0)
            patch.set_transform(axes.get_xaxis_transform())
            axes.add_patch(patch)
