"""The page on readings before anything is changed: `write(findings, spec, path, …)`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined

from forecasting.report import numbers, quality_words
from forecasting.report.quality_faults import decision, faults
from forecasting.report.quality_figures import distribution
from prep.placing import placed_file
from prep.quality.findings import ChannelFindings, Correlations, Findings
from prep.spec import Spec

DRAWN, ROWS, NUMBERED, PAIRS = 24, 200, 12, 10
"""At most so many channels are drawn, so many are in the table; a heat map of more than NUMBERED shows colours alone, and so many
of the closest pairs stand beside it."""


@dataclass(frozen=True)
class Pair:
    """Two channels that go together."""

    first: str
    second: str
    value: float
    readings: int


def write(findings: Findings, spec: Spec, path: Path, *, created: datetime, command: str, overwrite: bool) -> None:
    """Writes the page to `path`, whole or not at all. Raises InputError where it cannot be put there."""
    with placed_file(Path(path), overwrite) as staging:
        staging.write_text(render(findings, spec, created=created, command=command), encoding="utf-8")


def render(findings: Findings, spec: Spec, *, created: datetime, command: str) -> str:
    """The page as text: the same for the same findings, and without a request to anything outside it."""
    drawn = [channel for channel in findings.channels if channel.numbers is not None][:DRAWN]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc that happens to lie about is not part of the findings
        figures = [(channel, _figure(channel, index)) for index, channel in enumerate(drawn)]
    return (
        _environment()
        .get_template("quality.html")
        .render(
            findings=findings,
            overall=findings.overall,
            source=spec.readings.name,
            spec=spec,
            created=created,
            command=command,
            css=resources.files("forecasting.report").joinpath("page.css").read_text(encoding="utf-8"),
            lead=quality_words.lead(findings),
            decision=decision(findings, spec),
            faults=faults(findings, spec),
            figures=figures,
            numeric=sum(channel.numbers is not None for channel in findings.channels),
            words=[channel for channel in findings.channels if channel.words is not None],
            rows=findings.channels[:ROWS],
            numbered=len(findings.correlations.channels) <= NUMBERED,
            pairs=closest(findings.correlations)[:PAIRS],
        )
    )


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
    low, middle, high = (numbers.short(value) for value in channel.numbers.quartiles)
    start, stop = (numbers.short(value) for value in channel.numbers.whiskers)
    label = (
        f"{channel.name}: quartiles {low}, {middle} and {high}; outliers aside, from {start} to {stop}. "
        f"Outliers: {quality_words.outlier_words(channel)}. Below, the values in each of "
        f"{len(channel.numbers.counts)} bins."
    )
    return distribution(channel.numbers, f"channel-{index}", label)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("forecasting", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in ("count", "fixed", "listed", "percent", "short", "span")}
    environment.filters |= {
        name: getattr(quality_words, name) for name in ("kinds", "moment", "outlier_words", "reason_words", "some")
    }
    environment.globals |= {name: getattr(quality_words, name) for name in ("plural", "share", "step_words")}
    return environment
