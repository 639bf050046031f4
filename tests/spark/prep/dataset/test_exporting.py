"""A dataset as a Spark DataFrame, and a dataset that Petastorm wrote row by row as blocks."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from petastorm import make_reader
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema, UnischemaField, dict_to_spark_row
from pyspark.sql import SparkSession
from pyspark.sql.types import IntegerType, StringType, TimestampType

from hindcast.prep.dataset import exporting
from hindcast.prep.dataset.blocks import Address, ArrayField, Block, read
from hindcast.prep.dataset.exporting import nested, to_spark
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.sequences.rows import npy_column

LAYOUT = Layout(context=3, lead=1, horizon=2, stride=2, windows_per_row=3)
HOUR = 3_600_000_000
FIELDS = (
    ArrayField("values", "<f4", (LAYOUT.length, 2)),
    ArrayField("observed", "|u1", (LAYOUT.length, 2)),
    ArrayField("covariates", "<f4", (LAYOUT.length, 1)),
    ArrayField("covariates_observed", "|u1", (LAYOUT.length, 1)),
    ArrayField("labels", "<i4", (LAYOUT.length, 1)),
    ArrayField("attributes", "<f4", (3,)),
)


def part(file: Path, seed: int, rows: int) -> list[Address]:
    rng = np.random.default_rng(seed)
    arrays = {field.name: rng.integers(0, 2, (rows, *field.shape)).astype(field.dtype) for field in FIELDS}
    arrays["values"] = rng.normal(size=arrays["values"].shape).astype("<f4")
    table = {name: npy_column(array) for name, array in arrays.items()}
    start = np.datetime64("2025-01-01", "us") + rng.integers(0, 1000, rows)
    scalars = {"series": [f"s{seed}-{row}" for row in range(rows)], "start": start}
    numbers = {name: rng.integers(0, 4, rows).astype(np.int32) for name in ("windows", "own_start", "own_stop")}
    pq.write_table(pa.table({**table, **scalars, **numbers}), file, row_group_size=2)
    digest = xxhash.xxh3_128(file.read_bytes()).hexdigest()
    return [Address(str(file), digest, group, 0, min(2, rows - 2 * group), FIELDS) for group in range(-(-rows // 2))]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Address]]:
    folder = tmp_path_factory.mktemp("parts")
    return {"train": part(folder / "a", 1, 5), "validation": [], "test": part(folder / "b", 2, 2)}


def test_stored_rows_become_rows_of_nested_arrays(spark: SparkSession, addresses: dict[str, list[Address]]) -> None:
    frame = to_spark(spark, addresses, LAYOUT, HOUR)
    scalars = ["split", "series", "start", "windows", "own_start", "own_stop"]
    assert frame.columns == [*scalars, *(field.name for field in FIELDS)]
    assert frame.rdd.getNumPartitions() == 4
    found = {row["series"]: row for row in frame.collect()}
    assert len(found) == 7
    for split, some in addresses.items():
        for block in map(read, some):
            for index, series in enumerate(block.series):
                row = found[series]
                assert row["split"] == split
                assert np.datetime64(row["start"]) == block.start[index]
                for name in (*scalars[3:], *(field.name for field in FIELDS)):
                    np.testing.assert_array_equal(np.array(row[name]), getattr(block, name)[index])


def test_windows_become_rows(spark: SparkSession, addresses: dict[str, list[Address]]) -> None:
    frame = to_spark(spark, addresses, LAYOUT, HOUR, windows=True)
    found = {(row["split"], row["series"], np.datetime64(row["start"])): row for row in frame.collect()}
    expected = 0
    for split, some in addresses.items():
        windows = Windows.over([read(address) for address in some], LAYOUT, HOUR)
        expected += len(windows)
        for batch in windows.batches(1):
            row = found[(split, batch.series[0], batch.start[0])]
            for name in ("context", "target", "context_observed", "target_observed"):
                np.testing.assert_array_equal(np.array(row[name]), getattr(batch, name)[0])
    assert len(found) == expected > 0


@pytest.mark.parametrize("windows", [False, True])
def test_batches_are_as_small_as_asked_and_lose_nothing(
    addresses: dict[str, list[Address]], windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, because a Spark task would not see another limit."""
    given = pa.RecordBatch.from_pydict(
        {"split": ["train"] * 3, "address": [json.dumps(asdict(address)) for address in addresses["train"]]}
    )
    export = exporting._exporter(FIELDS, LAYOUT, HOUR, windows)
    whole = pa.Table.from_batches(export([given]))
    monkeypatch.setattr(exporting, "BATCH_BYTES", 1)
    small = list(export([given]))
    assert {batch.num_rows for batch in small} == {1}
    assert pa.Table.from_batches(small).to_pylist() == whole.to_pylist()


