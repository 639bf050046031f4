"""The faults that a survey of readings found, and what `hindcast prep` does about each with the settings as they are."""

from __future__ import annotations

from dataclasses import dataclass

from hindcast.forecasting.report.numbers import count, listed, span
from hindcast.forecasting.report.survey.words import moment, plural, reason_words, share, short_list
from hindcast.prep.spec import Spec, duration_micros
from hindcast.prep.survey.findings import ChannelFindings, Findings, SeriesFindings

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fault:
    """One row of the table of faults."""

    name: str
    extent: str
    """How many, and where the worst is."""
    treatment: str
    """What `prep` does about it with the settings as they are."""
    settings: tuple[str, ...] = ()
    """Those that decide it, as they are: `grid.max_gap = "3h"`."""
    stops: bool = False
    """Whether `prep` ends with an error."""


def decision(findings: Findings, spec: Spec) -> str:
    """Whether `prep` goes through with these settings, and what must be decided first where it does not."""
    if not findings.overall.readings:
        return "There is nothing to prepare."
    stopping = [fault for fault in faults(findings, spec) if fault.stops]
    if stopping:
        settings = listed(setting.split(" ")[0] for fault in stopping for setting in fault.settings)
        names = listed(fault.name.lower() for fault in stopping)
        return f"As the settings stand, hindcast prep stops at {names}: decide on {settings}."
    return "As the settings stand, nothing found here stops hindcast prep."


def faults(findings: Findings, spec: Spec) -> tuple[Fault, ...]:
    """Every fault that was looked for and found, with what is done about it; what stops `prep` comes first."""
    rows = [
        *_bad_rows(findings, spec),
        *_duplicates(findings, spec),
        *_gaps(findings, spec),
        *_irregular(findings, spec),
        *_missing(findings, spec),
        *_order(findings),
        *_constant(findings.channels),
        *_outliers(findings.channels, spec),
    ]
    return tuple(sorted(rows, key=lambda fault: not fault.stops))


def _bad_rows(findings: Findings, spec: Spec) -> list[Fault]:
    if not findings.bad:
        return []
    stops = spec.readings.bad_rows == "error"
    treatment = "Stops at the first of them and names it." if stops else "Sets them aside in _quarantine, and counts them."
    reasons = listed(f"{count(bad.count)} for {reason_words(bad.reason)}" for bad in findings.bad[:3])
    more = f", and {plural(len(findings.bad) - 3, 'more reason')}" if len(findings.bad) > 3 else ""
    extent = f"{plural(findings.bad_rows, 'row')}: {reasons}{more}"
    return [Fault("Rows not understood", extent, treatment, (f'readings.bad_rows = "{spec.readings.bad_rows}"',), stops)]


def _duplicates(findings: Findings, spec: Spec) -> list[Fault]:
    overall, rule = findings.overall, spec.grid.duplicates
    if not overall.duplicates:
        return []
    if overall.repeats == overall.duplicates:
        same = "; every one repeats another reading word for word"
    elif overall.repeats:
        same = f"; {count(overall.repeats)} of them repeat another reading word for word"
    else:
        same = "; none says the same as the reading it doubles"
    extent = (
        f"{plural(overall.duplicates, 'reading')} at a time that has one already{_in(findings.with_duplicates, findings)}{same}"
    )
    treatment = {
        "error": "Stops, and names the first.",
        "first": "Keeps the first of them in the files.",
        "last": "Keeps the last of them in the files.",
        "mean": "Keeps their mean.",
    }[rule]
    return [Fault("Duplicates", extent, treatment, (f'grid.duplicates = "{rule}"',), rule == "error")]


def _gaps(findings: Findings, spec: Spec) -> list[Fault]:
    overall = findings.overall
    settings = (_max_gap(spec), f'grid.fill = "{spec.grid.fill}"')
    if not overall.gaps and not overall.splits:
        return []
    if overall.longest_gap is None:
        extent = f"{plural(overall.splits, 'interval')} longer than the grid allows"
    else:
        longest = overall.longest_gap
        extent = (
            f"{count(overall.gaps)}{_in(findings.with_gaps, findings)}, which lack {plural(overall.steps_missing, 'reading')}; "
            f"the longest is {span(longest.micros / 1e6)}, after {moment(longest.start)}{_of(longest.series, findings)}"
        )
    filled = overall.gaps - overall.splits
    parts = []
    if filled > 0 and spec.grid.fill != "none":
        how = "the value before" if spec.grid.fill == "previous" else "a straight line"
        parts.append(f"Fills {count(filled)} with {how}, up to {_limit(overall, spec)}")
    if overall.splits:
        parts.append(f"{'splits' if parts else 'Splits'} the series at {count(overall.splits)}, which no sequence crosses")
    return [Fault("Gaps", extent, f"{'; '.join(parts)}.", settings)]


