"""Row groups as NumPy arrays: the only code that reads a dataset's files.

Rows of one shape and type have the same `.npy` header, so an NdarrayCodec column is a strided view of Arrow's buffer. What was
decoded once is kept as a file of this node (prep/files/cached_arrays.py), so every later pass, by any process, is a read of
the page cache.

A file's bytes are compared with the manifest's digest before any of them is given to pyarrow, once on a node. Not at the same
time: of 284,544 one- to three-byte changes to a part, pyarrow 14.0.2 answered four with SIGSEGV.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hindcast.prep.errors import InputError
from hindcast.prep.files.cache import cache_directory
from hindcast.prep.files.cached_arrays import Sink, entry_arrays, in_memory
from hindcast.prep.files.soundness import open_verified

# Small enough that a batch stays in the processor's cache between being decoded and written, and that no memory is mapped anew.
BATCH_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
FORMAT = "2"  # of what is kept; part of its name, so another version of this code does not find it
MEND = "The dataset is damaged: prepare it again with `hindcast prep`"


@dataclass(frozen=True)
class ArrayField:
    """A column of encoded arrays: `shape` is one row's, `dtype` as NumPy writes it (<f4, |u1, <i4)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Address:
    """Rows [start, stop) of one row group of one file (an absolute path or a URI); `digest` is the file's.

    `arrays` are those of Block's arrays that the file has: values and observed, and perhaps more.
    """

    file: str
    digest: str
    row_group: int
    start: int
    stop: int
    arrays: tuple[ArrayField, ...]


@dataclass(frozen=True)
class Block:
    """Rows of a dataset. A file without covariates, labels or attributes gives them a last dimension of 0.

    values               (rows, length, channels) float32, scaled; 0 where padded
    observed             (rows, length, channels) uint8: 1 measured, 0 filled or padding
    covariates           (rows, length, covariates) float32
    covariates_observed  (rows, length, covariates) uint8
    labels               (rows, length, labels) int32; -1 where missing
    attributes           (rows, attributes) float32: of the row's series
    series               (rows,) str
    start                (rows,) datetime64[us], UTC: the time of the row's first step
    windows              (rows,) int32: how many windows start in the row, at steps 0, stride, 2·stride …
    own_start, own_stop  (rows,) int32: the steps [own_start, own_stop) belong to this row and to no other
    """

    values: np.ndarray
    observed: np.ndarray
    covariates: np.ndarray
    covariates_observed: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    series: np.ndarray
    start: np.ndarray
    windows: np.ndarray
    own_start: np.ndarray
    own_stop: np.ndarray


ARRAYS = ("values", "observed", "covariates", "covariates_observed", "labels", "attributes")
INTEGERS = ("windows", "own_start", "own_stop")
SCALARS = ("series", "start", *INTEGERS)


def read(address: Address) -> Block:
    """The rows at an address: read-only arrays, mapped from what this node keeps, or from memory where there is no room to keep.

    Raises InputError where the file is missing, cannot be read, is not the one that the manifest describes (its bytes have
    another digest), or does not hold what the address says.
    """
    _must_be_digest(address)
    described = f"{FORMAT} {address.row_group} {address.arrays}"
    name = f"{address.digest}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
    return _rows_at(address, entry_arrays(cache_directory(), name, lambda sink: _decode(address, sink)))


def read_anew(address: Address) -> Block:
    """As `read`, but from the file itself, whatever this node keeps, and nothing of it is kept."""
    _must_be_digest(address)
    return _rows_at(address, in_memory(lambda sink: _decode(address, sink)))


def _must_be_digest(address: Address) -> None:
    if not re.fullmatch(r"[0-9a-f]{32}", address.digest):  # it becomes the name of a file
        raise InputError(f"{address.file}: {address.digest!r} is not a digest of 128 bits in hexadecimal. {MEND}")


def _rows_at(address: Address, arrays: dict[str, np.ndarray]) -> Block:
    rows = len(arrays["windows"])
    if not 0 <= address.start <= address.stop <= rows:
        raise InputError(
            f"{address.file}, row group {address.row_group}: there are {rows} rows, and rows {address.start} to {address.stop} "
            f"were expected. {MEND}"
        )
    return Block(**{field: array[address.start : address.stop] for field, array in _completed(arrays).items()})


