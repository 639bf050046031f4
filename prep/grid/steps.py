"""The grid that readings lie on, found by Spark window functions, and the step of each."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from hindcast.prep.errors import InputError
from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.splits import Border


def step_of(grid: Grid, aggregate: bool) -> Column:
    """The step of a reading at `time`: the one whose bin it is in where readings are aggregated, otherwise the nearest."""
    share = 0.0 if aggregate else 0.5
    return F.floor((F.col("time") - F.lit(grid.origin_micros)) / F.lit(grid.step_micros) + F.lit(share)).cast("long")


def split_at(grid: Grid, aggregate: bool, borders: Mapping[str, Border]) -> Column:
    """The split that a reading at `time` lies in; null outside of all."""
    step, split = step_of(grid, aggregate), F.lit(None).cast("string")
    for name, border in borders.items():
        split = F.when((step >= border.start) & (step < border.stop), F.lit(name)).otherwise(split)
    return split


def infer_step(readings: DataFrame) -> int:
    """The commonest interval between successive readings of a series, in microseconds; of equally common ones the shortest."""
    interval = F.col("time") - F.lag("time").over(Window.partitionBy("series").orderBy("time"))
    commonest = (
        readings.select(interval.alias("interval"))
        .where("interval > 0")
        .groupBy("interval")
        .count()
        .orderBy(F.desc("count"), "interval")
        .first()
    )
    if commonest is None:
        raise InputError("no series has two readings at different times, so no step can be inferred: give it with grid.step")
    return int(commonest["interval"])


def lay_grid(readings: DataFrame, first: int, step: int) -> Grid:
    """The grid on which most readings lie, with its step 0 nearest to the `first` (microseconds since the epoch)."""
    phase = F.pmod(F.col("time"), F.lit(step)).alias("phase")
    commonest = readings.groupBy(phase).count().orderBy(F.desc("count"), "phase").first()
    assert commonest is not None, "there is a reading"
    aligned = Grid(commonest["phase"], step)
    return Grid(aligned.origin_micros + aligned.nearest(first) * step, step)
