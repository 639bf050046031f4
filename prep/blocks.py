"""Row groups as NumPy arrays: the only code that reads a dataset's files.

Rows of one shape and type have the same `.npy` header, so an NdarrayCodec column is a strided view of Arrow's buffer. What
was decoded once is kept as memory-mapped files in a directory of this node, so every later pass, by any process, is a
page-cache read.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prep.errors import InputError

ATTEMPTS = 3


@dataclass(frozen=True)
class Address:
    """Rows [start, stop) of one row group of one file; `sha256` is the file's."""

    file: str
    sha256: str
    row_group: int
    start: int
    stop: int
    length: int
    channels: int


@dataclass(frozen=True)
class Block:
    """Rows of a dataset.

    values      (rows, length, channels) float32, scaled; 0 where padded
    observed    (rows, length, channels) uint8: 1 measured, 0 filled or padding
    series      (rows,) str
    start       (rows,) datetime64[us], UTC: the time of the row's first step
    windows     (rows,) int32: how many windows start in the row, at steps 0, stride, 2·stride …
    own_start, own_stop   (rows,) int32: the steps [own_start, own_stop) belong to this row and to no other
    """

    values: np.ndarray
    observed: np.ndarray
    series: np.ndarray
    start: np.ndarray
    windows: np.ndarray
    own_start: np.ndarray
    own_stop: np.ndarray


def read(address: Address) -> Block:
    """The rows at an address. Arrays are read-only; the large ones are memory-mapped."""
    folder = cache_directory() / f"{address.sha256[:32]}-{address.row_group}"
    for attempt in range(ATTEMPTS):
        if not folder.is_dir():
            _decode_into(folder, address)
        try:
            fields = _load(folder)
            break
        except (OSError, ValueError, EOFError):  # what a cleaner of old files left of it, or another process is mending it
            if attempt == ATTEMPTS - 1:
                raise
            shutil.rmtree(folder, ignore_errors=True)
    return Block(**{name: column[address.start : address.stop] for name, column in fields.items()})


def _load(folder: Path) -> dict[str, np.ndarray]:
    """Only the large arrays are mapped: each mapping takes a file descriptor."""
    return {
        name: np.load(folder / f"{name}.npy", mmap_mode="r" if name in ("values", "observed") else None)
        for name in Block.__dataclass_fields__
    }


@lru_cache
def cache_directory() -> Path:
    """Where this node keeps decoded row groups: in HINDCAST_CACHE, Spark's local directory, or the temporary directory."""
    base = os.environ.get("HINDCAST_CACHE") or os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or tempfile.gettempdir()
    folder = Path(base) / f"hindcast-blocks-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A split of many row groups stays mapped while windows of it are used; the usual soft limit is 1024 files.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user: set HINDCAST_CACHE to a directory of your own")
    return folder


def _decode_into(folder: Path, address: Address) -> None:
    """Decodes a whole row group and moves it into place at once, so that no process ever sees half of it."""
    try:
        table = pq.ParquetFile(address.file).read_row_group(address.row_group)
    except FileNotFoundError:
        raise InputError(f"{address.file}: is missing. The dataset is damaged: prepare it again with `hindcast prep`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{address.file}, row group {address.row_group}: cannot be read: {error}") from None
    shape = (address.length, address.channels)
    columns = {
        "values": decode(table["values"], shape, np.dtype("<f4"), address.file),
        "observed": decode(table["observed"], shape, np.dtype("u1"), address.file),
        "series": np.array(table["series"].to_pylist(), dtype=np.str_),
        "start": table["start"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]"),
        **{name: table[name].to_numpy().astype(np.int32) for name in ("windows", "own_start", "own_stop")},
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".decoding-") as scratch:
        staged = Path(scratch) / "whole"
        staged.mkdir()
        for name, column in columns.items():
            np.save(staged / f"{name}.npy", column, allow_pickle=False)
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process decoded the same row group first
                raise


def decode(column: pa.ChunkedArray, shape: tuple[int, ...], dtype: np.dtype, file: str) -> np.ndarray:
    """A binary column of `np.save`d arrays, all of one shape and type, as one array (rows, *shape).

    Raises InputError where a value has another shape or type, or is missing.
    """
    header = npy_header(shape, dtype)
    size = len(header) + int(np.prod(shape)) * dtype.itemsize
    chunks = [_strided(chunk, header, size, file) for chunk in column.chunks if len(chunk)]
    if not chunks:
        return np.empty((0, *shape), dtype)
    return np.concatenate([np.ascontiguousarray(chunk[:, len(header) :]) for chunk in chunks]).view(dtype).reshape(-1, *shape)


def _strided(chunk: pa.Array, header: bytes, size: int, file: str) -> np.ndarray:
    wide = pa.types.is_large_binary(chunk.type)
    _, offset_buffer, data = chunk.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64 if wide else np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    raw = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    expected = np.frombuffer(header, np.uint8)
    uniform = chunk.null_count == 0 and (np.diff(offsets) == size).all()
    if not uniform or not (raw.reshape(len(chunk), size)[:, : len(header)] == expected).all():
        raise InputError(
            f"{file}: a value does not have the shape and type that the manifest says; the file is not of this dataset"
        )
    return raw.reshape(len(chunk), size)


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What `np.save` writes before the data of such an array."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()
