"""`hindcast readings`: what is wrong with readings before anything is changed, in the terminal and as a page."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from forecasting.report.numbers import count, short, span
from forecasting.report.quality import write
from forecasting.report.quality_faults import decision, faults
from forecasting.report.quality_words import lead, moment, plural, share, some
from launch.progress import Progress, console
from launch.session import spark_session
from launch.settings import Settings
from prep.quality.findings import Findings
from prep.quality.survey import survey
from prep.readings import load
from prep.spec import Spec

# A terminal is read from the bottom up: what is longer is on the page.
SERIES, CHANNELS = 10, 50


def report(spec: Spec, settings: Settings, out: Path | None, overwrite: bool, progress: Progress) -> Findings:
    """Surveys the readings that a spec names, prints what was found, and writes the page where one is asked for.

    Raises InputError where the readings cannot be opened, or the page cannot be put there.
    """
    # What a table or a directory of Spark's holds has no order of rows.
    ordered = bool(spec.readings.path)
    attributes = () if spec.attributes.path or spec.attributes.table else spec.attributes.values
    with (
        spark_session(settings.cluster.master, "hindcast readings") as spark,
        progress.stage(f"looking at {spec.readings.name}", spark),
    ):
        findings = survey(load(spark, spec.readings, attributes=attributes, ordered=ordered), spec.grid, ordered=ordered)
    show(findings, spec)
    if out is not None:
        command = shlex.join(["hindcast", *sys.argv[1:]])
        write(findings, spec, out, created=datetime.now(UTC), command=command, overwrite=overwrite)
        console.print(Text("report: ").append(str(out), "bold"))
    return findings


def show(findings: Findings, spec: Spec) -> None:
    """Prints the headline, faults, channels and the worst series."""
    overall = findings.overall
    console.print(Text(lead(findings), "bold"))
    if overall.first is not None and overall.last is not None:
        console.print(
            Text(f"{moment(overall.first)} to {moment(overall.last)} (UTC), {span((overall.last - overall.first) / 1e6)}")
        )
    console.print(Text(decision(findings, spec)))
    _print_faults(findings, spec)
    _print_channels(findings)
    if findings.series_count > 1:
        _print_series(findings)


def _print_faults(findings: Findings, spec: Spec) -> None:
    table = _table("fault", "found", "what prep does", "what decides it")
    for fault in faults(findings, spec):
        style = "bold red" if fault.stops else ""
        table.add_row(
            Text(fault.name, style), Text(fault.found), Text(fault.treatment, style), Text("\n".join(fault.settings) or "–")
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
            commonest = some([f"{word} {count(number)}" for word, number in channel.words.commonest])
            console.print(Text(f"{channel.name}: {plural(channel.words.distinct, 'category', 'categories')}, {commonest}"))
    _print_rest(len(findings.channels) - CHANNELS, "channel", "channels")


def _print_series(findings: Findings) -> None:
    right = ("readings", "step", "gaps", "longest", "duplicates", "out of order", "values missing", "not understood")
    table = _table("series", right=right)
    for one in findings.series[:SERIES]:
        longest = span(one.longest_gap.micros / 1e6) if one.longest_gap else "–"
        order = "unknown" if one.out_of_order is None else count(one.out_of_order)
        step = span(one.step / 1e6) if one.step else "–"
        counts = (count(one.missing), count(one.bad))
        table.add_row(Text(one.name), count(one.readings), step, count(one.gaps), longest, count(one.duplicates), order, *counts)
    console.print(table)
    _print_rest(findings.series_count - min(SERIES, len(findings.series)), "series", "series")


def _print_rest(number: int, one: str, many: str) -> None:
    if number > 0:
        console.print(Text(f"{plural(number, one, many)} more not shown", "dim"))


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(*left, box=None, header_style="bold")
    for name in right:
        table.add_column(name, justify="right")
    return table
