"""A dataset as a Spark DataFrame of nested arrays, for whoever goes on in SQL or another language."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hindcast.prep.dataset.blocks import Address, ArrayField, Block, read
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import cut

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH_BYTES = 8_000_000
MOST_TASKS = 4096
# Spark has no unsigned bytes: those hold 0 and 1.
SPARK_TYPES = {"<f4": "float", "|u1": "tinyint", "<i4": "int"}
ROW_FIELDS = "split string, series string, start timestamp, windows int, own_start int, own_stop int"
WINDOW_FIELDS = (
    "split string, series string, start timestamp, context array<array<float>>, target array<array<float>>, "
    "context_observed array<array<tinyint>>, target_observed array<array<tinyint>>"
)


def to_spark(
    spark: SparkSession,
    addresses_by_split: Mapping[str, Sequence[Address]],
    layout: Layout,
    step_micros: int,
    *,
    windows: bool = False,
) -> DataFrame:
    """The rows at some addresses, read where Spark's tasks run: the driver sees none of them.

    One row a stored row: split, series, start, windows, own_start, own_stop as in `Block`; values and observed, and covariates,
    covariates_observed, labels where the dataset has them, as arrays of steps of arrays of columns; attributes as one array. With
    `windows`, one row a window: split, series, start (of its first step), context, target, context_observed, target_observed.
    """
    pairs = [(split, address) for split, addresses in addresses_by_split.items() for address in addresses]
    fields = pairs[0][1].arrays if pairs else ()
    schema = WINDOW_FIELDS if windows else ", ".join([ROW_FIELDS, *map(_ddl, fields)])
    tasks = [(split, json.dumps(asdict(address))) for split, address in pairs]
    slices = spark.sparkContext.parallelize(tasks, max(1, min(len(tasks), MOST_TASKS)))
    rows = spark.createDataFrame(slices, "split string, address string")
    return rows.mapInArrow(_exporter(fields, layout, step_micros, windows), schema)


def nested(array: np.ndarray) -> pa.Array:
    """(n, …) as n lists of lists, made of the array's own buffer; uint8 becomes int8."""
    whole = np.ascontiguousarray(array)
    column = pa.array((whole.view(np.int8) if whole.dtype == np.uint8 else whole).reshape(-1))
    for axis in range(whole.ndim - 1, 0, -1):
        count = int(np.prod(whole.shape[:axis]))
        column = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * whole.shape[axis]), column)
    return column


def _ddl(field: ArrayField) -> str:
    return f"{field.name} {'array<' * len(field.shape)}{SPARK_TYPES[np.dtype(field.dtype).str]}{'>' * len(field.shape)}"


def _exporter(
    fields: Sequence[ArrayField], layout: Layout, step_micros: int, windows: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def export(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for split, text in zip(*(batch[name].to_pylist() for name in ("split", "address")), strict=True):
                block = read(_address(text))
                yield from _windows(split, block, layout, step_micros) if windows else _rows(split, block, fields)

    return export


def _address(text: str) -> Address:
    content = json.loads(text)
    arrays = tuple(ArrayField(field["name"], field["dtype"], tuple(field["shape"])) for field in content.pop("arrays"))
    return Address(**content, arrays=arrays)


def _rows(split: str, block: Block, fields: Sequence[ArrayField]) -> Iterator[pa.RecordBatch]:
    row_bytes = sum(getattr(block, field.name)[:1].nbytes for field in fields)
    for part in _runs(len(block.windows), row_bytes):
        columns = _names(split, block.series[part], block.start[part])
        columns |= {name: pa.array(getattr(block, name)[part]) for name in ("windows", "own_start", "own_stop")}
        columns |= {field.name: nested(getattr(block, field.name)[part]) for field in fields}
        yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _windows(split: str, block: Block, layout: Layout, step_micros: int) -> Iterator[pa.RecordBatch]:
    row = np.repeat(np.arange(len(block.windows)), block.windows)
    number = np.arange(len(row)) - np.repeat(np.cumsum(block.windows) - block.windows, block.windows)
    offset = number * layout.stride
    past, future = slice(None, layout.context), slice(layout.look_back, None)
    values, observed = cut(block.values, layout.window), cut(block.observed, layout.window)
    for part in _runs(len(row), 5 * layout.window * block.values.shape[2]):
        start = block.start[row[part]] + offset[part] * np.timedelta64(step_micros, "us")
        columns = _names(split, block.series[row[part]], start)
        for name, steps in (("", values[row[part], offset[part]]), ("_observed", observed[row[part], offset[part]])):
            columns |= {f"context{name}": nested(steps[:, past]), f"target{name}": nested(steps[:, future])}
        ordered = ("split", "series", "start", "context", "target", "context_observed", "target_observed")
        yield pa.RecordBatch.from_arrays([columns[name] for name in ordered], list(ordered))


def _names(split: str, series: np.ndarray, start: np.ndarray) -> dict[str, pa.Array]:
    times = pa.array(start.astype(np.int64), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return {"split": pa.array([split] * len(series)), "series": pa.array(series.tolist(), pa.string()), "start": times}


def _runs(rows: int, row_bytes: int) -> Iterator[slice]:
    """All rows, some megabytes at a time."""
    size = max(1, BATCH_BYTES // max(1, row_bytes))
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))
