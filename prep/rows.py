"""Segments → stored rows, encoded as Petastorm's codecs would, a whole Arrow batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql.types import IntegerType, StringType, TimestampType

from prep.blocks import npy_header
from prep.grid import Grid
from prep.layout import Layout, rows_of
from prep.scaling import Scaling
from prep.segments import Segment

SPARK_SCHEMA = (
    "split string, series string, start timestamp, windows int, own_start int, own_stop int, values binary, observed binary"
)
BATCH_BYTES = 8_000_000


def unischema(layout: Layout, channels: int) -> Unischema:
    """Petastorm's description of a row."""
    shape = (layout.length, channels)
    integers = (
        UnischemaField(name, np.int32, (), ScalarCodec(IntegerType()), False) for name in ("windows", "own_start", "own_stop")
    )
    return Unischema(
        "HindcastSequence",
        [
            UnischemaField("split", np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField("series", np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField("start", np.datetime64, (), ScalarCodec(TimestampType()), False),
            *integers,
            UnischemaField("values", np.float32, shape, NdarrayCodec(), False),
            UnischemaField("observed", np.uint8, shape, NdarrayCodec(), False),
        ],
    )


def encode(segment: Segment, layout: Layout, grid: Grid, scaling: Scaling) -> Iterator[pa.RecordBatch]:
    """The rows of a segment, scaled, some megabytes at a time."""
    rows = rows_of(layout, len(segment.values), segment.look_back)
    centre, scale = scaling.of([segment.series])
    scaled = ((segment.values - centre) / scale).astype("<f4")
    observed = segment.observed.astype("u1")
    size = max(1, BATCH_BYTES // (scaled.itemsize * layout.length * scaled.shape[1]))
    for some in np.split(np.arange(len(rows.start)), range(size, len(rows.start), size)):
        start = rows.start[some]
        times = grid.origin_micros + (segment.first + start) * grid.step_micros
        columns = {
            "split": pa.array([segment.split] * len(some)),
            "series": pa.array([segment.series] * len(some)),
            "start": pa.array(times, pa.timestamp("us", tz="UTC")),
            "windows": pa.array(rows.windows[some], pa.int32()),
            "own_start": pa.array(rows.own_start[some], pa.int32()),
            "own_stop": pa.array(rows.own_stop[some], pa.int32()),
            "values": npy_column(padded(scaled, start, layout.length)),
            "observed": npy_column(padded(observed, start, layout.length)),
        }
        yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def padded(steps: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    """`steps[s : s + length]` for every s in `start`, zeros after the end: (len(start), length, channels)."""
    index = start[:, None] + np.arange(length)
    taken = steps[np.minimum(index, len(steps) - 1)]
    taken[index >= len(steps)] = 0
    return taken


def npy_column(arrays: np.ndarray) -> pa.Array:
    """A binary column with `np.save` of every `arrays[i]`, made in one buffer."""
    header = npy_header(arrays.shape[1:], arrays.dtype)
    size = len(header) + arrays[0].nbytes
    data = np.empty((len(arrays), size), np.uint8)
    data[:, : len(header)] = np.frombuffer(header, np.uint8)
    data[:, len(header) :] = arrays.reshape(len(arrays), -1).view(np.uint8)
    offsets = np.arange(len(arrays) + 1, dtype=np.int32) * size
    return pa.Array.from_buffers(pa.binary(), len(arrays), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
