"""`append`: new readings join a dataset, with the scaling, the splits and the words that it has, and nothing of it is written
again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import reduce
from operator import or_
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from hindcast.prep.dataset.columns import coded, columns_of
from hindcast.prep.dataset.manifest import OUTSIDE, Manifest
from hindcast.prep.dataset.sequence_dataset import SequenceDataset, read_manifest
from hindcast.prep.errors import InputError
from hindcast.prep.files.names import PETASTORM
from hindcast.prep.files.targets import fetched, placed
from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.splits import Border, border
from hindcast.prep.grid.steps import step_of
from hindcast.prep.pipeline import Source, counts_of, joined_sources, load, plan_of, refuse_duplicates, setting_aside
from hindcast.prep.sequences.chunks import KEPT, NO_SEAM, READINGS, Plan
from hindcast.prep.sequences.overflow import refuse_overflow
from hindcast.prep.sequences.work import worked
from hindcast.prep.spec import ReadingsSpec


def append(
    spark: SparkSession,
    path: str | Path,
    source: str | Sequence[str] | DataFrame,
    *,
    joins: Sequence[DataFrame] | None = None,
    on_stage: Callable[[str], None] = lambda text: None,
) -> SequenceDataset:
    """Adds readings to the dataset at `path`, or under a URI: files of the kind that it was made from, or a DataFrame of the same
    columns.

    Where no column names series, the readings are of the dataset's one series, however the files are called. Of a series that
    the dataset has, readings count that come after its last; earlier ones are left out and counted as late.
    Windows across the seam are added, and none is added twice. The split that reached to the end of the readings goes on. A
    series that is new is scaled like all together. What was in the dataset stays in its files, byte for byte.

    Raises InputError as `prepare` does; then the dataset is as it was.
    """
    dataset = SequenceDataset.open(path)
    before = dataset.manifest
    if not before.tail:
        raise InputError(f"{path}: was written by an earlier Hindcast, and does not say where its series end. Prepare it again")
    frame = source if isinstance(source, DataFrame) else None
    paths = () if frame is not None else (source,) if isinstance(source, str) else tuple(source)
    readings_spec = ReadingsSpec.model_validate(before.spec.readings.model_dump() | {"path": paths, "table": None})
    spec = before.spec.model_copy(update={"readings": readings_spec})
    on_stage("reading")
    grid = Grid(before.origin_micros, before.step_micros)
    new = load(spark, spec, frame, joins, grid, before.spec.readings.only_series)
    _must_fit(new, before)
    return setting_aside(new, lambda part: _append(dataset, part, on_stage), on_stage)


def _append(dataset: SequenceDataset, new: Source, on_stage: Callable[[str], None]) -> SequenceDataset:
    before, spec, grid = dataset.manifest, new.spec, new.grid
    spark = new.readings.checked.sparkSession
    span = max(before.span, new.span)
    borders = _longer(before, grid, span)
    columns = columns_of(new.readings, spec, borders, before.series, grid, new.attributes, before)
    plan, cut = plan_of(spec, columns, grid, borders, before.series, before.layout, appends=True)
    on_stage("grid, gaps and the seam")
    with ExitStack() as stack:
        tail = _tail(spark, stack.enter_context(fetched(dataset.location, before.tail)))
        later, late = _later(coded(new.readings.good, columns), tail, plan)
        sources = {READINGS: later, KEPT: _last_steps(tail, plan), **joined_sources(new)}
        work = stack.enter_context(worked(sources, plan, cut, new.rows))
        refuse_duplicates(spec, grid, work.ledger)
        refuse_overflow(work, columns.names, (before.scaling, before.covariate_scaling))
        refuse_overflow(work, columns.names)
        counts = counts_of(new, work.ledger, columns, borders)
        counts[OUTSIDE]["readings_late"] = late
        after = before.model_copy(
            update={
                "span": span,
                "borders": borders,
                "labels": columns.labels,
                "readings": (*before.readings, spec.readings.name),
                "counts": _summed(before, counts),
            }
        )
        on_stage("writing rows")
        with placed(dataset.location, True, _unchanged(before)) as target:
            target.keep((*(part.path for part in before.parts), *before.quarantine))
            work.write(after, columns.of_series, target.folder, new.readings.bad if new.bad_rows else None)
            if not (target.folder / PETASTORM).exists():  # there was no row to add
                target.keep((PETASTORM,))
    return SequenceDataset.open(dataset.location)


def _must_fit(new: Source, before: Manifest) -> None:
    """Raises InputError where the new readings have other channels than the dataset."""
    theirs = [channel.name for channel in new.readings.channels]
    ours = [channel.name for channel in before.channels]
    if theirs != ours:
        raise InputError(
            f"{new.spec.readings.name}: expected the dataset's channels {', '.join(ours)}, found {', '.join(theirs)}"
        )


def _longer(before: Manifest, grid: Grid, span: int) -> dict[str, Border]:
    """The borders, with those moved to the new end that lay at the end before."""
    return {
        split: border(grid, old.start, span) if old.stop == before.span and old.stop > old.start else old
        for split, old in before.borders.items()
    }


def _unchanged(before: Manifest) -> Callable[[str | Path], None]:
    """A check for `placed`: what was appended to meanwhile is not replaced."""

    def check(location: str | Path) -> None:
        if read_manifest(str(location)).model_dump_json() != before.model_dump_json():
            raise InputError(f"{location}: was changed by another writer meanwhile. Append the readings again")

    return check


def _tail(spark: SparkSession, files: list[str]) -> DataFrame:
    """The last steps of each series as they were on the grid. Several pieces may be a series' last: the one with the last seam
    is.
    """
    tail = spark.read.parquet(*files)
    last = F.max("seam").over(Window.partitionBy("series"))
    return tail.withColumn("last", last).where("seam = last").drop("last")


def _later(readings: DataFrame, tail: DataFrame, plan: Plan) -> tuple[DataFrame, int]:
    """The readings after the last of their series, with its seam, and how many are not."""
    ends = tail.groupBy("series").agg(F.max("step").alias("end"), F.max("seam").alias("seam"))
    step = step_of(plan.grid, bool(plan.rules.aggregate))
    joined = readings.join(ends, "series", "left").withColumn("seam", F.coalesce("seam", F.lit(NO_SEAM)))
    placed = joined.withColumn("late", F.coalesce(step <= F.col("end"), F.lit(False)))
    return placed.where(~F.col("late")).drop("end", "late"), placed.where("late").count()


def _last_steps(tail: DataFrame, plan: Plan) -> DataFrame:
    """The last steps as `hindcast.prep.sequences.chunks.pieces` takes them; those on which nothing was measured are holes."""
    own = plan.channels + plan.labels
    names = [f"c{column}" for column in range(own)]
    covariates = (F.col(f"k{column}").alias(f"c{own + column}") for column in range(plan.covariates))
    measured = reduce(or_, (~F.isnan(name) for name in names))
    time = (F.lit(plan.grid.origin_micros) + F.col("step") * plan.grid.step_micros).alias("time")
    return tail.where(measured).select("series", time, "seam", *names, *covariates)


def _summed(before: Manifest, counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    summed = {split: Counter(before.counts[split]) for split in before.counts}
    for split, more in counts.items():
        summed[split].update({name: count for name, count in more.items() if name != "series"})
        # Of the series that were appended to, most were there.
        summed[split]["series"] = max(summed[split]["series"], more.get("series", 0))
    return {split: dict(total) for split, total in summed.items()}
