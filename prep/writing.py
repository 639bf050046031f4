"""Writes a dataset whole or not at all: into a sibling directory, read back, then renamed into place."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema
from pyspark.sql import DataFrame, SparkSession

from prep.dataset import MANIFEST, Manifest, Part, read_manifest
from prep.errors import InputError

ROW_GROUP_MB = 16


@contextmanager
def staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """A directory to write into, which takes the place of `out` when the block ends well and vanishes when it does not.

    Raises InputError where `out` is taken (with `overwrite`: taken by anything but a dataset) or cannot be written.
    """
    refuse_taken(out, overwrite)
    staging = out.parent / f".{out.name}.writing-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
        if out.exists():
            replaced = out.parent / f".{out.name}.replaced-{os.getpid()}"
            out.rename(replaced)
            staging.rename(out)
            shutil.rmtree(replaced)
        else:
            staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_taken(out: Path, overwrite: bool) -> None:
    """Raises InputError where a dataset cannot be put."""
    if not out.parent.is_dir():
        raise InputError(f"{out}: the directory {out.parent} does not exist")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: the directory {out.parent} cannot be written")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: is there already; --overwrite replaces it")
    if out.exists():
        read_manifest(out)


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
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Part(
        path=file,
        split=Path(file).parts[0].removeprefix("split="),  # type: ignore[arg-type]  # checked when the model is made
        rows=tuple(opened.metadata.row_group(group).num_rows for group in groups),
        windows=tuple(sum(opened.read_row_group(group, ["windows"])["windows"].to_pylist()) for group in groups),
        bytes=path.stat().st_size,
        sha256=digest,
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def digest_of(parts: tuple[Part, ...]) -> str:
    """Of the data in all files, whatever the files are called."""
    return hashlib.sha256("\n".join(sorted(f"{part.split} {part.sha256}" for part in parts)).encode()).hexdigest()
