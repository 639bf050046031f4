"""The page on readings before anything is changed: `write(findings, spec, path, …)`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hindcast.forecasting.report.page_template import own_style, rendered
from hindcast.forecasting.report.survey import words
from hindcast.forecasting.report.survey.faults import decision, faults
from hindcast.forecasting.report.survey.figures import distribution
from hindcast.forecasting.report.survey.strips import Axis, box_label, heat_map, strip
from hindcast.prep.files.placing import placed_file
from hindcast.prep.spec import Spec
from hindcast.prep.survey.findings import ChannelFindings, Correlations, Findings, Numbers

CHANNELS_DRAWN, ROWS, NUMBERED, PAIRS = 24, 200, 12, 10
"""At most so many channels are drawn, so many are in the table; a heat map of more than NUMBERED shows colours alone, and so many
of the closest pairs stand beside it."""
SERIES_DRAWN, OPEN = 24, 4
"""At most so many series are drawn in each channel; of more channels than OPEN, those after the first are folded."""
_WORDS = ("kinds", "moment", "outlier_words", "plural", "reason_words", "share", "short_list", "step_words")


@dataclass(frozen=True)
class Pair:
    """Two channels that go together."""

    first: str
    second: str
    value: float
    readings: int


@dataclass(frozen=True)
class Strip:
    """A row of a table of series: how the values of one channel lie in it."""

    series: str | None
    """None for all together."""
    numbers: Numbers
    drawing: str


@dataclass(frozen=True)
class Strips:
    """One channel in several series, drawn on one axis."""

    channel: str
    axis: Axis
    rows: tuple[Strip, ...]


def write(findings: Findings, spec: Spec, path: Path, *, created: datetime, command: str, overwrite: bool) -> None:
    """Writes the page to `path`, whole or not at all. Raises InputError where it cannot be put there."""
    with placed_file(Path(path), overwrite) as staging:
        staging.write_text(render(findings, spec, created=created, command=command), encoding="utf-8")


def render(findings: Findings, spec: Spec, *, created: datetime, command: str) -> str:
    """The page as text: the same for the same findings, and without a request to anything outside it."""
    channels = [channel for channel in findings.channels if channel.numbers is not None][:CHANNELS_DRAWN]
    with own_style():
        figures = [(channel, _figure(channel, index)) for index, channel in enumerate(channels)]
    return rendered(
        "survey/survey.html",
        {name: getattr(words, name) for name in _WORDS},
        findings=findings,
        overall=findings.overall,
        source=spec.readings.name,
        spec=spec,
        created=created,
        command=command,
        lead=words.lead(findings),
        decision=decision(findings, spec),
        faults=faults(findings, spec),
        figures=figures,
        numeric=sum(channel.numbers is not None for channel in findings.channels),
        words=[channel for channel in findings.channels if channel.words is not None],
        rows=findings.channels[:ROWS],
        numbered=len(findings.correlations.channels) <= NUMBERED,
        pairs=closest(findings.correlations)[:PAIRS],
        strips=[strips(findings, channel) for channel in channels] if findings.by_series else [],
        folded=len(channels) > OPEN,
        open=OPEN,
        series_drawn=min(SERIES_DRAWN, len(findings.by_series)),
        heat_channels=max((len(series.correlations.channels) for series in findings.by_series if series.correlations), default=0),
        heat_maps=_heat_maps(findings),
    )


def strips(findings: Findings, channel: ChannelFindings) -> Strips:
    """One channel of numbers: all series together, then each of the first that has a value in it."""
    assert channel.numbers is not None, "only channels of numbers are drawn"
    of_series = [
        (series.name, series.numbers[channel.name])
        for series in findings.by_series[:SERIES_DRAWN]
        if channel.name in series.numbers
    ]
    rows: list[tuple[str | None, Numbers]] = [(None, channel.numbers), *of_series]
    axis = Axis.over([series for _, series in rows])
    return Strips(channel.name, axis, tuple(Strip(name, series, strip(series, axis)) for name, series in rows))


def _heat_maps(findings: Findings) -> list[tuple[str, Pair, str]]:
    """Name, closest pair and picture of each series in which two channels can be compared."""
    maps = []
    for series in findings.by_series:
        if series.correlations is not None and (pairs := closest(series.correlations)):
            maps.append((series.name, pairs[0], heat_map(series.correlations)))
    return maps


def closest(correlations: Correlations) -> list[Pair]:
    """Pairs of different channels, those that go together most first."""
    names, values = correlations.channels, correlations.values
    pairs = []
    for i, first in enumerate(names):
        for j in range(i):
            value = values[i][j]
            if value is not None:
                pairs.append(Pair(names[j], first, value, correlations.pairs[i][j]))
    return sorted(pairs, key=lambda pair: -abs(pair.value))


def _figure(channel: ChannelFindings, index: int) -> str:
    assert channel.numbers is not None, "only channels of numbers are drawn"
    label = (
        f"{channel.name}: {box_label(channel.numbers)}. Outliers: {words.outlier_words(channel)}. "
        f"Below, the values in each of {len(channel.numbers.counts)} bins."
    )
    return distribution(channel.numbers, f"channel-{index}", label)
