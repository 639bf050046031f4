"""Segments → stored rows, encoded as Petastorm's codecs would, a whole Arrow batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql.types import IntegerType, StringType, TimestampType

from hindcast.prep.dataset.blocks import ArrayField, npy_header
from hindcast.prep.dataset.layout import Layout, rows_of
from hindcast.prep.grid.grid import Grid
from hindcast.prep.readings.companions import calendar
from hindcast.prep.scaling.affine import Scaling
from hindcast.prep.sequences.batching import by_bytes
from hindcast.prep.sequences.segments import Segment
from hindcast.prep.spec import CalendarSpec

BATCH_BYTES = 8_000_000


@dataclass(frozen=True)
class Encoding:
    """How segments become rows. `attributes`: series → its attributes (float, codes where they are words)."""

    layout: Layout
    grid: Grid
    scaling: Scaling
    covariate_scaling: Scaling
    calendar: CalendarSpec
    arrays: tuple[ArrayField, ...]
    attributes: dict[str, tuple[float, ...]]


def spark_schema(arrays: tuple[ArrayField, ...]) -> str:
    """Of the encoded rows, as Spark writes it."""
    scalars = "split string, series string, start timestamp, windows int, own_start int, own_stop int"
    return ", ".join([scalars, *(f"{field.name} binary" for field in arrays)])


def unischema(arrays: tuple[ArrayField, ...]) -> Unischema:
    """Petastorm's description of a row."""
    return Unischema(
        "HindcastSequence",
        [
            UnischemaField("split", np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField("series", np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField("start", np.datetime64, (), ScalarCodec(TimestampType()), False),
            *(UnischemaField(n, np.int32, (), ScalarCodec(IntegerType()), False) for n in ("windows", "own_start", "own_stop")),
            *(UnischemaField(field.name, np.dtype(field.dtype).type, field.shape, NdarrayCodec(), False) for field in arrays),
        ],
    )


def encode(segments: Iterable[Segment], encoding: Encoding) -> Iterator[pa.RecordBatch]:
    """The rows of segments, scaled, some megabytes at a time: of many short ones together, of a long one in several batches."""
    columns = (columns for segment in segments for columns in _columns(segment, encoding))
    for batch in by_bytes(columns, lambda rows: sum(rows[field.name].nbytes for field in encoding.arrays), BATCH_BYTES):
        yield _batch(batch, encoding)


def _columns(segment: Segment, encoding: Encoding) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a segment, some megabytes at a time: field → (rows,), or of arrays (rows, …)."""
    rows = rows_of(encoding.layout, segment.starts, segment.own)
    steps = _steps(segment, encoding)
    size = max(1, BATCH_BYTES // sum(int(np.prod(field.shape)) * np.dtype(field.dtype).itemsize for field in encoding.arrays))
    for begin in range(0, len(rows.start), size):
        part = slice(begin, begin + size)
        start, stop = rows.start[part], rows.stop[part]
        columns = {
            "split": np.full(len(start), segment.split, object),
            "series": np.full(len(start), segment.series, object),
            "start": encoding.grid.origin_micros + (segment.first + start) * encoding.grid.step_micros,
            "windows": rows.windows[part],
            "own_start": rows.own_start[part] - start,
            "own_stop": stop - start,
        }
        for field in encoding.arrays:
            if field.name == "attributes":
                attributes = np.array(encoding.attributes[segment.series], field.dtype)
                columns[field.name] = np.broadcast_to(attributes, (len(start), *field.shape))
            else:
                padding = -1 if field.name == "labels" else 0
                columns[field.name] = padded(steps[field.name], start, stop, encoding.layout.length, padding)
        yield columns


def _batch(parts: Sequence[dict[str, np.ndarray]], encoding: Encoding) -> pa.RecordBatch:
    types = {"split": pa.string(), "series": pa.string(), "start": pa.timestamp("us", tz="UTC")}
    arrays = {field.name for field in encoding.arrays}
    columns = {}
    for name in parts[0]:
        together = np.concatenate([part[name] for part in parts])
        columns[name] = npy_column(together) if name in arrays else pa.array(together, types.get(name, pa.int32()))
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _steps(segment: Segment, encoding: Encoding) -> dict[str, np.ndarray]:
    """What is stored of each step, by field: (steps, width). A covariate that is not known is at its centre."""
    stored = {field.name for field in encoding.arrays}
    steps = {
        "values": encoding.scaling.apply(segment.values, segment.series).astype("<f4"),
        "observed": segment.observed.astype("u1"),
    }
    if "covariates" in stored:
        times = encoding.grid.origin_micros + (segment.first + np.arange(len(segment.values))) * encoding.grid.step_micros
        features = calendar(times, encoding.calendar.features, encoding.calendar.time_zone)
        covariates = np.concatenate([encoding.covariate_scaling.apply(segment.covariates, segment.series), features], axis=1)
        steps["covariates"] = np.nan_to_num(covariates).astype("<f4")
        steps["covariates_observed"] = (~np.isnan(covariates)).astype("u1")
    if "labels" in stored:
        steps["labels"] = np.nan_to_num(segment.labels, nan=-1).astype("<i4")
    return steps


def padded(steps: np.ndarray, start: np.ndarray, stop: np.ndarray, length: int, padding: int) -> np.ndarray:
    """`steps[a:b]` for every a in `start` and b in `stop`, `padding` after it: (len(start), length, width)."""
    index = start[:, None] + np.arange(length)
    gathered = steps[np.minimum(index, len(steps) - 1)]
    gathered[index >= stop[:, None]] = padding
    return gathered


def npy_column(arrays: np.ndarray) -> pa.Array:
    """A binary column with `np.save` of every `arrays[i]`, made in one buffer."""
    header = npy_header(arrays.shape[1:], arrays.dtype)
    size = len(header) + arrays[0].nbytes
    data = np.empty((len(arrays), size), np.uint8)
    data[:, : len(header)] = np.frombuffer(header, np.uint8)
    data[:, len(header) :] = arrays.reshape(len(arrays), -1).view(np.uint8)
    offsets = np.arange(len(arrays) + 1, dtype=np.int32) * size
    return pa.Array.from_buffers(pa.binary(), len(arrays), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
