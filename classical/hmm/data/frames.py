"""Sequences in an array column of a Spark DataFrame, and their decoding row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hindcast.classical.hmm.data.sequences import Check, sequences_of, weights_of
from hindcast.classical.hmm.inference import decoded, laid_out
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType


def is_frame(X: Any) -> bool:
    return hasattr(X, "sparkSession") and hasattr(X, "mapInArrow")


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


def sequence_column(frame: DataFrame, name: str | None = None) -> str:
    """The column `name`; without a name, the only column of arrays of numbers, or of arrays of such arrays.

    Raises InputError where `name` is no such column, or, without a name, where there is none or more than one.
    """
    columns = [field.name for field in frame.schema.fields if _is_sequence(field.dataType)]
    if name is not None:
        kind = frame.schema[_present(frame, name, "column")].dataType
        if not _is_sequence(kind):
            message = f"column {name!r}: found {kind.simpleString()}, expected arrays of numbers, or of arrays of numbers"
            raise InputError(f"{message}: the columns of sequences are {', '.join(columns) or 'none'}")
        return name
    if len(columns) == 1:
        return columns[0]
    message = f"the columns of sequences are {', '.join(columns) or 'none'}"
    raise InputError(f"{message}: name one with column=" if columns else f"{message}, of {', '.join(frame.columns)}")


def _is_sequence(kind: DataType) -> bool:
    from pyspark.sql.types import ArrayType, NumericType

    if not isinstance(kind, ArrayType):
        return False
    inner = kind.elementType.elementType if isinstance(kind.elementType, ArrayType) else kind.elementType
    return isinstance(inner, NumericType)


def must_be_weights(frame: DataFrame, name: Any) -> None:
    """Raises InputError where `name` is not that of a column of numbers."""
    from pyspark.sql.types import NumericType

    kind = frame.schema[_present(frame, name, "weights")].dataType
    if not isinstance(kind, NumericType):
        raise InputError(f"weights: column {name!r} is of {kind.simpleString()}, expected numbers")


def _present(frame: DataFrame, name: Any, argument: str) -> str:
    if not isinstance(name, str) or name not in frame.columns:
        raise InputError(f"{argument}: found {name!r}, expected the name of a column: one of {', '.join(frame.columns)}")
    return name


def quoted(column: str) -> str:
    """The name of a column quoted for Spark, which would read a dot in it as a field of a struct."""
    return "`" + column.replace("`", "``") + "`"


def spans_of(column: pa.Array, weights: np.ndarray | None, check: Check, where: str) -> Spans:
    """The sequences of some rows of a column. Raises InputError that names `where` and the row for one that is no sequence."""
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


def _paths(batch: pa.RecordBatch, column: str, model: HiddenMarkov[Any], check: Check) -> pa.Array:
    sequences = batch.column(batch.schema.get_field_index(column))
    spans = spans_of(sequences, None, check, f"column {column!r}")
    if not spans.lengths.any():
        return pa.ListArray.from_arrays(pa.array(np.zeros(batch.num_rows + 1, np.int32)), pa.array(np.empty(0, np.int32)))
    if spans.values.shape[2] != model.emission.channels:
        channels, expected = spans.values.shape[2], model.emission.channels
        raise InputError(f"column {column!r}: steps of {channels} channels, and the model has {expected}")
    states = np.full(spans.values.shape[1], -1, np.int32)
    laid_out(decoded(model, spans), spans, model.emission.order, states)
    offsets = np.concatenate([[0], spans.stop]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(states))
