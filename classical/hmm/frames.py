"""Sequences in an array column of a Spark DataFrame: packed once for fitting, and decoded row by row."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classical.hmm.inference import decoded, laid_out
from classical.hmm.lanes import Spans
from classical.hmm.model import HiddenMarkov
from classical.hmm.sequences import STEPS_AT_ONCE, Check, counts, must_count, sampled, sequences_of, weights_of
from classical.passing import Task, described
from prep.errors import InputError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

LEAST_SAMPLE = 200
# Spark needs about 10 milliseconds for a task beside its work, in which a core goes through some 100 thousand steps.
STEPS_A_TASK = 2_000_000


@dataclass(frozen=True)
class Packed:
    """Sequences of a DataFrame, kept on the executors' disks until `release`.

    spans       an RDD of them, some hundred thousand steps each; what has no step is not among them
    steps       of all of them together
    sample      about as many steps as were asked for, drawn by the tasks from all over the data
    highest     (channels,): the largest reading of each
    empty       how many sequences have no step
    """

    spans: RDD
    steps: int
    sample: Spans
    highest: np.ndarray
    empty: int

    def through(self, task: Task, description: str) -> list[Any]:
        context = self.spans.context
        # By size, not by the time that an iteration took: the order of sums is the same in every run.
        tasks = max(context.defaultParallelism, -(-self.steps // STEPS_A_TASK))
        spans = self.spans.coalesce(tasks) if tasks < self.spans.getNumPartitions() else self.spans
        with described(context, description):
            found: list[Any] = spans.mapPartitions(task).collect()
        return found

    def release(self) -> None:
        self.spans.unpersist()


def is_frame(X: Any) -> bool:
    return hasattr(X, "sparkSession") and hasattr(X, "mapInArrow")


def packed(frame: DataFrame, column: str | None, weights: str | None, check: Check, steps: int) -> Packed:
    """Reads the DataFrame once.

    column      of arrays of numbers (one channel), or of arrays of arrays (steps of channels); the only such one by default. Null
                numbers and NaN are missing readings
    weights     a column that says how often each sequence counts
    steps       of the sample

    Raises InputError where the column cannot be read, or a reading is not one that the family can emit: it names the partition,
    the row within it, step and channel.
    """
    from pyspark import StorageLevel

    column = sequence_column(frame, column)
    if weights is not None:
        _must_be_weights(frame, weights)
    chosen = frame.select(*(_quoted(name) for name in (column, weights) if name is not None))
    kept = chosen.mapInArrow(lambda batches: _packed(batches, check), _PACKED).persist(StorageLevel.DISK_ONLY)
    try:
        chunks = kept.drop("spans").collect()
        for fault in sorted(chunk.fault for chunk in chunks if chunk.fault):
            raise InputError(fault)
        full = [chunk for chunk in chunks if chunk.steps]
        if weights is not None and chunks:
            must_count(any(c.weighted for c in chunks), bool(full), any(c.counts for c in chunks))
        if not full:
            raise InputError(f"column {column!r}: there is nothing to fit: no sequence has a step")
        for chunk in full:
            if chunk.channels != full[0].channels:
                raise InputError(
                    f"{chunk.place}: steps of {chunk.channels} channels, and those of {full[0].place}, have {full[0].channels}"
                )
        # Kept as Python's own: a pass over rows of a DataFrame has Java take each row apart and put it together again.
        spans = kept.where("steps > 0").select("spans").rdd.map(lambda row: pickle.loads(row.spans))
        spans.persist(StorageLevel.DISK_ONLY)
        share = max(LEAST_SAMPLE, steps // len(full))
        drawn = spans.map(lambda one: _own(sampled(one, share))).collect()
    finally:
        kept.unpersist()
    highest = np.max([chunk.highest for chunk in full], axis=0)
    return Packed(spans, sum(chunk.steps for chunk in full), joined(drawn), highest, sum(chunk.empty for chunk in chunks))


def with_paths(frame: DataFrame, model: HiddenMarkov[Any], column: str | None, output: str, check: Check) -> DataFrame:
    """The DataFrame with another column: the likeliest path of each row's sequence, -1 where a step is conditioned on."""
    from pyspark.sql.types import ArrayType, IntegerType, StructField, StructType

    column = sequence_column(frame, column)
    if output in frame.columns:
        raise InputError(f"column {output!r} is there already: name another for the states")
    schema = StructType([*frame.schema.fields, StructField(output, ArrayType(IntegerType()))])

    def decode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            paths = _paths(batch, column, model, check)
            yield pa.RecordBatch.from_arrays([*batch.columns, paths], names=[*batch.schema.names, output])

    return frame.mapInArrow(decode, schema)


