"""Writes a dataset's files, and reads them back to describe them."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import ROW_GROUPS_PER_FILE_KEY, UNISCHEMA_KEY
from petastorm.unischema import Unischema
from pyspark.sql import DataFrame, SparkSession

from hindcast.prep.dataset.blocks import Address, read_anew
from hindcast.prep.dataset.manifest import Manifest, Part, added, parse_manifest
from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.files.cache import cache_directory
from hindcast.prep.files.names import MANIFEST, PETASTORM

# As Petastorm's own `materialize_dataset` has Spark write, which then has all files opened by a job to count their row groups.
WRITTEN = {
    "parquet.block.size": str(16 * 2**20),
    "parquet.block.size.row.check.min": "3",
    "parquet.row-group.size.row.check.min": "3",
    "parquet.page.size.row.check.min": "8",
    "parquet.enable.dictionary": "false",
    "parquet.summary.metadata.level": "NONE",
    "compression": "snappy",
}
# As much is described sooner here than a task is sent to read it.
DESCRIBED_HERE = 16 * 2**20
SCALARS = ("series", "start", "windows", "own_start", "own_stop")


def write_rows(
    spark: SparkSession, rows: DataFrame, folder: Path, schema: Unischema, before: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Writes `rows`, one or more, as `split=…/part-*.parquet` with Petastorm's metadata, and describes what the new files hold.

    Parts of `before` may be in the folder, or elsewhere: the metadata is about them as well.
    """
    there = {part.path for part in before}
    ordered = rows.sortWithinPartitions("split", "series", "start")
    ordered.write.mode("append").partitionBy("split").options(**WRITTEN).parquet(str(folder))
    files = [file for file in files_of(folder, "split=*/*.parquet") if file not in there]
    if not files:
        raise InputError(
            f"{folder}: Spark's executors wrote rows into it, and this process sees none. On a cluster it must be in a "
            "directory that all machines share; HINDCAST_STAGING names that directory for what goes to a URI"
        )
    if sum((folder / file).stat().st_size for file in files) <= DESCRIBED_HERE:
        described = [describe(folder, file) for file in files]
    else:
        paths = spark.sparkContext.parallelize(files, min(len(files), 256))
        described = paths.map(lambda file: describe(folder, file)).collect()
    _write_metadata(folder, schema, (*before, *described))
    return tuple(sorted(described, key=lambda part: part.path))


def files_of(folder: Path, pattern: str) -> tuple[str, ...]:
    """Their paths in the folder, ascending."""
    return tuple(sorted(str(file.relative_to(folder)) for file in folder.glob(pattern)))


def _write_metadata(folder: Path, schema: Unischema, parts: tuple[Part, ...]) -> None:
    """Petastorm's own: what a row is, and the row groups of every file, of those elsewhere too. It is written, and never read."""
    counts = {part.path: len(part.rows) for part in parts}
    own = {UNISCHEMA_KEY: pickle.dumps(schema), ROW_GROUPS_PER_FILE_KEY: json.dumps(counts)}
    stored = pq.read_schema(folder / parts[-1].path)
    pq.write_metadata(stored.with_metadata({**(stored.metadata or {}), **own}), folder / PETASTORM)


def describe(folder: Path, file: str) -> Part:
    """Reads a written file back: what its row groups hold, and what they and the file's bytes hash to."""
    path = folder / file
    split = Path(file).parts[0].removeprefix("split=")
    opened = pq.ParquetFile(path)
    arrays = [name for name in opened.schema_arrow.names if name not in SCALARS]
    rows, windows, steps, contents = [], [], [], []
    for index in range(opened.num_row_groups):
        group = opened.read_row_group(index)
        rows.append(group.num_rows)
        windows.append(sum(group["windows"].to_pylist()))
        steps.append(sum(group["own_stop"].to_pylist()) - sum(group["own_start"].to_pylist()))
        contents.append(added(digest_of_row(split, row) for row in _rows(group, arrays)))
    return Part(
        path=file,
        split=split,  # type: ignore[arg-type]  # checked when the model is made
        rows=tuple(rows),
        windows=tuple(windows),
        steps=tuple(steps),
        bytes=path.stat().st_size,
        sha256=storage.sha256_of(str(path)),
        digest=storage.xxh128_of(str(path)),
        content=added(contents),
    )


def _rows(group: pa.Table, arrays: list[str]) -> Iterator[tuple[Any, ...]]:
    """(scalars, arrays) of each row."""
    whole = group.set_column(group.schema.get_field_index("start"), "start", group["start"].cast(pa.int64()))
    scalars = zip(*(whole[name].to_pylist() for name in SCALARS), strict=True)
    return zip(scalars, zip(*(whole[name].to_pylist() for name in sorted(arrays)), strict=True), strict=True)


def digest_of_row(split: str, row: tuple[Any, ...]) -> str:
    """SHA-256 of a row's split, scalars and arrays."""
    scalars, arrays = row
    digest = hashlib.sha256(json.dumps([split, *scalars]).encode())
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()


def must_open(folder: Path, written: tuple[Part, ...]) -> None:
    """Opens a dataset as whoever uses it will: its manifest, and of each split the first row group that was written.

    Raises RuntimeError where that cannot be done, or a value of it is not finite: then it takes nobody's place.
    """
    cache_directory()  # where that is not ours, the dataset is not to blame, and the error says what helps
    file = folder / MANIFEST
    try:
        manifest = parse_manifest(file.read_text(encoding="utf-8"), str(file))
        for part in {part.split: part for part in reversed(written)}.values():
            address = Address(str(folder.absolute() / part.path), part.digest, 0, 0, part.rows[0], manifest.arrays)
            block = read_anew(address)
            if not (np.isfinite(block.values).all() and np.isfinite(block.covariates).all()):
                raise InputError(f"{address.file}: a value in it is not finite")
    except InputError as error:
        raise RuntimeError(f"what was written cannot be used, and was not put in place: {error}") from error


def write_manifest(manifest: Manifest, folder: Path) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
