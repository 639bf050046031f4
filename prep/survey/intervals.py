"""Where the readings of a series lie in time: intervals, gaps, duplicates, and whether they stand in order."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from hindcast.prep.spec import GridSpec, duration_micros
from hindcast.prep.survey.findings import Gap, StepBack

DEFAULT_MAX_GAP = 3
"""Steps that readings may lie apart where the settings do not say."""


@dataclass(frozen=True)
class Intervals:
    """`lengths` has a row for each series and length of interval; `step` is the commonest length of all, None without any."""

    lengths: DataFrame
    step: int | None


def intervals(good: DataFrame, channels: int, ordered: bool, parts: int) -> DataFrame:
    """The intervals between successive readings, counted: one shuffle of series, time, position and a hash of the values.

    Returns series, interval (long, 0 for a duplicate, null for the first reading of a series), readings (how many come after such
    an interval), time and last (of the first and the last of them), repeats, and, of readings out of order, back (how many),
    furthest (microseconds) and furthest_time; those three are null where the order is not known.
    """
    values = F.xxhash64(*(F.col(f"value_{index}") for index in range(channels))).alias("hash")
    position = F.col("position").cast("long") if ordered else F.lit(None).cast("long")
    # As many parts as the source has: this is kept, and what is kept does not shrink to its size by itself.
    narrow = good.select("series", "time", position.alias("position"), values).repartition(parts, "series")
    # Ordered by what they say, equal readings at one time stand beside each other, whatever their order in the files.
    in_time = Window.partitionBy("series").orderBy("time", "hash")
    in_file = Window.partitionBy("series").orderBy("position")
    interval = F.col("time") - F.lag("time").over(in_time)
    repeat = (interval == 0) & (F.col("hash") == F.lag("hash").over(in_time))
    back = F.lag("time").over(in_file) - F.col("time") if ordered else F.lit(None).cast("long")
    marked = narrow.select("series", "time", interval.alias("interval"), repeat.alias("repeat"), back.alias("back"))
    backwards = F.when(F.col("back") > 0, F.col("back"))
    return marked.groupBy("series", "interval").agg(
        F.count(F.lit(1)).alias("readings"),
        F.min("time").alias("time"),
        F.max("time").alias("last"),
        F.count(F.when(F.col("repeat"), True)).alias("repeats"),
        (F.count(backwards) if ordered else F.lit(None).cast("long")).alias("back"),
        F.max(backwards).alias("furthest"),
        F.max_by("time", backwards).alias("furthest_time"),
    )


def commonest(lengths: DataFrame) -> int | None:
    """The commonest interval longer than nothing, in microseconds; of equally common ones the shortest."""
    counted = lengths.where("interval > 0").groupBy("interval").agg(F.sum("readings").alias("readings"))
    first = counted.orderBy(F.desc("readings"), "interval").first()
    return None if first is None else int(first["interval"])


def by_series(spacing: Intervals, grid: GridSpec) -> DataFrame:
    """A row for each series, with the columns that `SeriesFindings` names; `gap_of` and `step_back_of` read its structs."""
    interval, readings, step = F.col("interval"), F.col("readings"), F.col("step")
    gap = _is_gap()
    missing = F.round(interval / step).cast("long") - 1
    split = _is_split(spacing.step, grid)
    return (
        _with_step(spacing.lengths)
        .groupBy("series")
        .agg(
            F.sum("readings").alias("readings"),
            F.min("time").alias("first"),
            F.max("last").alias("last"),
            F.max("step").alias("step"),
            _total(interval > 0, readings).alias("intervals"),
            _total(interval == step, readings).alias("on_step"),
            _total(gap, readings).alias("gaps"),
            _total(gap, readings * missing).alias("steps_missing"),
            F.max(F.when(gap, F.struct("interval", (-F.col("time")).alias("earlier"), "series"))).alias("longest_gap"),
            _total(split, readings).alias("splits"),
            _total(interval == 0, readings).alias("duplicates"),
            F.sum("repeats").alias("repeats"),
            F.sum("back").alias("out_of_order"),
            F.max(F.when(F.col("furthest") > 0, F.struct("furthest", "furthest_time", "series"))).alias("furthest_back"),
        )
    )


def longest_gaps(spacing: Intervals, most: int) -> tuple[Gap, ...]:
    """The longest gaps of all series, the longest first."""
    gaps = _with_step(spacing.lengths).where(_is_gap())
    return tuple(
        Gap(row["series"], row["time"] - row["interval"], row["time"], row["readings"])
        for row in gaps.orderBy(F.desc("interval"), "time", "series").take(most)
    )


def gap_of(longest: Row | None) -> Gap | None:
    return None if longest is None else Gap(longest["series"], -longest["earlier"] - longest["interval"], -longest["earlier"])


def step_back_of(furthest: Row | None) -> StepBack | None:
    return None if furthest is None else StepBack(furthest["series"], furthest["furthest_time"], furthest["furthest"])


def _with_step(lengths: DataFrame) -> DataFrame:
    """With the commonest interval of each series; `lengths` lie together by series already."""
    candidate = F.when(F.col("interval") > 0, F.struct("readings", (-F.col("interval")).alias("shortest")))
    step = -F.max(candidate).over(Window.partitionBy("series"))["shortest"]
    return lengths.withColumn("step", step)


def _is_gap() -> Column:
    return 2 * F.col("interval") >= 3 * F.col("step")


def _is_split(commonest_step: int | None, grid: GridSpec) -> Column:
    """Whether the grid would start another stretch after such an interval, as far as intervals alone can tell."""
    step = duration_micros(grid.step) if grid.step else commonest_step
    if step is None:
        return F.lit(False)
    longest = max(1, duration_micros(grid.max_gap) // step) if grid.max_gap else DEFAULT_MAX_GAP
    most = 1 if grid.fill == "none" else longest
    return F.round(F.col("interval") / F.lit(step)) > most


def _total(where: Column, of: Column) -> Column:
    return F.sum(F.when(where, of).otherwise(0))
