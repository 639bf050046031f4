"""Readings of any length and in any order → pieces of bounded length, each with what it must know of its neighbours.

A series is cut at fixed steps of the grid, so that a task holds one chunk at a time, and all cores work on a series that has half
of the readings. What a reading may matter to beyond its own chunk, the halo, is sent to the neighbours as well. Within a chunk,
Spark's window functions put readings in order and find the gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.resampling import Rules, resample
from hindcast.prep.grid.steps import step_of
from hindcast.prep.readings.companions import as_of
from hindcast.prep.sequences.batching import by_bytes
from hindcast.prep.sequences.segments import Chunk

# A chunk's steps: few enough that a task holds megabytes of it, and many beside its halo, which is worked on twice.
CHUNK_STEPS = 1 << 16
CHUNK_BYTES = 1 << 22
HALOS_IN_CHUNK = 16
BATCH_BYTES = 1 << 20  # of short pieces, which are sent together: each batch costs some time
# What a row is: a reading, a row of the first, second … joined table, or a step that was on the grid before, as it was then.
READINGS, KEPT = 0, -1
# The seam of a series of which nothing is in the dataset yet.
NO_SEAM = -(1 << 62)
ARRAYS = ("values", "covariates", "labels")
PIECE_SCHEMA = (
    "series string, first long, begin long, end long, seam long, last boolean, record string, steps long, "
    "values binary, covariates binary, labels binary"
)


@dataclass(frozen=True)
class Plan:
    """How readings become pieces.

    chunk              steps of a chunk
    channels, labels   columns of the readings
    joined, tolerance  of each joined table: its columns, and how old its values may be, in microseconds
    halo               steps that a chunk must know of its neighbours
    most_apart         steps between readings that a hole between them can be closed over
    ordered            whether the place of a reading in the files matters
    appends            whether there are KEPT steps
    """

    grid: Grid
    rules: Rules
    chunk: int
    channels: int
    labels: int
    joined: tuple[int, ...]
    tolerance: tuple[int, ...]
    halo: int
    most_apart: int
    ordered: bool
    appends: bool = False

    @property
    def covariates(self) -> int:
        return sum(self.joined)

    @property
    def names(self) -> list[str]:
        """The columns of numbers that rows of every source share."""
        own = self.channels + self.labels
        return [f"c{column}" for column in range(own + self.covariates if self.appends else max(own, *self.joined, 0))]


@dataclass(frozen=True)
class Piece:
    """Readings of a chunk between two longer gaps, and what was met on the way to them.

    Steps before `seam` are in the dataset already. `last`: the chunk knows of no later reading.
    read        the steps of the chunk's own readings, one entry a reading
    kept        its own steps from the seam on that were on the grid before, and could not be used then
    moved       of `read`, those that did not lie on their step
    duplicates  of `read`, those that were merged or left out because another has the same time
    """

    chunk: Chunk
    seam: int
    last: bool
    read: np.ndarray
    kept: np.ndarray
    moved: np.ndarray
    duplicates: np.ndarray


def chunk_steps(columns: int, halo: int) -> int:
    """How long the chunks of so many columns are."""
    return max(min(CHUNK_STEPS, CHUNK_BYTES // (8 * columns)), HALOS_IN_CHUNK * halo)


def pieces(sources: dict[int, DataFrame], plan: Plan, partitions: int, examine: Callable[[Piece], str]) -> DataFrame:
    """All pieces, a row each (PIECE_SCHEMA) with what `examine` says of it as its record; `chunks_of` reads them.

    `sources`: READINGS → series, time, position, seam and c0, c1 … (double: channels, then labels); 1, 2 … → the joined tables:
    series, time and c0 …; KEPT → series, time, seam and c0 … of steps that were on the grid before: channels, labels, covariates.
    Readings come after the kept steps of their series.
    """
    rows = None
    for source, frame in sources.items():
        placed = _placed(frame, source, plan)
        rows = placed if rows is None else rows.unionByName(placed)
    assert rows is not None, "there are readings"
    in_order = Window.partitionBy("series", "chunk").orderBy("source", "time", *(["position"] if plan.ordered else []))
    apart = F.col("step") - F.lag("step").over(in_order)
    numbered = (
        rows.repartition(partitions, "series", "chunk")
        .withColumn("gap", F.when((F.col("source") <= READINGS) & (apart > plan.most_apart), 1).otherwise(0))
        .withColumn("stretch", F.sum("gap").over(in_order))
    )
    columns = numbered.select("series", "chunk", "source", "stretch", "time", "step", "seam", *plan.names)
    return columns.mapInArrow(_assembler(plan, examine), PIECE_SCHEMA)


def chunks_of(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[tuple[Chunk, int]]:
    """The chunks, and their seams, in rows of PIECE_SCHEMA."""
    widths = {"values": plan.channels, "covariates": plan.covariates, "labels": plan.labels}
    for batch in batches:
        for row in batch.to_pylist():
            arrays = {name: np.frombuffer(row[name]).reshape(row["steps"], width) for name, width in widths.items()}
            yield Chunk(row["series"], row["first"], row["begin"], row["end"], **arrays), row["seam"]


def _placed(frame: DataFrame, source: int, plan: Plan) -> DataFrame:
    """The rows of a source, sent to every chunk that they may matter to."""
    step = step_of(plan.grid, bool(plan.rules.aggregate))
    later = plan.tolerance[source - 1] // plan.grid.step_micros + 1 if source > 0 else 0
    chunks = (F.floor((F.col("step") + F.lit(shift)) / F.lit(plan.chunk)) for shift in (-plan.halo, plan.halo + later))
    numbers = (F.col(name) if name in frame.columns else F.lit(None).cast("double").alias(name) for name in plan.names)
    defaults = {"position": 0, "seam": NO_SEAM}
    whole = (F.col(n) if n in frame.columns else F.lit(default).cast("long").alias(n) for n, default in defaults.items())
    return frame.withColumn("step", step).select(
        "series", F.explode(F.sequence(*chunks)).alias("chunk"), F.lit(source).alias("source"), "time", "step", *whole, *numbers
    )


def _assembler(plan: Plan, examine: Callable[[Piece], str]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def assemble(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pieces_ = (piece for series, chunk, rows in grouped(batches) for piece in assembled(series, chunk, rows, plan))
        rows = (_row(piece, examine(piece)) for piece in pieces_)
        for group in by_bytes(rows, lambda row: sum(len(row[name]) for name in ARRAYS), BATCH_BYTES):
            yield pa.RecordBatch.from_pylist(group)

    return assemble


def _row(piece: Piece, record: str) -> dict[str, Any]:
    """As PIECE_SCHEMA has it."""
    made = piece.chunk
    return {
        "series": made.series,
        "first": made.first,
        "begin": made.begin,
        "end": made.end,
        "seam": piece.seam,
        "last": piece.last,
        "record": record,
        "steps": len(made.values),
        **{name: np.ascontiguousarray(getattr(made, name)).tobytes() for name in ARRAYS},
    }


@dataclass(frozen=True)
class Rows:
    """Rows of one series and chunk, in order: source, stretch, time, step and seam (rows,) int64, numbers (rows, columns)
    float64.
    """

    source: np.ndarray
    stretch: np.ndarray
    time: np.ndarray
    step: np.ndarray
    seam: np.ndarray
    numbers: np.ndarray

    def where(self, mask: np.ndarray | slice) -> Rows:
        return Rows(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


def grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, int, Rows]]:
    """(series, chunk, rows) of rows that come sorted by series and chunk, one chunk in memory at a time."""
    pending: list[Rows] = []
    current: tuple[str, int] | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        series, chunk, *scalars = batch.columns[:7]
        encoded, chunks = series.dictionary_encode(), chunk.to_numpy()
        numbers = [column.to_numpy(zero_copy_only=False) for column in batch.columns[7:]]
        source, stretch, time, step, seam = (scalar.to_numpy() for scalar in scalars)
        rows = Rows(source, stretch, time, step, seam, np.stack(numbers, axis=1))
        codes = encoded.indices.to_numpy()
        changes = np.flatnonzero((np.diff(codes) != 0) | (np.diff(chunks) != 0)) + 1
        for start, stop in zip([0, *changes], [*changes, batch.num_rows], strict=True):
            key = (encoded.dictionary[int(codes[start])].as_py(), int(chunks[start]))
            if key != current and current is not None:
                yield *current, _joined(pending)
                pending = []
            current = key
            pending.append(rows.where(slice(start, stop)))
    if current is not None:
        yield *current, _joined(pending)


def _joined(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


def assembled(series: str, number: int, rows: Rows, plan: Plan) -> Iterator[Piece]:
    """The pieces of a chunk that have a reading in it or so near that they matter."""
    begin, end = number * plan.chunk, (number + 1) * plan.chunk
    own = plan.channels + plan.labels
    on_grid = rows.where(rows.source <= READINGS)
    tables = [rows.where(rows.source == source) for source in range(1, len(plan.joined) + 1)]
    stretches = np.unique(on_grid.stretch)
    for stretch in stretches:
        piece = on_grid.where(on_grid.stretch == stretch)
        new, kept = piece.where(piece.source == READINGS), piece.where(piece.source == KEPT)
        resampled = resample(new.step, new.time, new.numbers[:, :own], plan.rules)
        first, steps = int(piece.step[0]), int(piece.step[-1] - piece.step[0]) + 1
        dense = np.full((steps, own), np.nan)
        dense[:, [rule == "count" for rule in plan.rules.aggregate]] = 0
        dense[kept.step - first] = kept.numbers[:, :own]
        dense[resampled.steps - first] = resampled.values
        at = plan.grid.origin_micros + (first + np.arange(steps)) * plan.grid.step_micros
        covariates = _covariates(tables, at, plan)
        if plan.appends:
            covariates[kept.step - first] = kept.numbers[:, own : own + plan.covariates]
        seam = int(piece.seam.max())
        inside = (new.step >= begin) & (new.step < end)
        yield Piece(
            chunk=Chunk(series, first, begin, end, dense[:, : plan.channels], covariates, dense[:, plan.channels :]),
            seam=seam,
            last=stretch == stretches[-1] and piece.step[-1] < end,
            read=new.step[inside],
            kept=kept.step[(kept.step >= max(begin, seam)) & (kept.step < end)],
            moved=new.step[inside & (new.time != plan.grid.origin_micros + new.step * plan.grid.step_micros)],
            duplicates=resampled.duplicates[(resampled.duplicates >= begin) & (resampled.duplicates < end)],
        )


def _covariates(tables: list[Rows], at: np.ndarray, plan: Plan) -> np.ndarray:
    """The joined tables as of each step's time (steps,): (steps, covariates)."""
    columns = [
        as_of(table.time, table.numbers[:, :width], at, tolerance)
        for table, width, tolerance in zip(tables, plan.joined, plan.tolerance, strict=True)
    ]
    return np.concatenate(columns, axis=1) if columns else np.empty((len(at), 0))