def joined(parts: list[Spans]) -> Spans:
    """Sequences that each fill a row of their own part, in one."""
    values = np.concatenate([one.values[0] for one in parts])
    observed = None
    if any(one.observed is not None for one in parts):
        every = (np.ones(one.values[0].shape, np.uint8) if one.observed is None else one.observed[0] for one in parts)
        observed = np.concatenate(list(every))
    stop = np.cumsum(np.concatenate([one.lengths for one in parts]))
    start = np.concatenate([[0], stop[:-1]]).astype(np.int64)
    return Spans(values[None], None if observed is None else observed[None], np.zeros(len(stop), np.int64), start, start, stop)


def sequence_column(frame: DataFrame, named: str | None = None) -> str:
    """The column that is named, or else the only one of arrays of numbers, or of arrays of these.

    Raises InputError where there is none, or several, or the one that is named is no such column.
    """
    found = [field.name for field in frame.schema.fields if _is_sequence(field.dataType)]
    if named is not None:
        kind = frame.schema[_present(frame, named, "column")].dataType
        if not _is_sequence(kind):
            told = f"column {named!r}: found {kind.simpleString()}, expected arrays of numbers, or of arrays of numbers"
            raise InputError(f"{told}: the columns of sequences are {', '.join(found) or 'none'}")
        return named
    if len(found) == 1:
        return found[0]
    told = f"the columns of sequences are {', '.join(found) or 'none'}"
    raise InputError(f"{told}: name one with column=" if found else f"{told}, of {', '.join(frame.columns)}")


def _is_sequence(kind: DataType) -> bool:
    from pyspark.sql.types import ArrayType, NumericType

    if not isinstance(kind, ArrayType):
        return False
    inner = kind.elementType.elementType if isinstance(kind.elementType, ArrayType) else kind.elementType
    return isinstance(inner, NumericType)


def _must_be_weights(frame: DataFrame, named: Any) -> None:
    from pyspark.sql.types import NumericType

    kind = frame.schema[_present(frame, named, "weights")].dataType
    if not isinstance(kind, NumericType):
        raise InputError(f"weights: column {named!r} is of {kind.simpleString()}, expected numbers")


def _present(frame: DataFrame, named: Any, argument: str) -> str:
    if not isinstance(named, str) or named not in frame.columns:
        raise InputError(f"{argument}: found {named!r}, expected the name of a column: one of {', '.join(frame.columns)}")
    return named


def _quoted(column: str) -> str:
    """For Spark, to which a dot would be a field of a struct."""
    return "`" + column.replace("`", "``") + "`"


# What is told of a chunk beside its sequences. `weighted`: a weight is above 0; `counts`: of a sequence with steps.
_KINDS = {
    "spans": pa.binary(),
    "fault": pa.string(),
    "place": pa.string(),
    "steps": pa.int64(),
    "channels": pa.int64(),
    "highest": pa.list_(pa.float64()),
    "empty": pa.int64(),
    "weighted": pa.bool_(),
    "counts": pa.bool_(),
}
_PACKED = (
    "spans binary, fault string, place string, steps long, channels long, highest array<double>, empty long, weighted boolean, "
    "counts boolean"
)


def _packed(batches: Iterator[pa.RecordBatch], check: Check) -> Iterator[pa.RecordBatch]:
    from pyspark import TaskContext

    context, rows = TaskContext.get(), 0
    where = f"partition {context.partitionId() if context else 0}, from row {{}}"
    for batch in batches:
        for first, few in _few(batch):
            weights = few.column(1).to_numpy(zero_copy_only=False) if few.num_columns > 1 else None
            try:
                spans = compact(_spans(few.column(0), weights, check, where.format(rows + first)))
            except InputError as error:
                yield pa.RecordBatch.from_pylist([{"fault": str(error), "steps": 0}], pa.schema(_KINDS))
                return
            steps = int(spans.lengths.sum())
            told = {
                "spans": pickle.dumps(spans, 5) if steps else b"",
                "place": where.format(rows + first),
                "steps": steps,
                "channels": spans.values.shape[2],
                "highest": spans.values.max(axis=(0, 1), initial=0).tolist(),
                "empty": int((spans.lengths == 0).sum()),
                "weighted": spans.weight is None or bool((spans.weight > 0).any()),
                "counts": counts(spans),
            }
            yield pa.RecordBatch.from_pylist([told], pa.schema(_KINDS))
        rows += batch.num_rows


