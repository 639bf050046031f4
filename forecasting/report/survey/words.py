"""What a survey of readings found, in words: the sentence that matters first, and phrases for everything else."""

from __future__ import annotations

import numpy as np

from hindcast.forecasting.report.numbers import count, listed, percent, short, span
from hindcast.prep.readings.bad_rows import RAGGED
from hindcast.prep.survey.findings import ChannelFindings, Findings, SeriesFindings

REGULAR = 0.5
"""A commonest interval that fewer than this share of all intervals have is not a step to speak of."""
STEP_NAMES = {1: "every second", 60: "every minute", 3600: "hourly", 86_400: "daily", 604_800: "weekly"}


def lead(findings: Findings) -> str:
    """A sentence on the readings and their worst faults."""
    overall = findings.overall
    if not overall.readings:
        rows = findings.bad_rows
        return (
            f"Not one reading can be understood: all {plural(rows, 'row')} are bad." if rows else "There is not one reading here."
        )
    what = f"{plural(overall.readings, 'reading')} of {plural(len(findings.channels), 'channel')}"
    what += f" in {plural(findings.series_count, 'series', 'series')}" if findings.series_count > 1 else ""
    clauses = []
    if findings.bad_rows:
        clauses.append(f"{plural(findings.bad_rows, 'row')} that cannot be understood")
    if overall.longest_gap is not None:
        longest = span(overall.longest_gap.micros / 1e6)
        clauses.append(f"one gap of {longest}" if overall.gaps == 1 else f"{count(overall.gaps)} gaps, the longest {longest}")
    if overall.duplicates:
        clauses.append(f"{plural(overall.duplicates, 'duplicate')}")
    if overall.missing:
        clauses.append(f"{share(overall.missing, overall.values)} of the values missing")
    if overall.out_of_order:
        clauses.append(f"{plural(overall.out_of_order, 'reading')} out of order")
    lone = [channel.name for channel in findings.channels if channel.constant or not channel.present]
    if lone:
        clauses.append(f"{plural(len(lone), 'channel')} that never change{'s' if len(lone) == 1 else ''}")
    if not clauses:
        order = "nothing twice, all in order" if overall.out_of_order is not None else "nothing twice"
        return f"{what}, {step_words(overall)}: nothing missing, {order}."
    return f"{what}, {step_words(overall)}: {listed(clauses)}."


def step_words(overall: SeriesFindings) -> str:
    """How often there is a reading: `hourly`, `every 5 min`."""
    if overall.step is None:
        return "at a single time"
    if overall.on_step < REGULAR * overall.intervals:
        commonest = share(overall.on_step, overall.intervals)
        return f"at no regular step (the commonest, {span(overall.step / 1e6)}, is {commonest} of them)"
    seconds = overall.step / 1e6
    return STEP_NAMES.get(int(seconds), f"every {span(seconds)}") if seconds == int(seconds) else f"every {span(seconds)}"


def kinds(channels: tuple[ChannelFindings, ...]) -> str:
    """`5 real, 1 count, 1 category`."""
    counted = {kind: sum(channel.kind == kind for channel in channels) for kind in ("real", "count", "category")}
    return ", ".join(f"{count(number)} {kind}" for kind, number in counted.items() if number)


def outlier_words(channel: ChannelFindings) -> str:
    """Where the outliers of a channel begin, how many there are, and the extreme ones."""
    numbers = channel.numbers
    if numbers is None or numbers.fences is None:
        return "no rule: the quartiles are equal"
    low, high = numbers.fences
    parts = []
    if numbers.outliers_below:
        parts.append(f"{count(numbers.outliers_below)} below {short(low)}, the lowest {short(numbers.lowest.value)}")
    if numbers.outliers_above:
        parts.append(f"{count(numbers.outliers_above)} above {short(high)}, the highest {short(numbers.highest.value)}")
    return "; ".join(parts) or f"none below {short(low)} or above {short(high)}"


def reason_words(reason: str) -> str:
    return "too few or too many fields" if reason == RAGGED else f"column {reason}"


def moment(micros: int | None) -> str:
    """A time to the minute, or to the second or microsecond where it has such."""
    if micros is None:
        return "–"
    unit = "m" if micros % 60_000_000 == 0 else "s" if micros % 1_000_000 == 0 else "us"
    return str(np.datetime64(micros, "us").astype(f"datetime64[{unit}]")).replace("T", " ")


def share(part: int, whole: int) -> str:
    """A percentage. Only nothing is written as 0 %, and only the whole as 100 %."""
    if part in (0, whole):
        return f"{100 if part else 0}\u00a0%"
    return f">\u00a0{percent(0.99)}" if part / whole >= 0.995 else percent(part / whole)


def plural(number: int, singular: str, many: str | None = None) -> str:
    return f"{count(number)} {singular if number == 1 else many or singular + 's'}"


def short_list(names: list[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - most
    return listed(names) if more <= 0 else f"{', '.join(names[:most])} and {count(more)} more"