def _irregular(findings: Findings, spec: Spec) -> list[Fault]:
    overall, rows = findings.overall, []
    settings = (f'grid.step = "{spec.grid.step}"' if spec.grid.step else "grid.step", "grid.aggregate")
    odd = overall.intervals - overall.on_step - overall.gaps
    moved = "Summarises the readings of each step." if spec.grid.aggregate else "Moves each reading to its nearest step."
    if odd > 0:
        share_ = share(odd, overall.intervals)
        text = f"{share_} of the intervals are neither one step of {span((overall.step or 0) / 1e6)} nor a gap"
        rows.append(Fault("Irregular intervals", text, moved, settings))
    if findings.other_step:
        text = f"{plural(findings.other_step, 'series', 'series')} of {count(findings.series_count)} with another step"
        rows.append(Fault("Different steps", text, f"Puts all series on one grid. {moved}", settings))
    return rows


def _missing(findings: Findings, spec: Spec) -> list[Fault]:
    overall = findings.overall
    if not overall.missing:
        return []
    worst = max(findings.channels, key=lambda channel: channel.missing)
    extent = f"{plural(overall.missing, 'value')}, {share(overall.missing, overall.values)}"
    extent += f"; most in {worst.name}: {share(worst.missing, overall.readings)}" if len(findings.channels) > 1 else ""
    if spec.grid.fill == "none":
        treatment = "Fills none; steps without a value end a stretch."
    else:
        treatment = f"Fills them as it fills gaps, up to {_limit(overall, spec)}, and marks them as not observed."
    return [Fault("Missing values", extent, treatment, (f'grid.fill = "{spec.grid.fill}"', _max_gap(spec)))]


def _order(findings: Findings) -> list[Fault]:
    overall = findings.overall
    if overall.out_of_order is None:
        return [Fault("Out of order", UNKNOWN, "A table has no order of rows; prep sorts by time.")]
    if not overall.out_of_order or overall.furthest_back is None:
        return []
    back = overall.furthest_back
    extent = f"{plural(overall.out_of_order, 'reading')}{_in(findings.with_out_of_order, findings)}; the furthest lies "
    extent += f"{span(back.micros / 1e6)} before the one above it, at {moment(back.time)}"
    decides = " Their order decides which of two duplicates is the first." if overall.duplicates else ""
    return [Fault("Out of order", extent, f"Sorts by time; nothing is lost.{decides}")]


def _constant(channels: tuple[ChannelFindings, ...]) -> list[Fault]:
    rows = []
    constant, empty = (
        [channel.name for channel in channels if channel.constant],
        [channel.name for channel in channels if not channel.present],
    )
    for names, what in ((constant, "Constant channels"), (empty, "Empty channels")):
        if names:
            treatment = "Keeps them. They tell a model nothing: name the others in readings.values."
            rows.append(Fault(what, short_list(names), treatment, ("readings.values",)))
    partly = [
        channel.name
        for channel in channels
        if not channel.constant and channel.present and channel.constant_series + channel.empty_series
    ]
    if partly:
        worst = max(channel.constant_series + channel.empty_series for channel in channels if channel.name in partly)
        text = f"{short_list(partly)}, in up to {plural(worst, 'series', 'series')}"
        rows.append(Fault("Constant in some series", text, "Keeps them; a stuck sensor looks like this.", ()))
    return rows


def _outliers(channels: tuple[ChannelFindings, ...], spec: Spec) -> list[Fault]:
    numbers_by_channel = {
        channel.name: channel.numbers for channel in channels if channel.numbers is not None and channel.numbers.outliers
    }
    if not numbers_by_channel:
        return []
    total = sum(numbers.outliers for numbers in numbers_by_channel.values())
    name, worst = max(numbers_by_channel.items(), key=lambda channel: channel[1].outliers)
    extent = f"{plural(total, 'value')} in {plural(len(numbers_by_channel), 'channel')}; most in {name}: {count(worst.outliers)}"
    moved = {"standard": "mean and deviation are moved by them", "minmax": "the lowest and highest set the scale"}
    method = spec.scaling.method
    treatment = f'Cuts none off; {moved[method]}, those of "robust" are not.' if method in moved else "Cuts none off."
    return [Fault("Outliers", extent, treatment, (f'scaling.method = "{method}"',))]


def _limit(overall: SeriesFindings, spec: Spec) -> str:
    """How long a gap may be that is still filled."""
    if spec.grid.max_gap:
        return span(duration_micros(spec.grid.max_gap) / 1e6)
    step = duration_micros(spec.grid.step) if spec.grid.step else overall.step
    return f"{span(3 * step / 1e6)} between readings" if step else "three steps"


def _max_gap(spec: Spec) -> str:
    return f'grid.max_gap = "{spec.grid.max_gap}"' if spec.grid.max_gap else "grid.max_gap (three steps)"


def _in(series: int, findings: Findings) -> str:
    return f" in {plural(series, 'series', 'series')}" if findings.series_count > 1 else ""


def _of(series: str, findings: Findings) -> str:
    return f" in {series}" if findings.series_count > 1 else ""
