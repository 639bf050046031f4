"""Readings on a regular time grid: Spark window functions find duplicates, gaps, stretches and positions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from prep.errors import InputError
from prep.spec import GridSpec, duration_micros


@dataclass(frozen=True)
class Grid:
    """Step k of every series is the time origin + k · step, in microseconds since the epoch."""

    origin_micros: int
    step_micros: int

    def time(self, step: int) -> str:
        """The time of a step, ISO 8601, UTC."""
        return iso(self.origin_micros + step * self.step_micros)

    def nearest(self, micros: int) -> int:
        """The step nearest to a time; the later of two."""
        return (2 * (micros - self.origin_micros) + self.step_micros) // (2 * self.step_micros)

    def step_of(self, micros: int) -> int:
        """The first step at or after a time."""
        return -((self.origin_micros - micros) // self.step_micros)


def iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None).isoformat(sep=" ")


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


def on_grid(readings: DataFrame, channels: int, grid: Grid, spec: GridSpec) -> DataFrame:
    """Each reading on its nearest step, one a step, with the stretch it belongs to.

    `readings` as in `Readings.good`. Returns series, step (long), stretch (int, counted within the series: a gap longer than
    `max_gap` starts the next), moved (boolean: the reading did not lie on its step) and values; each series in one partition,
    sorted by step. Raises InputError for two readings on a step where the spec allows none.
    """
    step = F.floor((F.col("time") - F.lit(grid.origin_micros)) / F.lit(grid.step_micros) + F.lit(0.5)).cast("long")
    off = F.col("time") != F.lit(grid.origin_micros) + step * F.lit(grid.step_micros)
    placed = readings.withColumn("step", step).withColumn("moved", off)
    in_time = Window.partitionBy("series").orderBy("step", "time", "position")
    if spec.duplicates == "error":
        _refuse_duplicates(placed, grid, in_time)
    elif spec.duplicates == "last":
        placed = placed.withColumn("_keep", ~F.lead("step").over(in_time).eqNullSafe(F.col("step")))
    else:
        if spec.duplicates == "mean":
            same_step = Window.partitionBy("series", "step")
            means = (F.avg(F.col("values")[channel]).over(same_step) for channel in range(channels))
            placed = placed.withColumn("values", F.array(*means))
        placed = placed.withColumn("_keep", ~F.lag("step").over(in_time).eqNullSafe(F.col("step")))
    if spec.duplicates != "error":
        placed = placed.where("_keep")

    by_step = Window.partitionBy("series").orderBy("step")
    apart = F.col("step") - F.lag("step").over(by_step)
    breaks = F.when(apart > most_steps_apart(grid, spec), 1).otherwise(0)
    marked = placed.withColumn("_break", breaks)
    return marked.select("series", "step", F.sum("_break").over(by_step).cast("int").alias("stretch"), "moved", "values")


def most_steps_apart(grid: Grid, spec: GridSpec) -> int:
    """How many steps two successive readings of one stretch may lie apart."""
    if spec.fill == "none":
        return 1
    return max(1, duration_micros(spec.max_gap) // grid.step_micros if spec.max_gap else 3)


def _refuse_duplicates(placed: DataFrame, grid: Grid, in_time: Window) -> None:
    again = F.lag("step").over(in_time).eqNullSafe(F.col("step"))
    twice = placed.withColumn("_again", again).where("_again")
    first = twice.orderBy("series", "step").first()
    if first is not None:
        raise InputError(
            f"series {first['series']!r} has {twice.count():,} readings on steps that already have one, the first at "
            f"{grid.time(first['step'])}; say what to do with them: --grid.duplicates first, last or mean"
        )
