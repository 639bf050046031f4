"""`prepare`: the way from readings to a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from hindcast.prep.dataset.columns import Columns, coded, columns_of
from hindcast.prep.dataset.layout import Layout, best_windows_per_row
from hindcast.prep.dataset.manifest import FORMAT, OUTSIDE, VERSION, Manifest
from hindcast.prep.dataset.sequence_dataset import SequenceDataset, must_be_dataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.targets import placed, refuse_taken
from hindcast.prep.grid.filling import fills_of
from hindcast.prep.grid.gaps import most_steps_apart
from hindcast.prep.grid.grid import Grid, bins
from hindcast.prep.grid.resampling import order_matters, rules_of
from hindcast.prep.grid.splits import SPLITS, Border, SeriesSplit, assign
from hindcast.prep.grid.splits import borders as borders_of
from hindcast.prep.grid.steps import at_hand, infer_step, lay_grid, split_at
from hindcast.prep.readings import loading as readings_
from hindcast.prep.readings.joins import load_attributes, load_join
from hindcast.prep.readings.loading import Readings
from hindcast.prep.readings.sources import seen_by_all
from hindcast.prep.scaling.affine import Affine, AffineOfEach, Moments, Scaling, affine, merge
from hindcast.prep.scaling.bounds import Bounds
from hindcast.prep.scaling.quantiles import quartiles
from hindcast.prep.sequences.chunks import READINGS, Plan, chunk_steps
from hindcast.prep.sequences.ledger import Ledger
from hindcast.prep.sequences.overflow import BeyondFloat32Error, refuse_overflow
from hindcast.prep.sequences.segments import Cut
from hindcast.prep.sequences.work import Work, worked
from hindcast.prep.spec import Spec, duration_micros

# Enough to tell the commonest interval, and the grid that most readings lie on.
INFERRED_FROM = 5_000_000
# So many are sooner looked at here than by Spark.
FEW_READINGS = 100_000
# So often readings are set aside by a scaling that was found without those before: each time the source is read once more.
MOST_ROUNDS = 5


def prepare(
    spark: SparkSession,
    spec: Spec,
    out: str | Path,
    *,
    readings: DataFrame | None = None,
    joins: Sequence[DataFrame] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda text: None,
) -> SequenceDataset:
    """Turns the readings that `spec` names into a dataset at `out`: a directory that Spark and this process both see, or a URI
    that fsspec opens (`s3://…`), for which Spark writes into such a directory first (HINDCAST_STAGING, or the temporary one).

    `readings`, and `joins` in the order of the spec's, may be given as they are where the spec names no path for them. `on_stage`
    is told what is being done. Raises InputError for anything in the spec or the readings that cannot be used; then `out` is as
    it was.
    """
    if spec.split.origins > 1:
        raise InputError("split.origins: several origins make several datasets; prepare them with `prepare_origins`")
    refuse_taken(str(out), overwrite, must_be_dataset)
    on_stage("reading")
    source = load(spark, spec, readings, joins)
    return write(source, str(out), overwrite, on_stage, origin=0)


@dataclass(frozen=True)
class Source:
    """Readings that were looked at once: whatever does not depend on where the splits lie.

    span    steps of the grid from the first reading to the last
    bounds  what its readings are within
    again   reads it once more, within other bounds
    """

    spec: Spec
    readings: Readings
    joined: tuple[DataFrame, ...]
    attributes: dict[str, tuple[str | None, ...]]
    grid: Grid
    span: int
    rows: int
    bad_rows: int
    bounds: Bounds
    again: Callable[[Bounds], Source]


def load(
    spark: SparkSession,
    spec: Spec,
    frame: DataFrame | None,
    joins: Sequence[DataFrame] | None,
    grid: Grid | None = None,
    only_series: str | None = None,
    bounds: Bounds = Bounds(),
) -> Source:
    """Opens and surveys what a spec names: on `grid`, and as `only_series` where no column names series, if they are known. What
    is beyond the `bounds` is a bad row.

    Raises InputError for bad rows that the spec does not allow."""
    again = partial(load, spark, spec, frame, joins, grid, only_series)
    from_readings = () if spec.attributes.path or spec.attributes.table else spec.attributes.values
    ordered = order_matters(spec.readings, spec.grid)
    readings = readings_.load(
        spark, spec.readings, attributes=from_readings, frame=frame, ordered=ordered, only_series=only_series, bounds=bounds
    )
    good = F.col("reason").isNull()
    surveyed = readings.checked.agg(
        F.count(F.when(good, True)).alias("rows"),
        F.count(F.when(~good, True)).alias("bad"),
        F.min(F.when(good, F.col("time"))).alias("first"),
        F.max(F.when(good, F.col("time"))).alias("last"),
    )
    with seen_by_all(spec.readings.name):
        totals = surveyed.first()
    assert totals is not None
    if totals["bad"] and spec.readings.bad_rows == "error":
        raise readings_.explain(readings.bad, spec.readings, totals["bad"])
    if not totals["rows"]:
        raise InputError(f"{spec.readings.name}: there is no reading in it; a header and at least one row were expected")
    grid = grid or _grid(spec, readings, totals["rows"], totals["first"], totals["last"])
    last = (totals["last"] - grid.origin_micros) // grid.step_micros if spec.grid.aggregate else grid.nearest(totals["last"])
    joined = []
    for number, join in enumerate(spec.joins):
        good_rows, bad_rows = load_join(spark, join, readings, frame=joins[number] if joins else None)
        bad = bad_rows.count()
        if bad:
            raise readings_.explain(bad_rows, join, bad)
        joined.append(good_rows)
    attributes = load_attributes(spark, spec.attributes, spec.readings, readings) if spec.attributes.values else {}
    return Source(spec, readings, tuple(joined), attributes, grid, last + 1, totals["rows"], totals["bad"], bounds, again)


def _grid(spec: Spec, readings: Readings, rows: int, first: int, last: int) -> Grid:
    """The grid that a spec gives, or that the readings lie on, by the first share of the time that they span."""
    share = min(1.0, INFERRED_FROM / rows)
    sample = readings.good.where(F.col("time") <= first + round(share * (last - first)))
    fixed = duration_micros(spec.grid.step) if spec.grid.step else None
    if fixed and spec.grid.aggregate:
        return bins(first, fixed)
    times = at_hand(sample) if rows <= FEW_READINGS else sample
    step = fixed or infer_step(times)
    return bins(first, step) if spec.grid.aggregate else lay_grid(times, first, step)


def write(source: Source, out: str, overwrite: bool, on_stage: Callable[[str], None], origin: int) -> SequenceDataset:
    """Writes the dataset of one origin."""
    return setting_aside(source, lambda some: _write(some, out, overwrite, on_stage, origin), on_stage)


def setting_aside(source: Source, use: Callable[[Source], SequenceDataset], on_stage: Callable[[str], None]) -> SequenceDataset:
    """What `use` makes of a source: without the readings that it finds to be beyond float32, where bad rows are set aside.

    Raises the BeyondFloat32Error of `use` where they are not, where no reading by itself is at fault but a joined value or a sum,
    and where there are ever more of them.
    """
    for _ in range(MOST_ROUNDS):
        try:
            return use(source)
        except BeyondFloat32Error as error:
            if error.scaling is None or source.spec.readings.bad_rows == "error":
                raise
            on_stage("setting aside what is not finite in float32 once it is scaled")
            anew = source.again(Bounds((*source.bounds.scalings, error.scaling)))
            if anew.bad_rows == source.bad_rows:
                raise
            source = anew
    return use(source)


def _write(source: Source, out: str, overwrite: bool, on_stage: Callable[[str], None], origin: int) -> SequenceDataset:
    spec, grid = source.spec, source.grid
    borders = borders_of(spec.split, grid, source.span, origin)
    series = assign(spec.split, _series(source.readings)) if spec.split.by == "series" else None
    columns = columns_of(source.readings, spec, borders, series, grid, source.attributes)
    layout_spec = spec.windows
    layout = Layout(
        context=layout_spec.context,
        horizon=layout_spec.horizon,
        lead=layout_spec.lead,
        stride=layout_spec.stride,
        windows_per_row=layout_spec.windows_per_row or 1,
    )
    plan, cut = plan_of(spec, columns, grid, borders, series, layout)
    sources = {READINGS: coded(source.readings.good, columns), **joined_sources(source)}
    on_stage("grid, gaps and the statistics of the training split")
    with worked(sources, plan, cut, source.rows) as work:
        ledger = work.ledger
        refuse_duplicates(spec, grid, ledger)
        refuse_empty_splits(spec, borders, ledger, layout, grid)
        refuse_overflow(work, columns.names)
        if layout_spec.windows_per_row is None:
            layout = layout.model_copy(update={"windows_per_row": best_windows_per_row(layout, ledger.runs, plan.channels)})
        scaling, covariate_scaling = _scalings(spec, columns, work)
        refuse_overflow(work, columns.names, (scaling, covariate_scaling))
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            spec=spec,
            channels=columns.channels,
            covariates=columns.covariates,
            labels=columns.labels,
            attributes=columns.attributes,
            step_micros=grid.step_micros,
            origin_micros=grid.origin_micros,
            span=source.span,
            borders=borders,
            series=series,
            layout=layout,
            scaling=scaling,
            covariate_scaling=covariate_scaling,
            readings=(spec.readings.name,),
            parts=(),
            counts=counts_of(source, ledger, columns, borders),
            digests={},
            versions={name: version(name) for name in ("hindcast", "pyspark", "petastorm", "pyarrow", "numpy")},
        )
        on_stage("writing rows")
        with placed(out, overwrite, must_be_dataset) as target:
            quarantine = source.readings.bad if source.bad_rows else None
            work.write(manifest, columns.of_series, target.folder, quarantine)
    return SequenceDataset.open(out)


def joined_sources(source: Source) -> dict[int, DataFrame]:
    """The joined tables, numbered from 1, as `hindcast.prep.sequences.chunks.pieces` takes them."""
    return {
        number: frame.select("series", "time", *(F.col(f"value_{i}").alias(f"c{i}") for i in range(len(join.values))))
        for number, (frame, join) in enumerate(zip(source.joined, source.spec.joins, strict=True), start=1)
    }


def plan_of(
    spec: Spec,
    columns: Columns,
    grid: Grid,
    borders: dict[str, Border],
    series: SeriesSplit | None,
    layout: Layout,
    *,
    appends: bool = False,
) -> tuple[Plan, Cut]:
    """How readings become pieces, and pieces segments."""
    kinds = [channel.kind for channel in columns.channels]
    cut = Cut(
        borders={split: (border.start, border.stop) for split, border in borders.items()},
        series=series,
        fill=fills_of(spec.grid, kinds),
        most_apart=most_steps_apart(grid, spec.grid),
        layout=layout,
        min_observed=spec.windows.min_observed,
    )
    labels = len(columns.labels)
    rules = rules_of(spec.grid, [channel.name for channel in columns.channels], kinds, labels)
    joined = tuple(len(join.values) for join in spec.joins)
    plan = Plan(
        grid=grid,
        rules=rules,
        chunk=chunk_steps(len(kinds) + labels + sum(joined), cut.halo),
        channels=len(kinds),
        labels=labels,
        joined=joined,
        tolerance=tuple(duration_micros(join.tolerance) for join in spec.joins),
        halo=cut.halo,
        most_apart=cut.most_apart,
        ordered=order_matters(spec.readings, spec.grid),
        appends=appends,
    )
    return plan, cut


def _series(readings: Readings) -> list[str]:
    return [row["series"] for row in readings.keys.select("series").collect()]


def refuse_duplicates(spec: Spec, grid: Grid, ledger: Ledger) -> None:
    """Raises InputError for two readings on a step where the spec allows none."""
    if spec.grid.duplicates == "error" and ledger.duplicate is not None:
        series, step = ledger.duplicate
        count = sum(counts["readings_duplicate"] for counts in ledger.counts.values())
        where = "of a time that already has one" if spec.grid.aggregate else "on steps that already have one"
        more = "" if spec.grid.aggregate else "; to make one of the readings within a longer step: --grid.aggregate mean"
        raise InputError(
            f"series {series!r} has readings {where}, the first at {grid.time(step)} ({count:,} of all series); "
            f"say what to do with them: --grid.duplicates first, last or mean{more}"
        )


def refuse_empty_splits(spec: Spec, borders: dict[str, Border], ledger: Ledger, layout: Layout, grid: Grid) -> None:
    """Raises InputError where a split that was asked for has no window."""
    for split in SPLITS:
        extent = getattr(spec.split, split)
        wanted = split == "train" or (bool(extent) if spec.split.by == "series" else borders[split].stop > borders[split].start)
        if wanted and not ledger.counts.get(split, Counter())["windows"]:
            share = f", {spec.windows.min_observed:g} of it measured" if spec.windows.min_observed else ""
            raise InputError(
                f"{split}: no segment is long enough for a window of context {layout.context} + lead {layout.lead} + horizon "
                f"{layout.horizon} = {layout.window} steps{share}; the longest has {ledger.longest.get(split, 0)} (from "
                f"{borders[split].start_time} to {borders[split].stop_time}, step {grid.step_micros / 1e6:g} s). Shorten "
                "windows.context or windows.horizon, lengthen the split, or fill longer gaps with grid.max_gap"
            )


def _scalings(spec: Spec, columns: Columns, work: Work) -> tuple[Scaling, Scaling]:
    """Of the channels, and of the joined covariates."""
    by_series = work.ledger.of_series()
    groups: dict[str, Moments] = {"": merge(by_series.values())}
    if spec.scaling.per == "series":
        groups |= by_series
        unseen = sorted({name for names in work.ledger.series.values() for name in names} - {*by_series})
        if unseen and spec.scaling.unseen == "error":
            raise InputError(
                f"series {unseen[0]!r} has no reading in the training split to be scaled by ({len(unseen)} series have none); "
                "scale them like all others: --scaling.unseen global"
            )
    scaled, statistics = columns.scaled, Moments.stacked(groups.values())
    quartiles_of_each = np.zeros((3, *statistics.mean.shape))
    if spec.scaling.method == "robust":
        of_each = quartiles(lambda wanted: work.tally(wanted, spec.scaling.per == "series"))
        for place, group in enumerate(groups):
            for column in range(len(scaled)):
                quartiles_of_each[:, place, column] = of_each.get((group, column), 0.0)  # nothing was measured of it

    def scaling(part: slice) -> Scaling:
        centre, scale = affine(spec.scaling.method, statistics.of(part), quartiles_of_each[..., part], scaled[part])
        overall = Affine(centre=tuple(centre[0].tolist()), scale=tuple(scale[0].tolist()))
        names = [*groups][1:] if len(overall.centre) else []
        return Scaling(
            method=spec.scaling.method,
            overall=overall,
            by_series=AffineOfEach.of(names, centre[1:], scale[1:]),
        )

    channels = len(columns.channels)
    return scaling(slice(None, channels)), scaling(slice(channels, None))


def counts_of(source: Source, ledger: Ledger, columns: Columns, borders: dict[str, Border]) -> dict[str, dict[str, int]]:
    """What is stated of each split, and of what belongs to none."""
    counts = {split: dict(ledger.counts.get(split, {})) for split in (*SPLITS, OUTSIDE)}
    for split in SPLITS:
        counts[split]["series"] = len(ledger.series.get(split, ()))
        counts[split]["values_of_unknown_category"] = columns.unknown[split]
    for split, rows in _quarantined(source, borders).items():
        counts[split]["rows_quarantined"] = rows
    return counts


def _quarantined(source: Source, borders: dict[str, Border]) -> dict[str, int]:
    """How many bad rows lie in each split by their time; those whose time or series is not understood lie outside."""
    if not source.bad_rows:
        return {}
    in_time = borders if source.spec.split.by == "time" else {}
    split = F.coalesce(split_at(source.grid, source.spec.grid.aggregate is not None, in_time), F.lit(OUTSIDE))
    counted = source.readings.bad.groupBy(split.alias("split")).count().collect()
    return {row["split"]: row["count"] for row in counted}
