"""Writes a dataset's files, and reads them back to describe them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema
from pyspark.sql import DataFrame, SparkSession

from prep.dataset import MANIFEST, Manifest, Part

ROW_GROUP_MB = 16
ROW_FIELDS = ("series", "start", "windows", "own_start", "own_stop", "values", "observed")


def write_rows(spark: SparkSession, rows: DataFrame, folder: Path, schema: Unischema) -> tuple[Part, ...]:
    """Writes `rows` as `split=…/part-*.parquet` with Petastorm's metadata, and describes what the files hold."""
    options = {"parquet.page.size.row.check.min": "8", "parquet.enable.dictionary": "false", "compression": "snappy"}
    with warnings.catch_warnings(), materialize_dataset(spark, folder.absolute().as_uri(), schema, ROW_GROUP_MB):
        # Petastorm speaks to pyarrow through interfaces since deprecated.
        warnings.filterwarnings("ignore", category=FutureWarning, module="petastorm")
        ordered = rows.sortWithinPartitions("split", "series", "start")
        ordered.write.mode("append").partitionBy("split").options(**options).parquet(str(folder))
    files = sorted(str(file.relative_to(folder)) for file in folder.glob("split=*/*.parquet"))
    if not files:
        return ()
    described = spark.sparkContext.parallelize(files, min(len(files), 256)).map(lambda file: describe(folder, file)).collect()
    return tuple(sorted(described, key=lambda part: part.path))


def describe(folder: Path, file: str) -> Part:
    """Reads a written file back: what its row groups hold, and what they and the file's bytes hash to."""
    path = folder / file
    split = Path(file).parts[0].removeprefix("split=")
    opened = pq.ParquetFile(path)
    rows, windows, contents = [], [], []
    for index in range(opened.num_row_groups):
        group = opened.read_row_group(index)
        rows.append(group.num_rows)
        windows.append(sum(group["windows"].to_pylist()))
        contents.append(added(digest_of_row(split, row) for row in _rows(group)))
    return Part(
        path=file,
        split=split,  # type: ignore[arg-type]  # checked when the model is made
        rows=tuple(rows),
        windows=tuple(windows),
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        content=added(contents),
    )


def _rows(group: pa.Table) -> Iterator[tuple[Any, ...]]:
    whole = group.set_column(group.schema.get_field_index("start"), "start", group["start"].cast(pa.int64()))
    return zip(*(whole[name].to_pylist() for name in ROW_FIELDS), strict=True)


def digest_of_row(split: str, row: tuple[Any, ...]) -> str:
    """SHA-256 of a row's split and ROW_FIELDS."""
    *scalars, values, observed = row
    digest = hashlib.sha256(json.dumps([split, *scalars]).encode())
    digest.update(values)
    digest.update(observed)
    return digest.hexdigest()


def added(digests: Iterable[str]) -> str:
    """The sum of digests modulo 2^256: of a set of rows, whatever their order and whichever files they are in.

    Files themselves differ from run to run in bytes that mean nothing (the order in which a footer lists encodings).
    """
    return f"{sum(int(digest, 16) for digest in digests) % 2**256:064x}"


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
