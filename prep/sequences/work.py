"""The pieces of a dataset while it is made: looked at once, kept by Spark, and then written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from hindcast.prep.dataset.manifest import Manifest, Part, added
from hindcast.prep.dataset.writing import files_of, must_open, write_manifest, write_rows
from hindcast.prep.files.names import QUARANTINE, TAIL
from hindcast.prep.scaling.affine import Scaling
from hindcast.prep.scaling.float32 import OVERFLOW
from hindcast.prep.scaling.quantiles import Cells, Wanted, tally
from hindcast.prep.sequences.chunks import READINGS, Plan, chunks_of, pieces
from hindcast.prep.sequences.ledger import Ledger, examine, gather, training_values
from hindcast.prep.sequences.rows import Encoding, encode, spark_schema, unischema
from hindcast.prep.sequences.segments import Cut, parts, segments

READINGS_A_PARTITION = 1_000_000
# A piece is megabytes: as many go to Python at a time.
PIECES_A_BATCH = 4

Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class Work:
    """Pieces that Spark keeps, and what was found in them."""

    kept: DataFrame
    plan: Plan
    cut: Cut
    ledger: Ledger

    def tally(self, wanted: Wanted | None, by_series: bool) -> Cells:
        """Counts of the training values, as `quartiles` asks for them; group "" is of all series together."""
        plan, cut = self.plan, self.cut

        def count(batches: Batches) -> Iterator[pa.RecordBatch]:
            grouped = (
                (group, values)
                for series, values in training_values(chunks_of(batches, plan), cut)
                for group in (("", series) if by_series else ("",))
            )
            for (group, channel), cells in tally(grouped, wanted).items():
                size = len(cells)
                columns = {"group": [group] * size, "channel": [channel] * size, "cell": [*cells], "n": [*cells.values()]}
                yield pa.RecordBatch.from_pydict(columns)

        counted = self.kept.mapInArrow(count, "group string, channel long, cell long, n long")
        cells: Cells = {}
        for row in counted.groupBy("group", "channel", "cell").agg(F.sum("n").alias("n")).collect():
            cells.setdefault((row["group"], row["channel"]), Counter())[row["cell"]] = row["n"]
        return cells

    def largest_overflow(self, scalings: Sequence[Scaling]) -> tuple[str, int, int, float] | None:
        """Of the values to be stored that are not finite in float32, as they are or scaled, the largest: (series, step, column,
        value).

        `scalings` are of the channels and of the covariates, or none.
        """
        plan, cut = self.plan, self.cut

        def find(batches: Batches) -> Iterator[pa.RecordBatch]:
            for series, first, *both in _stored(batches, plan, cut):
                values = np.concatenate(both, axis=1)
                beyond = np.abs(values) >= OVERFLOW
                if scalings:
                    with np.errstate(over="ignore"):
                        scaled = [scaling.apply(part, series) for scaling, part in zip(scalings, both, strict=True)]
                    beyond |= np.abs(np.concatenate(scaled, axis=1)) >= OVERFLOW
                if beyond.any():
                    step, column = np.unravel_index(np.where(beyond, np.abs(values), -1).argmax(), values.shape)
                    columns = [series], [first + int(step)], [int(column)], [float(values[step, column])]
                    yield pa.RecordBatch.from_arrays(list(map(pa.array, columns)), ["series", "step", "column", "value"])

        overflowing = self.kept.mapInArrow(find, "series string, step long, column long, value double")
        row = overflowing.orderBy(F.abs("value").desc(), "series", "step", "column").first()
        return None if row is None else (row["series"], row["step"], row["column"], row["value"])

    def write(self, manifest: Manifest, attributes: dict[str, tuple[float, ...]], folder: Path, bad: DataFrame | None) -> None:
        """Writes rows, tail, quarantine and at last the manifest into `folder`, beside what the manifest names already.

        Compares what the files hold with what the ledger counted, and opens what was written. `attributes`: series → its
        attributes, as they are stored.
        """
        plan, spark = self.plan, self.kept.sparkSession
        # With the packing that was chosen meanwhile.
        cut = replace(self.cut, layout=manifest.layout)
        how = Encoding(
            layout=manifest.layout,
            grid=plan.grid,
            scaling=manifest.scaling,
            covariate_scaling=manifest.covariate_scaling,
            calendar=manifest.spec.calendar,
            arrays=manifest.arrays,
            attributes=attributes,
        )

        def encode_all(batches: Batches) -> Iterator[pa.RecordBatch]:
            chunks = chunks_of(batches, plan)
            yield from encode(
                (segment for chunk, seam in chunks for part in parts(chunk, cut) for segment in segments(chunk, part, cut, seam)),
                how,
            )

        rows = self.kept.mapInArrow(encode_all, spark_schema(manifest.arrays))
        expected = {name: sum(counts[name] for counts in self.ledger.counts.values()) for name in ("windows", "steps")}
        written: tuple[Part, ...] = ()
        if any(expected.values()):
            written = write_rows(spark, rows, folder, unischema(manifest.arrays), manifest.parts)
        stored = {name: sum(sum(getattr(part, name)) for part in written) for name in expected}
        if stored != expected:
            raise RuntimeError(f"the files hold {stored}, and {expected} were to be written; nothing was kept")
        self.kept.where("last").mapInArrow(_tail(plan), tail_schema(plan)).write.parquet(str(folder / TAIL))
        if bad is not None:
            bad.write.mode("append").json(str(folder / QUARANTINE))
        every = (*manifest.parts, *written)
        update = {
            "parts": every,
            "tail": files_of(folder, f"{TAIL}/*.parquet"),
            # Those that it names already may be elsewhere.
            "quarantine": tuple(sorted({*manifest.quarantine, *files_of(folder, f"{QUARANTINE}/*.json")})),
            "digests": {split: added(part.content for part in every if part.split == split) for split in manifest.borders},
        }
        write_manifest(manifest.model_copy(update=update), folder)
        must_open(folder, written)


@contextmanager
def worked(sources: dict[int, DataFrame], plan: Plan, cut: Cut, rows: int) -> Iterator[Work]:
    """The pieces of `rows` readings, and of what is joined to them, for the length of a `with`."""
    spark = sources[READINGS].sparkSession
    partitions = max(2 * spark.sparkContext.defaultParallelism, rows // READINGS_A_PARTITION)
    # Not in memory too: what Spark reads back from disk it would put there again, a partition whole, whatever the heap holds.
    kept = pieces(sources, plan, partitions, lambda piece: examine(piece, cut)).persist(StorageLevel.DISK_ONLY)
    try:
        records = kept.select("record")
        # A job for each partition, so that no more than the records of one are here at a time; of few readings, one for all.
        rows_of_records = records.collect() if rows <= READINGS_A_PARTITION else records.toLocalIterator()
        ledger = gather(row["record"] for row in rows_of_records)
        with few_at_a_time(spark):
            yield Work(kept, plan, cut, ledger)
    finally:
        kept.unpersist()


@contextmanager
def few_at_a_time(spark: SparkSession) -> Iterator[None]:
    """Sends rows to Python a few at a time."""
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(name)
    spark.conf.set(name, PIECES_A_BATCH)
    try:
        yield
    finally:
        spark.conf.set(name, before)


def _stored(batches: Batches, plan: Plan, cut: Cut) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """(series, first step, values, covariates) of whatever is stored, and of what may be when the hole in it is closed: at the
    end of a series, by readings that are appended.
    """
    for batch in batches:
        last = batch.column(batch.schema.get_field_index("last")).to_pylist()
        for (chunk, seam), is_last in zip(chunks_of([batch], plan), last, strict=True):
            for part in parts(chunk, cut):
                for segment in segments(chunk, part, cut, seam):
                    yield chunk.series, segment.first, segment.values, segment.covariates
                if is_last and len(part.known) == len(chunk.values):
                    since = max([part.earliest - chunk.first, 0, *(np.flatnonzero(part.usable)[-1:] + 1)])
                    yield chunk.series, chunk.first + since, part.known[since:], chunk.covariates[since:]


def tail_schema(plan: Plan) -> str:
    """A row for each of the last steps of a series: its seam, its numbers (c0 …: channels, then labels) and covariates (k0 …)."""
    numbers = [f"c{column} double" for column in range(plan.channels + plan.labels)]
    return ", ".join(
        ["series string, seam long, step long", *numbers, *(f"k{column} double" for column in range(plan.covariates))]
    )


def _tail(plan: Plan) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    """From pieces that are the last of their series, or may be: the steps that windows across the seam need."""

    def tail(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            records = batch.column(batch.schema.get_field_index("record")).to_pylist()
            for (chunk, _), record in zip(chunks_of([batch], plan), records, strict=True):
                seam = json.loads(record)["seam"]
                since = max(0, seam - plan.halo - chunk.first)
                numbers = np.concatenate([chunk.values, chunk.labels], axis=1)[since:]
                columns = {
                    "series": pa.array([chunk.series] * len(numbers), pa.string()),
                    "seam": pa.array(np.full(len(numbers), seam)),
                    "step": pa.array(chunk.first + since + np.arange(len(numbers))),
                    **{f"c{column}": pa.array(numbers[:, column]) for column in range(numbers.shape[1])},
                    **{f"k{column}": pa.array(chunk.covariates[since:, column]) for column in range(plan.covariates)},
                }
                yield pa.RecordBatch.from_pydict(columns)

    return tail
