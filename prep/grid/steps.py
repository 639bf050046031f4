"""The grid that readings lie on, found by Spark, or by NumPy where they are few; and the step of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
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


@dataclass(frozen=True)
class Times:
    """Readings that are at hand: series (readings,) object and time (readings,) int64, microseconds since the epoch, UTC."""

    series: np.ndarray
    time: np.ndarray


def at_hand(readings: DataFrame) -> Times:
    """The times of few readings, for one job instead of two for every question."""
    table = readings.select("series", "time").toPandas()
    return Times(table["series"].to_numpy(), table["time"].to_numpy())


def infer_step(readings: DataFrame | Times) -> int:
    """The commonest interval between successive readings of a series, in microseconds; of equally common ones the shortest."""
    step = _commonest_here(_intervals_here(readings)) if isinstance(readings, Times) else _commonest(_intervals(readings))
    if step is None:
        raise InputError("no series has two readings at different times, so no step can be inferred: give it with grid.step")
    return step


def lay_grid(readings: DataFrame | Times, first: int, step: int) -> Grid:
    """The grid on which most readings lie, with its step 0 nearest to the `first` (microseconds since the epoch)."""
    if isinstance(readings, Times):
        phase = _commonest_here(readings.time % step)
    else:
        phase = _commonest(readings.select(F.pmod(F.col("time"), F.lit(step)).alias("found")))
    assert phase is not None, "there is a reading"
    aligned = Grid(phase, step)
    return Grid(aligned.origin_micros + aligned.nearest(first) * step, step)


def _intervals(readings: DataFrame) -> DataFrame:
    interval = F.col("time") - F.lag("time").over(Window.partitionBy("series").orderBy("time"))
    return readings.select(interval.alias("found")).where("found > 0")


def _intervals_here(readings: Times) -> np.ndarray:
    names = np.unique(readings.series, return_inverse=True)[1]
    order = np.lexsort([readings.time, names])
    intervals = np.diff(readings.time[order])
    return intervals[(intervals > 0) & (np.diff(names[order]) == 0)]


def _commonest(rows: DataFrame) -> int | None:
    """The commonest number in the column `found`; of equally common ones the least."""
    row = rows.groupBy("found").count().orderBy(F.desc("count"), "found").first()
    return None if row is None else int(row["found"])


def _commonest_here(numbers: np.ndarray) -> int | None:
    distinct, counts = np.unique(numbers, return_counts=True)
    return int(distinct[counts.argmax()]) if len(distinct) else None
