"""`prepare`: the way from readings to a dataset."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from prep import readings as readings_
from prep.dataset import FORMAT, SPLITS, VERSION, Border, Manifest, Part, SequenceDataset, must_be_dataset
from prep.errors import InputError
from prep.grid import Grid, infer_step, lay_grid, most_steps_apart, on_grid
from prep.layout import Layout, best_windows_per_row
from prep.placing import placed_folder, refuse_taken
from prep.rows import SPARK_SCHEMA, encode, unischema
from prep.scaling import Moments, Scaling, affine, merge, moments
from prep.segments import Cut, segments, stretches
from prep.spec import Spec, duration_micros
from prep.splits import borders as borders_of
from prep.writing import added, write_manifest, write_rows

READINGS_A_PARTITION = 1_000_000


def prepare(
    spark: SparkSession,
    spec: Spec,
    out: str | Path,
    *,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda text: None,
) -> SequenceDataset:
    """Turns the readings that `spec` names into a dataset at `out`, a directory that Spark and this process both see.

    `on_stage` is told what is being done. Raises InputError for anything in the spec or the readings that cannot be used;
    then `out` is as it was.
    """
    out = Path(out).absolute()
    refuse_taken(out, overwrite, must_be_dataset)
    on_stage("reading")
    readings = readings_.load(spark, spec.readings)
    channels = len(readings.channels)
    counts, grid, steps = _survey(readings, spec)
    borders = borders_of(spec.split, grid, steps)
    cut = Cut(
        borders={split: (border.start, border.stop) for split, border in borders.items()},
        fill=spec.grid.fill,
        most_apart=most_steps_apart(grid, spec.grid),
        look_back=spec.windows.context,
    )
    on_stage("grid, gaps and segments")
    # Every window function below runs within a series, so one shuffle serves them all.
    partitions = max(2 * spark.sparkContext.defaultParallelism, counts["rows_kept"] // READINGS_A_PARTITION)
    by_series = readings.good.repartition(partitions, "series")
    placed = on_grid(by_series, channels, grid, spec.grid).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        on_stage("statistics of the training split")
        survey = _merge(_statistics(placed, channels, cut))
        counts |= {"duplicates_dropped": counts["rows_kept"] - survey.counts["readings"]} | dict(survey.counts)
        counts |= {f"{split}_steps": survey.own_steps(split) for split in SPLITS}
        layout = _layout(spec, survey, borders, grid)
        scaling = _scaling(spec, survey)
        on_stage("writing rows")
        with placed_folder(out, overwrite, must_be_dataset) as folder:
            rows = placed.mapInArrow(_encoder(channels, cut, layout, grid, scaling), SPARK_SCHEMA)
            parts = write_rows(spark, rows, folder, unischema(layout, channels))
            if counts["rows_quarantined"]:
                readings.bad.write.json(str(folder / "_quarantine"))
            _verify(parts, layout, survey)
            write_manifest(_manifest(spec, readings.channels, grid, borders, layout, scaling, parts, counts), folder)
    finally:
        placed.unpersist()
    return SequenceDataset.open(out)


def _survey(readings: readings_.Readings, spec: Spec) -> tuple[dict[str, int], Grid, int]:
    """Counts of what was read, the grid, and how many steps it spans."""
    bad = readings.bad.count()
    if bad and spec.readings.bad_rows == "error":
        raise readings_.explain(readings.bad, spec.readings, bad)
    span = readings.good.agg(F.count("*").alias("rows"), F.min("time").alias("first"), F.max("time").alias("last")).first()
    assert span is not None
    if not span["rows"]:
        raise InputError(f"{spec.readings.path}: there is no reading in it; a header and at least one row were expected")
    step = duration_micros(spec.grid.step) if spec.grid.step else infer_step(readings.good)
    grid = lay_grid(readings.good, span["first"], step)
    return {"rows_kept": span["rows"], "rows_quarantined": bad}, grid, grid.nearest(span["last"]) + 1


@dataclass(frozen=True)
class Survey:
    """What one pass over the segments finds: training moments by series, lengths of segments, counts."""

    by_series: dict[str, Moments]
    # (split, steps, look_back) → how many segments are so long
    lengths: Counter[tuple[str, int, int]]
    counts: Counter[str]

    def own_steps(self, split: str) -> int:
        return sum((steps - look_back) * count for (name, steps, look_back), count in self.lengths.items() if name == split)


def _statistics(placed: DataFrame, channels: int, cut: Cut) -> Iterator[Survey]:
    def survey(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for stretch in stretches(batches, channels):
            train: list[Moments] = []
            lengths: Counter[str] = Counter()
            kept, filled = 0, 0
            for segment in segments(stretch, cut):
                values, observed = segment.values[segment.own], segment.observed[segment.own]
                lengths[f"{segment.split} {len(segment.values)} {segment.look_back}"] += 1
                kept += int(observed.any(axis=1).sum())
                filled += int((~observed).sum())
                if segment.split == "train":
                    train.append(moments(values, observed))
            measured = int((~np.isnan(stretch.values)).any(axis=1).sum())
            record = {
                "series": stretch.series,
                "train": [field.tolist() for field in asdict(merge(train)).values()] if train else None,
                "lengths": lengths,
                "counts": {
                    "readings": stretch.readings,
                    "readings_moved_to_grid": stretch.moved,
                    "readings_not_kept": measured - kept,
                    "readings_kept": kept,
                    "values_filled": filled,
                    "stretches": 1,
                    "series": int(stretch.number == 0),
                },
            }
            yield pa.RecordBatch.from_pydict({"record": [json.dumps(record)]})

    for row in placed.mapInArrow(survey, "record string").collect():
        record = json.loads(row["record"])
        trained = {record["series"]: Moments(*map(np.array, record["train"]))} if record["train"] else {}
        lengths = Counter(
            {(split, int(n), int(back)): c for key, c in record["lengths"].items() for split, n, back in [key.split()]}
        )
        yield Survey(trained, lengths, Counter(record["counts"]))


def _merge(surveys: Iterable[Survey]) -> Survey:
    """Of all stretches. Those of a series come in the order of their time, so its moments do not depend on the partitioning."""
    by_series: dict[str, list[Moments]] = {}
    lengths: Counter[tuple[str, int, int]] = Counter()
    counts: Counter[str] = Counter()
    for survey in surveys:
        for series, statistics in survey.by_series.items():
            by_series.setdefault(series, []).append(statistics)
        lengths.update(survey.lengths)
        counts.update(survey.counts)
    return Survey({series: merge(parts) for series, parts in sorted(by_series.items())}, lengths, counts)


def _layout(spec: Spec, survey: Survey, borders: dict[str, Border], grid: Grid) -> Layout:
    """The layout with its packing chosen. Raises InputError where a split that was asked for has no window."""
    asked = spec.windows
    layout = Layout(context=asked.context, horizon=asked.horizon, stride=asked.stride, windows_per_row=asked.windows_per_row or 1)
    for split in SPLITS:
        steps = [n for name, n, _ in survey.lengths if name == split]
        wanted = split == "train" or borders[split].stop > borders[split].start
        if wanted and not any(layout.windows_in(n) for n in steps):
            raise InputError(
                f"{split}: no segment is long enough for a window of context {layout.context} + horizon {layout.horizon} = "
                f"{layout.window} steps; the longest has {max(steps, default=0)} (from {borders[split].start_time} to "
                f"{borders[split].stop_time}, step {grid.step_micros / 1e6:g} s). Shorten windows.context or windows.horizon, "
                "lengthen the split, or fill longer gaps with grid.max_gap"
            )
    if asked.windows_per_row is None:
        stretches_: Counter[int] = Counter()
        for (_, steps_, _), count in survey.lengths.items():
            stretches_[steps_] += count
        layout = layout.model_copy(update={"windows_per_row": best_windows_per_row(layout, stretches_)})
    return layout


def _scaling(spec: Spec, survey: Survey) -> Scaling:
    method = spec.scaling.method
    by_series = {series: affine(method, m) for series, m in survey.by_series.items()} if spec.scaling.per == "series" else {}
    return Scaling(method=method, overall=affine(method, merge(survey.by_series.values())), by_series=by_series)


def _encoder(
    channels: int, cut: Cut, layout: Layout, grid: Grid, scaling: Scaling
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode_all(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for stretch in stretches(batches, channels):
            for segment in segments(stretch, cut):
                yield from encode(segment, layout, grid, scaling)

    return encode_all


def _manifest(
    spec: Spec,
    channels: tuple[str, ...],
    grid: Grid,
    borders: dict[str, Border],
    layout: Layout,
    scaling: Scaling,
    parts: tuple[Part, ...],
    counts: dict[str, int],
) -> Manifest:
    return Manifest(
        format=FORMAT,
        version=VERSION,
        spec=spec,
        channels=channels,
        step_micros=grid.step_micros,
        origin_micros=grid.origin_micros,
        borders=borders,
        layout=layout,
        scaling=scaling,
        parts=parts,
        counts=counts,
        digest=added(part.content for part in parts),
        versions={name: version(name) for name in ("hindcast", "pyspark", "petastorm", "pyarrow", "numpy")},
    )


def _verify(parts: tuple[Part, ...], layout: Layout, survey: Survey) -> None:
    """What was read back from the files is what the segments hold."""
    expected = {
        "windows": sum(layout.windows_in(steps) * count for (_, steps, _), count in survey.lengths.items()),
        "rows": sum(layout.rows_in(steps) * count for (_, steps, _), count in survey.lengths.items()),
    }
    found = {name: sum(sum(getattr(part, name)) for part in parts) for name in expected}
    if found != expected:
        raise RuntimeError(f"the files hold {found}, and {expected} were to be written; nothing was kept")