def test_no_rows_are_an_empty_frame(spark: SparkSession) -> None:
    assert to_spark(spark, {"train": []}, LAYOUT, HOUR).count() == 0
    assert to_spark(spark, {}, LAYOUT, HOUR, windows=True).count() == 0


def test_what_cannot_be_read_fails_in_words_of_ours(
    spark: SparkSession, addresses: dict[str, list[Address]], tmp_path: Path
) -> None:
    missing = Address(str(tmp_path / "gone"), "0" * 32, 0, 0, 1, FIELDS)
    with pytest.raises(Exception, match=r"gone: is missing\. The dataset is damaged: prepare it again"):
        to_spark(spark, {"train": [missing]}, LAYOUT, HOUR).collect()


def test_nested_arrays_are_the_buffer_itself() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    column = nested(array)
    assert column.to_pylist() == array.tolist()
    assert column.flatten().flatten().buffers()[1].address == array.ctypes.data
    assert nested(np.zeros((0, 3, 4), np.uint8)).to_pylist() == []
    assert nested(np.array([[255]], np.uint8)).to_pylist() == [[-1]]


SHAPE = (LAYOUT.length, 2)
UNISCHEMA = Unischema(
    "Rows",
    [
        UnischemaField("series", np.str_, (), ScalarCodec(StringType()), False),
        UnischemaField("start", np.datetime64, (), ScalarCodec(TimestampType()), False),
        *(UnischemaField(name, np.int32, (), ScalarCodec(IntegerType()), False) for name in ("windows", "own_start", "own_stop")),
        UnischemaField("values", np.float32, SHAPE, NdarrayCodec(), False),
        UnischemaField("observed", np.uint8, SHAPE, NdarrayCodec(), False),
    ],
)


def test_what_petastorm_writes_row_by_row_is_read_as_petastorm_reads_it(spark: SparkSession, tmp_path: Path) -> None:
    def encoded(number: int) -> Any:
        rng = np.random.default_rng(number)
        values = rng.normal(size=SHAPE).astype(np.float32)
        return dict_to_spark_row(
            UNISCHEMA,
            {
                "series": f"s{number:03d}",
                "start": datetime(2025, 1, 1) + timedelta(minutes=number),
                **{name: np.int32(rng.integers(9)) for name in ("windows", "own_start", "own_stop")},
                # Every third lies in memory as Fortran has it, which np.save keeps.
                "values": values if number % 3 else np.asfortranarray(values),
                "observed": rng.integers(0, 2 if number % 2 else 1, SHAPE).astype(np.uint8),
            },
        )

    url = (tmp_path / "set").as_uri()
    with materialize_dataset(spark, url, UNISCHEMA, row_group_size_mb=1):
        rows = spark.sparkContext.parallelize(range(200), 2).map(encoded)
        spark.createDataFrame(rows, UNISCHEMA.as_spark_schema()).write.parquet(url)
    blocks = [block for file in sorted((tmp_path / "set").glob("*.parquet")) for block in blocks_of(file)]
    ours = {series: (block, row) for block in blocks for row, series in enumerate(block.series)}
    assert len(ours) == 200
    with make_reader(url, num_epochs=1, reader_pool_type="dummy") as reader:
        for theirs in reader:
            block, row = ours.pop(theirs.series)
            assert block.start[row] == np.datetime64(theirs.start)
            for name in ("windows", "own_start", "own_stop", "values", "observed"):
                np.testing.assert_array_equal(getattr(block, name)[row], getattr(theirs, name))
    assert not ours


def blocks_of(file: Path) -> list[Block]:
    digest = xxhash.xxh3_128(file.read_bytes()).hexdigest()
    metadata = pq.ParquetFile(file).metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return [read(Address(str(file), digest, group, 0, size, FIELDS[:2])) for group, size in enumerate(sizes)]
