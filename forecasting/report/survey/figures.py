"""The picture of a channel: its box plot above its histogram, on one axis. Names stand beside it, in HTML."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hindcast.forecasting.report.numbers import short
from hindcast.forecasting.report.palette import stand_in
from hindcast.forecasting.report.svg import inline
from hindcast.prep.survey.findings import Numbers

WIDTH, HEIGHT, PIXELS = 360, 190, 72
BOX = 26
"""Height of the strip that holds the box."""


def distribution(numbers: Numbers, name: str, label: str) -> str:
    """Values inside the fences: their quartiles and whiskers, and below how many there are in each bin."""
    figure = Figure(figsize=(WIDTH / PIXELS, HEIGHT / PIXELS))
    left, width, foot = 48 / WIDTH, 1 - 60 / WIDTH, 24 / HEIGHT
    bars = figure.add_axes((left, foot, width, 1 - foot - (BOX + 14) / HEIGHT))
    box = figure.add_axes((left, 1 - (BOX + 6) / HEIGHT, width, BOX / HEIGHT), sharex=bars)
    box.set_axis_off()
    _box(box, numbers)
    _bars(bars, numbers)
    return inline(figure, name, label)


def _box(axes: Axes, numbers: Numbers) -> None:
    low, middle, high = numbers.quartiles
    start, stop = numbers.whiskers
    ink: dict[str, Any] = {"color": stand_in("ink"), "linewidth": 1.2}
    axes.plot([start, low], [0.5, 0.5], **ink)
    axes.plot([high, stop], [0.5, 0.5], **ink)
    for whisker in (start, stop):
        axes.plot([whisker, whisker], [0.3, 0.7], **ink)
    axes.fill_betweenx([0.12, 0.88], low, high, facecolor=stand_in("shade"), edgecolor=stand_in("ink"), linewidth=1.2)
    axes.plot([middle, middle], [0.12, 0.88], color=stand_in("model1"), linewidth=2.2)
    axes.set_ylim(0, 1)


def _bars(axes: Axes, numbers: Numbers) -> None:
    edges, counts = np.array(numbers.edges), np.array(numbers.counts)
    room = 0.02 * (edges[-1] - edges[0])
    if edges[0] == edges[-1]:
        # A single value has no width of its own.
        room = max(abs(edges[0]) * 0.05, 0.5)
        edges = np.array([edges[0] - room / 10, edges[0] + room / 10])
    axes.stairs(counts, edges, fill=True, color=stand_in("model0"), linewidth=0)
    axes.set_xlim(edges[0] - room, edges[-1] + room)
    axes.set_ylim(0, max(1, counts.max()) * 1.04)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(stand_in("rule"))
    axes.grid(axis="y", color=stand_in("rule"), linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=11, labelcolor=stand_in("muted"), pad=5)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _brief(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.get_offset_text().set(color=stand_in("muted"), fontsize=10)


def _brief(value: float) -> str:
    """`20 k`, `3 M`: the margin is as wide as four characters."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{short(value / scale, 3).rstrip('0').rstrip('.') if value % scale else f'{value / scale:g}'}{unit}"
    return f"{value:g}"
