"""Small pictures of single series, drawn as SVG by hand: hundreds of them stand in the tables of a page. No name is in them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

from hindcast.forecasting.report.numbers import short
from hindcast.prep.survey.findings import Correlations, Numbers

LEVELS = 20
"""So many shades a correlation has, either side of nothing."""


@dataclass(frozen=True)
class Axis:
    """The range of values that several pictures share, so that they can be compared."""

    low: float
    high: float

    @classmethod
    def over(cls, statistics: Iterable[Numbers]) -> Axis:
        """The axis that holds the boxes, whiskers and bins of all these channels."""
        ends = [end for numbers in statistics for end in (*numbers.whiskers, numbers.quartiles[0], numbers.quartiles[2])]
        ends += [edge for numbers in statistics for edge in (numbers.edges[0], numbers.edges[-1])]
        return cls(min(ends), max(ends))

    def percent(self, value: float) -> float:
        """The place of a value, in percent of the axis. Of halves, since the difference of huge values may be infinite."""
        width = self.high / 2 - self.low / 2
        return 100 * ((value / 2 - self.low / 2) / width) if width > 0 else 50.0


def strip(numbers: Numbers, axis: Axis) -> str:
    """A box plot, and the histogram beneath it: both of the values that are no outliers."""
    low, middle, high = (axis.percent(value) for value in numbers.quartiles)
    start, stop = (axis.percent(value) for value in numbers.whiskers)
    lines = [(start, low, 9, 9), (high, stop, 9, 9), (start, start, 5, 13), (stop, stop, 5, 13)]
    whiskers = "".join(f'<line x1="{a:.1f}%" x2="{b:.1f}%" y1="{top}" y2="{foot}"/>' for a, b, top, foot in lines)
    box = f'<rect x="{low:.1f}%" y="2" width="{high - low:.1f}%" height="14"/>'
    median = f'<line class="middle" x1="{middle:.1f}%" x2="{middle:.1f}%" y1="2" y2="16"/>'
    label = html.escape(box_label(numbers))
    shapes = f"{whiskers}{box}{median}{_bars(numbers, axis)}"
    return f'<svg class="strip" role="img" aria-label="{label}"><title>{label}</title>{shapes}</svg>'


def box_label(numbers: Numbers) -> str:
    """The box in words, for readers who cannot see it."""
    low, middle, high = map(short, numbers.quartiles)
    start, stop = map(short, numbers.whiskers)
    return f"quartiles {low}, {middle} and {high}; outliers aside, from {start} to {stop}"


def _bars(numbers: Numbers, axis: Axis) -> str:
    bins, most = len(numbers.counts), max(max(numbers.counts), 1)
    start, stop = axis.percent(numbers.edges[0]), axis.percent(numbers.edges[-1])
    if start == stop:
        return f'<line class="bars" x1="{start:.1f}%" x2="{start:.1f}%" y1="19" y2="38"/>'
    steps = "".join(f"V{100 - 100 * count / most:.0f}h1" for count in numbers.counts)
    return (
        f'<svg x="{start:.1f}%" y="19" width="{stop - start:.1f}%" height="19" viewBox="0 0 {bins} 100" '
        f'preserveAspectRatio="none"><path class="bars" d="M0 100{steps}V100z"/></svg>'
    )


def heat_map(matrix: Correlations) -> str:
    """A square for each pair of channels, in their order. The diagonal is left out; an undefined correlation is empty."""
    squares: dict[int, list[str]] = {}
    for row, values in enumerate(matrix.values):
        for column, value in enumerate(values):
            if value is not None and row != column:
                squares.setdefault(_level(value), []).append(f"M{column} {row}h1v1h-1z")
    count = len(matrix.channels)
    paths = ""
    for level, squares_of_level in sorted(squares.items()):
        side, weight = "below" if level < 0 else "above", 100 * abs(level) / LEVELS
        paths += f'<path class="{side}" style="--weight: {weight:.0f}%" d="{"".join(squares_of_level)}"/>'
    label = html.escape(f"Correlations of {count} channels")
    return (
        f'<svg class="squares" viewBox="0 0 {count} {count}" role="img" aria-label="{label}"><title>{label}</title>{paths}</svg>'
    )


def _level(value: float) -> int:
    return math.floor(abs(value) * LEVELS + 0.5) * (1 if value >= 0 else -1)
