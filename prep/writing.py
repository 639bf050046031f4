"""Writes a dataset's files, and reads them back to describe them."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema
from pyspark.sql import DataFrame, SparkSession

from prep.dataset import MANIFEST, Manifest, Part

ROW_GROUP_MB = 16


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
    """Reads a written file back: what its row groups hold, and what its bytes hash to."""
    path = folder / file
    opened = pq.ParquetFile(path)
    groups = range(opened.num_row_groups)
    return Part(
        path=file,
        split=Path(file).parts[0].removeprefix("split="),  # type: ignore[arg-type]  # checked when the model is made
        rows=tuple(opened.metadata.row_group(group).num_rows for group in groups),
        windows=tuple(sum(opened.read_row_group(group, ["windows"])["windows"].to_pylist()) for group in groups),
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
    )


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def digest_of(parts: tuple[Part, ...]) -> str:
    """Of the data in all files, whatever the files are called."""
    return hashlib.sha256("\n".join(sorted(f"{part.split} {part.sha256}" for part in parts)).encode()).hexdigest()