def read_each(addresses: Sequence[Address], ahead: int = 4) -> Iterator[Block]:
    """The blocks at some addresses, in their order; the next `ahead` are hashed and decoded meanwhile, in threads."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="hindcast-read") as pool:
        coming: list[Future[Block]] = [pool.submit(read, address) for address in addresses[:ahead]]
        try:
            for index in range(len(addresses)):
                block = coming.pop(0).result()
                coming += [pool.submit(read, address) for address in addresses[index + ahead : index + ahead + 1]]
                yield block
        finally:
            for future in coming:
                future.cancel()


def decode(column: pa.ChunkedArray, shape: tuple[int, ...], dtype: np.dtype, file: str) -> np.ndarray:
    """A binary column of `np.save`d arrays, all of one shape and type, as one array (rows, *shape).

    The column may be plain, large or dictionary-encoded. Raises InputError where a value has another shape or type, or is
    missing.
    """
    decoded = np.empty((len(column), *shape), dtype)
    first = 0
    for chunk in column.chunks:
        decoded[first : first + len(chunk)] = _arrays(chunk, shape, dtype, file)
        first += len(chunk)
    return decoded


@lru_cache
def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What `np.save` writes before the data of such an array."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _completed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows, length, _ = arrays["values"].shape
    absent: dict[str, np.ndarray] = {
        "covariates": np.empty((rows, length, 0), np.float32),
        "covariates_observed": np.empty((rows, length, 0), np.uint8),
        "labels": np.empty((rows, length, 0), np.int32),
        "attributes": np.empty((rows, 0), np.float32),
    }
    return absent | arrays


def _decode(address: Address, sink: Sink) -> None:
    """Checks the file's bytes, then puts the arrays of a row group into `sink`, some hundred kilobytes at a time."""
    where = f"{address.file}, row group {address.row_group}"
    file = open_verified(cache_directory(), address.file, address.digest)
    dtypes = {field.name: np.dtype(field.dtype) for field in address.arrays}
    row_bytes = sum(math.prod(field.shape) * dtypes[field.name].itemsize for field in address.arrays)
    try:
        with file, pq.ParquetFile(file, buffer_size=BUFFER_BYTES) as parquet:
            rows = _rows(parquet, address, where)
            append = {field.name: sink.reserve(field.name, dtypes[field.name], (rows, *field.shape)) for field in address.arrays}
            scalars = []
            for batch in parquet.iter_batches(
                max(1, BATCH_BYTES // max(1, row_bytes)),
                row_groups=[address.row_group],
                columns=[*SCALARS, *append],
                use_threads=False,
            ):
                for field in address.arrays:
                    append[field.name](_arrays(batch[field.name], field.shape, dtypes[field.name], where))
                scalars.append(batch.select(SCALARS))
            for name, array in _scalars(pa.Table.from_batches(scalars), where).items():
                sink.reserve(name, array.dtype, array.shape)(array)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read: {error}. {MEND}") from None


def _rows(parquet: pq.ParquetFile, address: Address, where: str) -> int:
    """The rows of the row group, when the file has it and all its columns."""
    if not 0 <= address.row_group < parquet.num_row_groups:
        raise InputError(f"{where}: the file has {parquet.num_row_groups} row groups. {MEND}")
    absent = {*SCALARS, *(field.name for field in address.arrays)} - {*parquet.schema_arrow.names}
    if absent:
        raise InputError(f"{where}: there is no column {min(absent)!r}. {MEND}")
    return parquet.metadata.row_group(address.row_group).num_rows


def _scalars(table: pa.Table, where: str) -> dict[str, np.ndarray]:
    for name in SCALARS:
        if table[name].null_count:
            raise InputError(f"{where}, column {name!r}: a value is missing. {MEND}")
    series = table["series"].combine_chunks().dictionary_encode()
    names = np.array(series.dictionary.to_pylist(), dtype=np.str_)
    return {
        "series": names[series.indices.to_numpy()],
        "start": table["start"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]"),
        **{name: table[name].to_numpy().astype(np.int32) for name in INTEGERS},
    }


def _arrays(column: pa.Array, shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
    """(rows, *shape), a view of the column's own bytes where every value has the header that `np.save` writes today."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    wide = pa.types.is_large_binary(column.type)
    if column.null_count or not (wide or pa.types.is_binary(column.type)):
        problem = f"{column.null_count} missing values" if column.null_count else f"a column of {column.type}"
        raise InputError(f"{where}: found {problem}, and encoded arrays {dtype.str} {shape} were expected. {MEND}")
    if not len(column):
        return np.empty((0, *shape), dtype)
    header = npy_header(shape, dtype)
    size = len(header) + math.prod(shape) * dtype.itemsize
    _, offset_buffer, data = column.buffers()
    kind: type[np.signedinteger[Any]] = np.int64 if wide else np.int32
    offsets = np.frombuffer(offset_buffer, kind)[column.offset : column.offset + len(column) + 1]
    if (offsets[1:] - offsets[:-1] == size).all():
        raw = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].reshape(len(column), size)
        if (raw[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
            return raw[:, len(header) :].view(dtype).reshape(len(column), *shape)
    return np.stack([_array(value, shape, dtype, where) for value in column.to_pylist()])


def _array(value: bytes, shape: tuple[int, ...], dtype: np.dtype, where: str) -> np.ndarray:
    """One value whose header is another: of an array in Fortran's order, or as other versions of NumPy pad it."""
    try:
        array = np.load(io.BytesIO(value), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{where}: a value is not an array as `np.save` writes it ({error}). {MEND}") from None
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        problem = f"{array.dtype.str} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise InputError(f"{where}: a value is {problem}, and the manifest says {dtype.str} {shape}. {MEND}")
    return array
