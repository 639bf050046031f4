"""What is wrong with readings before anything is changed: `survey(readings, grid)`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from hindcast.prep.readings.loading import Channel, Readings
from hindcast.prep.readings.sources import shown
from hindcast.prep.spec import GridSpec
from hindcast.prep.survey import intervals
from hindcast.prep.survey.distributions import MATRICES, commonest_words, numbers_and_correlations, outlines
from hindcast.prep.survey.findings import (
    BadRows,
    ChannelFindings,
    Correlations,
    Findings,
    Numbers,
    SeriesFindings,
    SeriesValues,
    Words,
)

ALL_SERIES = 50
"""Up to so many series are all listed; of more, the worst."""
WORST = 10
"""So many series are listed for each fault, and so many gaps."""
ALONE = 5_000
"""Series times channels, at most, of which the values are looked at in each series by itself; of one series at least."""
EXAMPLE_CHARACTERS = 300

SUMS = (
    "readings",
    "bad",
    "intervals",
    "on_step",
    "gaps",
    "steps_missing",
    "splits",
    "duplicates",
    "repeats",
    "out_of_order",
    "missing",
)
"""Columns of the table of series that are added up over all of them."""
FLAGS = {
    "with_gaps": "gaps > 0",
    "with_duplicates": "duplicates > 0",
    "with_out_of_order": "out_of_order > 0",
    "with_missing": "missing > 0",
    "with_bad": "bad > 0",
    "with_constant": "size(constant) + size(empty) > 0",
}
"""Findings that count the series of which something is true."""
FAULTS = (
    "gaps",
    "steps_missing",
    "longest_gap.interval",
    "splits",
    "duplicates",
    "out_of_order",
    "missing",
    "bad",
    "size(constant) + size(empty)",
    "intervals - on_step",
)
"""By what the worst series are chosen."""
CONSTANT, EMPTY = "low = high", "present = 0"


def survey(readings: Readings, grid: GridSpec, *, ordered: bool) -> Findings:
    """Counts every fault of the readings, in all, by series and by channel; `ordered` says whether `position` means anything.

    Reads the source once for its readings and, where there are any, once for the rows that are none. Readings are kept on the
    executors, in memory or on their disks, while they are gone through for the values of each series; for times (the only shuffle
    of readings, by series: of each no more than time, position and a hash); for quartiles and extremes; for histograms, outliers
    and correlations, both of all series together and of each that is listed; and for categories. Only sums come to the driver,
    and a bounded number of series.
    """
    with ExitStack() as stack:
        readings = replace(readings, checked=_persist(readings.checked, stack))
        return _survey(readings, grid, ordered, stack)


def _survey(readings: Readings, grid: GridSpec, ordered: bool, stack: ExitStack) -> Findings:
    columns = {f"value_{index}": channel for index, channel in enumerate(readings.channels)}
    # Compressed files come as a part each, however large. One column says how many, and no code is made for all of them.
    source = readings.checked.select("position").rdd.getNumPartitions()
    parts = max(source, readings.checked.sparkSession.sparkContext.defaultParallelism)
    lengths = _persist(intervals.intervals(readings.good, len(columns), ordered, parts), stack)
    cells = _persist(_cells(readings).coalesce(parts), stack)
    spacing = intervals.Intervals(lengths, intervals.commonest(lengths))
    table = _persist(_series_table(cells, len(columns), spacing, grid).coalesce(parts), stack)
    total, by_channel = _total(table, spacing.step), _by_channel(cells)
    series = [_series(row, readings) for row in _worst(table, total["series_count"])]
    series.sort(key=lambda entry: (-entry.faults, entry.name))
    numbers, correlations, by_series = _values(readings, [entry.name for entry in series] if total["series_count"] > 1 else [])
    words = commonest_words(readings.good, [name for name, channel in columns.items() if channel.kind == "category"])
    channels = tuple(
        _channel(channel, total["readings"], by_channel.get(index), numbers.get(channel.name), words.get(name))
        for index, (name, channel) in enumerate(columns.items())
    )
    outliers = sum(entry.outliers for entry in numbers.values())
    outliers_of = {entry.name: entry.outliers for entry in by_series} or {entry.name: outliers for entry in series}
    return Findings(
        overall=replace(
            _series(total, readings),
            constant=tuple(entry.name for entry in channels if entry.constant),
            empty=tuple(entry.name for entry in channels if not entry.present),
            outliers=outliers,
        ),
        series_count=total["series_count"],
        **{flag: total[flag] for flag in FLAGS},
        other_step=total["other_step"],
        series=tuple(replace(entry, outliers=outliers_of.get(entry.name)) for entry in series),
        gaps=intervals.longest_gaps(spacing, WORST),
        bad=_bad(readings),
        channels=channels,
        correlations=correlations,
        by_series=by_series,
    )


def _values(readings: Readings, series: list[str]) -> tuple[dict[str, Numbers], Correlations, tuple[SeriesValues, ...]]:
    """The values of channels of numbers: of all series together, and of the first of `series` each by itself."""
    numeric = {f"value_{index}": channel.name for index, channel in enumerate(readings.channels) if channel.kind != "category"}
    whole = {f"value_{index}" for index, channel in enumerate(readings.channels) if channel.kind == "count"}
    alone = series[: max(1, ALONE // max(1, len(numeric)))]
    outlined = outlines(readings.good, list(numeric), alone)
    together, *each = numbers_and_correlations(readings.good, outlined, alone, whole, numeric)
    by_series = tuple(
        SeriesValues(name, numbers, correlations if place < MATRICES else None)
        for place, (name, (numbers, correlations)) in enumerate(zip(alone, each, strict=True))
    )
    return *together, by_series


def _persist(frame: DataFrame, stack: ExitStack) -> DataFrame:
    """The frame, computed once, until `kept` is closed."""
    stack.callback(frame.persist(StorageLevel.MEMORY_AND_DISK).unpersist)
    return frame


def _cells(readings: Readings) -> DataFrame:
    """A row for each series and channel: channel (int), bad (rows of the series), present, and low and high, the lowest and the
    highest hash of its values: equal where all values are, be they numbers or words."""
    good = F.col("reason").isNull()
    hashes = []
    for index in range(len(readings.channels)):
        value = F.col(f"value_{index}")
        hashes.append(F.when(good & value.isNotNull(), F.xxhash64(value)))
    # A row for each value, rather than some aggregates for each channel: Spark compiles no code for hundreds of them.
    hashes_by_channel = F.posexplode(F.array(*hashes)).alias("channel", "hash")
    values = readings.checked.where(F.col("series").isNotNull()).select("series", good.alias("good"), hashes_by_channel)
    return values.groupBy("series", "channel").agg(
        F.count(F.when(~F.col("good"), True)).alias("bad"),
        F.count("hash").alias("present"),
        F.min("hash").alias("low"),
        F.max("hash").alias("high"),
    )


def _series_table(cells: DataFrame, channels: int, spacing: intervals.Intervals, grid: GridSpec) -> DataFrame:
    """A row for each series: what `intervals.by_series` gives, bad rows, missing values, and channels without two values."""
    counts = cells.groupBy("series").agg(
        F.max("bad").alias("bad"),
        F.sum("present").alias("present"),
        F.sort_array(F.collect_list(F.when(F.expr(CONSTANT), F.col("channel")))).alias("constant"),
        F.sort_array(F.collect_list(F.when(F.expr(EMPTY), F.col("channel")))).alias("empty"),
    )
    # A series of bad rows alone has no times.
    absent = {name: 0 for name in SUMS if name not in ("bad", "missing", "out_of_order")}
    table = counts.join(intervals.by_series(spacing, grid), "series", "left").fillna(absent)
    return table.withColumn("missing", F.col("readings") * channels - F.col("present"))


def _total(table: DataFrame, step: int | None) -> dict[str, Any]:
    """All series added up, as one row of the table, with counts of series."""
    row = table.agg(
        F.count(F.lit(1)).alias("series_count"),
        F.min("first").alias("first"),
        F.max("last").alias("last"),
        F.max("longest_gap").alias("longest_gap"),
        F.max("furthest_back").alias("furthest_back"),
        F.count(F.when(F.col("step") != F.lit(step), True)).alias("other_step"),
        *(F.sum(name).alias(name) for name in SUMS),
        *(F.count(F.when(F.expr(condition), True)).alias(flag) for flag, condition in FLAGS.items()),
    ).first()
    assert row is not None, "an aggregate without groups has a row"
    # A source without a row has no series to add up.
    total = {name: value or 0 if name in SUMS and name != "out_of_order" else value for name, value in row.asDict().items()}
    return {**total, "series": "", "step": step, "constant": (), "empty": ()}


def _by_channel(cells: DataFrame) -> dict[int, Row]:
    """Index of a channel -> its values over all series, and in how many series it never changes."""
    counted = cells.groupBy("channel").agg(
        F.sum("present").alias("present"),
        F.count(F.when(F.expr(CONSTANT), True)).alias("constant"),
        F.count(F.when(F.expr(EMPTY), True)).alias("empty"),
    )
    return {row["channel"]: row for row in counted.collect()}


def _worst(table: DataFrame, count: int) -> list[Row]:
    """All series where they are few, else the worst by each fault, or just some where there is none."""
    if count <= ALL_SERIES:
        return table.collect()
    by_fault = [table.where(F.expr(fault) > 0).orderBy(F.expr(fault).desc(), "series").limit(WORST) for fault in FAULTS]
    rows = {row["series"]: row for row in reduce(DataFrame.union, by_fault).collect()}
    return list(rows.values()) or table.orderBy("series").limit(WORST).collect()


def _series(row: Row | dict[str, Any], readings: Readings) -> SeriesFindings:
    names = [channel.name for channel in readings.channels]
    return SeriesFindings(
        name=row["series"],
        **{name: row[name] for name in (*SUMS, "first", "last", "step")},
        longest_gap=intervals.gap_of(row["longest_gap"]),
        furthest_back=intervals.step_back_of(row["furthest_back"]),
        values=row["readings"] * len(names),
        constant=tuple(names[index] for index in row["constant"]),
        empty=tuple(names[index] for index in row["empty"]),
    )


def _bad(readings: Readings) -> tuple[BadRows, ...]:
    if readings.checked.where("reason is not null").isEmpty():
        return ()  # else the source would be read once more, to find none
    example = F.struct(F.coalesce("file", F.lit("")).alias("file"), F.substring("row", 1, EXAMPLE_CHARACTERS).alias("row"))
    counted = readings.bad.groupBy("reason").agg(F.count(F.lit(1)).alias("count"), F.min(example).alias("example"))
    rows = counted.orderBy(F.desc("count"), "reason").collect()
    return tuple(BadRows(row["reason"], row["count"], shown(row["example"]["file"]), row["example"]["row"]) for row in rows)


def _channel(
    channel: Channel, readings: int, counted: Row | None, numbers: Numbers | None, words: Words | None
) -> ChannelFindings:
    present, constant, empty = (counted[name] if counted else 0 for name in ("present", "constant", "empty"))
    single = (numbers is not None and numbers.lowest.value == numbers.highest.value) or (
        words is not None and words.distinct == 1
    )
    return ChannelFindings(
        name=channel.name,
        kind=channel.kind,
        present=present,
        missing=readings - present,
        constant=single,
        constant_series=constant,
        empty_series=empty,
        numbers=numbers,
        words=words,
    )