def _few(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a batch, about STEPS_AT_ONCE steps at a time, and the number of the first."""
    ends = np.cumsum(pc.fill_null(pc.list_value_length(batch.column(0)), 0).to_numpy(zero_copy_only=False))
    first = 0
    while first < batch.num_rows:
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + STEPS_AT_ONCE, side="right")))
        yield first, batch.slice(first, last - first)
        first = last


def _spans(column: pa.Array, weights: np.ndarray | None, check: Check, where: str) -> Spans:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{where}: sequence {row} is null: drop such rows, or give an empty array")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    steps = column.flatten()
    channels = 1
    if pa.types.is_list(steps.type) or pa.types.is_large_list(steps.type):
        widths = pc.fill_null(pc.list_value_length(steps), -1).to_numpy(zero_copy_only=False)
        channels = int(widths[0]) if len(widths) else 1
        other = np.flatnonzero((widths != channels) | (widths < 1))
        if len(other):
            ends, first, width = np.cumsum(lengths), int(other[0]), widths[other[0]]
            sequence = int(np.searchsorted(ends, first, side="right"))
            step = first - int(ends[sequence] - lengths[sequence])
            if width < 0:
                raise InputError(f"{where}: sequence {sequence}, step {step} is null: drop it, or give an array of null")
            others = f", and others have {channels}" if width else ""
            raise InputError(f"{where}: sequence {sequence} has a step of {width} channels{others}")
        steps = steps.flatten()
    readings = steps.to_numpy(zero_copy_only=False).reshape(-1, channels)
    spans = sequences_of(readings, lengths, check=check, what=where)
    if weights is None:
        return spans
    # Whether any counts at all, only all chunks together say.
    try:
        return replace(spans, weight=weights_of(weights, len(lengths)))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def compact(spans: Spans) -> Spans:
    """Whole numbers in as few bytes as they need: what is kept is read again in every pass."""
    values = spans.values
    if values.dtype.kind in "iu" and values.size:
        lowest, highest = int(values.min()), int(values.max())
        values = values.astype(np.promote_types(np.min_scalar_type(lowest), np.min_scalar_type(highest)))
    return replace(spans, values=values)


def _own(spans: Spans) -> Spans:
    """The same sequences, without the rest of the array that they lie in."""
    pieces = [slice(int(a), int(b)) for a, b in zip(spans.start, spans.stop, strict=True)] or [slice(0, 0)]
    values = np.concatenate([spans.values[0, piece] for piece in pieces])
    observed = None if spans.observed is None else np.concatenate([spans.observed[0, piece] for piece in pieces])[None]
    stop = np.cumsum(spans.lengths)
    start = stop - spans.lengths
    return Spans(values[None], observed, np.zeros(len(stop), np.int64), start, start, stop)


def _paths(batch: pa.RecordBatch, column: str, model: HiddenMarkov[Any], check: Check) -> pa.Array:
    sequences = batch.column(batch.schema.get_field_index(column))
    spans = _spans(sequences, None, check, f"column {column!r}")
    if not spans.lengths.any():
        return pa.ListArray.from_arrays(pa.array(np.zeros(batch.num_rows + 1, np.int32)), pa.array(np.empty(0, np.int32)))
    if spans.values.shape[2] != model.emission.channels:
        found, expected = spans.values.shape[2], model.emission.channels
        raise InputError(f"column {column!r}: steps of {found} channels, and the model has {expected}")
    states = np.full(spans.values.shape[1], -1, np.int32)
    laid_out(decoded(model, spans), spans, model.emission.order, states)
    offsets = np.concatenate([[0], spans.stop]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(states))
