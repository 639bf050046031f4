"""Box plots and histograms of characters, for a terminal; of values that are no outliers, as on the page."""

from __future__ import annotations

from hindcast.forecasting.report.survey.strips import Axis
from hindcast.prep.survey.findings import Numbers

_BARS = " ▁▂▃▄▅▆▇█"


def box(numbers: Numbers, axis: Axis, width: int) -> str:
    """`├──┤ ┃ ├──┤`: the whiskers, the ends of the box and its median, at their places on the axis."""
    start, stop = (_place(whisker, axis, width) for whisker in numbers.whiskers)
    low, middle, high = (_place(quartile, axis, width) for quartile in numbers.quartiles)
    characters = [" "] * width
    for place in (*range(start, low), *range(high + 1, stop + 1)):
        characters[place] = "─"
    for place in range(low, high + 1):
        characters[place] = "▒"
    if start < low:
        characters[start] = "├"
    if stop > high:
        characters[stop] = "┤"
    characters[middle] = "┃"
    return "".join(characters)


def bars(numbers: Numbers, axis: Axis, width: int) -> str:
    """How many values there are at each place of the axis: a full block for the most, and for a few, however few, the lowest."""
    totals = [0.0] * width
    for count, lower, upper in zip(numbers.counts, numbers.edges, numbers.edges[1:], strict=False):
        first, last = (axis.percent(edge) / 100 * width for edge in (lower, upper))
        for place in range(int(min(first, width - 1)), width):
            # The share of the bin that lies at this place; one without a width lies at one place.
            part = (min(last, place + 1) - max(first, place)) / (last - first) if last > first else 1.0
            totals[place] += count * max(part, 0.0)
            if last <= place + 1:
                break
    most = max(*totals, 1e-9)
    return "".join(_BARS[min(8, max(1, round(8 * value / most))) if value > 0 else 0] for value in totals)


def _place(value: float, axis: Axis, width: int) -> int:
    return min(width - 1, max(0, int(axis.percent(value) / 100 * width)))
