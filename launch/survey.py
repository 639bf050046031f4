"""`hindcast readings`: a survey of the faults of readings before anything is changed, in the terminal and as a page."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from hindcast.forecasting.report.numbers import count, fixed, short, span
from hindcast.forecasting.report.survey.faults import decision, faults
from hindcast.forecasting.report.survey.page import closest, strips, write
from hindcast.forecasting.report.survey.text import bars, box
from hindcast.forecasting.report.survey.words import lead, moment, plural, share, short_list
from hindcast.launch.settings import Settings
from hindcast.launch.spark.cluster import session_on
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.runs import run
from hindcast.prep.readings.loading import load
from hindcast.prep.spec import Spec
from hindcast.prep.survey.findings import Correlations, Findings
from hindcast.prep.survey.survey import survey

# A terminal is read from the bottom up: what is longer is on the page.
SERIES, CHANNELS = 10, 50
DRAWN_SERIES, DRAWN_CHANNELS, CORRELATED = 5, 8, 8
BOX, BARS = 26, 18
TOGETHER = "all together"


def report(spec: Spec, settings: Settings, out: Path | None, overwrite: bool, progress: Progress) -> Findings:
    """Surveys the readings of a spec, prints the findings, and writes the page `out`, where there is one.

    Raises InputError where the readings cannot be opened, or the page cannot be written.
    """
    # What a table or a directory of Spark's holds has no order of rows.
    ordered = bool(spec.readings.path)
    attributes = () if spec.attributes.path or spec.attributes.table else spec.attributes.values
    with (
        session_on(settings.cluster, "hindcast readings") as spark,
        progress.stage("looking at readings", spark, spec.readings.name),
    ):
        findings = survey(load(spark, spec.readings, attributes=attributes, ordered=ordered), spec.grid, ordered=ordered)
    show(findings, spec)
    if out is not None:
        command = shlex.join(["hindcast", *sys.argv[1:]])
        write(findings, spec, out, created=datetime.now(UTC), command=command, overwrite=overwrite)
        run().wrote("report", out)
        console.print(Text("report: ").append(str(out), "bold"))
    return findings


def show(findings: Findings, spec: Spec) -> None:
    """Prints the headline, faults, channels, how their values lie and go together, and the worst series."""
    overall = findings.overall
    console.print(Text(lead(findings), "bold"))
    if overall.first is not None and overall.last is not None:
        console.print(
            Text(f"{moment(overall.first)} to {moment(overall.last)} (UTC), {span((overall.last - overall.first) / 1e6)}")
        )
    console.print(Text(decision(findings, spec)))
    _print_faults(findings, spec)
    _print_channels(findings)
    _print_values(findings)
    _print_correlations(findings)
    _print_series(findings)


def _print_faults(findings: Findings, spec: Spec) -> None:
    table = _table("fault", "found", "what prep does", "what decides it")
    for fault in faults(findings, spec):
        style = "bold red" if fault.stops else ""
        table.add_row(
            Text(fault.name, style), Text(fault.extent), Text(fault.treatment, style), Text("\n".join(fault.settings) or "–")
        )
    if table.row_count:
        console.print(table)
    for rows in findings.bad[:3]:
        console.print(Text(f"such as {rows.row}", "dim"))


def _print_channels(findings: Findings) -> None:
    table = _table("channel", "kind", right=("missing", "lowest", "25 %", "median", "75 %", "highest", "outliers"))
    for channel in findings.channels[:CHANNELS]:
        missing, numbers = share(channel.missing, findings.overall.readings), channel.numbers
        if numbers is not None:
            values = [numbers.lowest.value, *numbers.quartiles, numbers.highest.value]
            cells = [*map(short, values), count(numbers.outliers) if numbers.fences else "–"]
        else:
            cells = ["–"] * 6
        kind = f"{channel.kind}, constant" if channel.constant else channel.kind if channel.present else f"{channel.kind}, empty"
        table.add_row(Text(channel.name), Text(kind), missing, *cells)
    console.print(table)
    for channel in findings.channels[:CHANNELS]:
        if channel.words is not None:
            commonest = short_list([f"{word} {count(number)}" for word, number in channel.words.commonest])
            console.print(Text(f"{channel.name}: {plural(channel.words.distinct, 'category', 'categories')}, {commonest}"))
    _print_rest(len(findings.channels) - CHANNELS, "channel", "channels")


def _print_values(findings: Findings) -> None:
    """Box plots and histograms of channels of numbers: of all series together and of some by themselves, on one axis."""
    numeric = [channel for channel in findings.channels if channel.numbers is not None]
    table = _table("channel, series")
    table.add_column("box plot", min_width=BOX, no_wrap=True)
    table.add_column("histogram", min_width=BARS, no_wrap=True)
    table.add_column("outliers", justify="right", no_wrap=True)
    for channel in numeric[:DRAWN_CHANNELS]:
        figure = strips(findings, channel)
        ends = short(figure.axis.low), short(figure.axis.high)
        table.add_row(Text(channel.name, "bold"), Text(f"{ends[0]}{ends[1]:>{BOX - len(ends[0])}}", "dim"))
        for row in figure.rows[: 1 + DRAWN_SERIES]:
            drawing = box(row.numbers, figure.axis, BOX), bars(row.numbers, figure.axis, BARS)
            outliers = count(row.numbers.outliers) if row.numbers.fences else "–"
            table.add_row(Text(TOGETHER if row.series is None else row.series), *map(Text, drawing), outliers)
    if numeric:
        console.print(table)
    _print_rest(len(numeric) - DRAWN_CHANNELS, "channel", "channels")


def _print_correlations(findings: Findings) -> None:
    """A heat map of all series together, and the closest pair of each series."""
    matrix = findings.correlations
    if closest(matrix):
        _print_heat_map(matrix)
    for series in findings.by_series[:SERIES]:
        for pair in closest(series.correlations)[:1] if series.correlations else []:
            console.print(Text(f"closest in {series.name}: {pair.first} and {pair.second}, {fixed(pair.value, 2)}"))


def _print_heat_map(matrix: Correlations) -> None:
    names = matrix.channels[:CORRELATED]
    table = _table("correlation", right=names)
    for name, values in zip(names, matrix.values, strict=False):
        cells = [Text("–") if value is None else Text(fixed(value, 2), _shade(value)) for value in values[:CORRELATED]]
        table.add_row(Text(name), *cells)
    console.print(table)
    _print_rest(len(matrix.channels) + matrix.left_out - len(names), "channel", "channels")


def _shade(value: float) -> str:
    """Orange for what goes together, blue for what goes against each other, the stronger the more so; as on the page."""
    faded = round(255 - 200 * abs(value))
    return (
        f"black on rgb(255,{round(255 - 90 * value)},{faded})"
        if value >= 0
        else f"black on rgb({faded},{round(255 + 60 * value)},255)"
    )


def _print_series(findings: Findings) -> None:
    """Where the readings of all series together and of each lie in time, and then what they say."""
    in_time = _table("series", right=("readings", "span", "step", "gaps", "duplicates", "out of order"))
    values = _table("series", right=("missing", "not understood", "outliers", "never changes"))
    rows = [(series.name, series, series.bad) for series in findings.series[:SERIES]]
    if findings.series_count != 1:
        rows.insert(0, (TOGETHER, findings.overall, findings.bad_rows))
    else:
        rows = [(rows[0][0], rows[0][1], findings.bad_rows)]
    for name, series, bad in rows:
        long = "–" if series.first is None or series.last is None else span((series.last - series.first) / 1e6)
        order = "unknown" if series.out_of_order is None else count(series.out_of_order)
        step = span(series.step / 1e6) if series.step else "–"
        in_time.add_row(Text(name), count(series.readings), long, step, count(series.gaps), count(series.duplicates), order)
        lone = short_list([*series.constant, *series.empty], 2) if series.constant or series.empty else "–"
        values.add_row(Text(name), share(series.missing, series.values), count(bad), count(series.outliers), Text(lone))
    console.print(in_time)
    console.print(values)
    _print_rest(findings.series_count - min(SERIES, len(findings.series)), "series", "series")


def _print_rest(number: int, singular: str, plural_form: str) -> None:
    if number > 0:
        console.print(Text(f"{plural(number, singular, plural_form)} more not shown", "dim"))


def _table(*names: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(*names, box=None, header_style="bold")
    for name in right:
        table.add_column(name, justify="right")
    return table
