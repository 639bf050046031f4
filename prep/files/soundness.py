"""Files of a dataset, opened only when their bytes have the digest that the manifest names."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import xxhash

from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.files.cache import alone, boot, open_entry, put, put_mark, touch, write


def open_verified(folder: Path, file: str, digest: str) -> pa.NativeFile:
    """Opens a file after its bytes were compared with `digest` (XXH3, 128 bits, in hexadecimal); a remote file is fetched first.

    A node compares a file once, until the file changes. Raises InputError where it is missing, cannot be read, or has another
    digest.
    """
    if not storage.is_local(file):
        return _fetched(folder, file, digest)
    mark = f"{digest}-{_fingerprint(file)}.sound"
    if not touch(folder / mark):
        with alone(folder, f"file {digest}"):
            if not touch(folder / mark):
                _compare(file, storage.xxh128_of(file), digest)
                with suppress(OSError):  # without a mark it is checked again
                    put_mark(folder, mark)
    return storage.open_for_arrow(file)


def _fetched(folder: Path, uri: str, expected: str) -> pa.NativeFile:
    name = f"{expected}-{boot()}.fetched"
    with alone(folder, f"file {expected}"):
        with suppress(FileNotFoundError):
            return _for_arrow(open_entry(folder, name))

        def fill(descriptor: int) -> None:
            digest, at = xxhash.xxh3_128(), 0
            for chunk in storage.chunks(uri):
                digest.update(chunk)
                write(descriptor, chunk, at)
                at += len(chunk)
            _compare(uri, digest.hexdigest(), expected)

        with put(folder, name, fill) as descriptor:
            return _for_arrow(os.dup(descriptor))


def _for_arrow(descriptor: int) -> pa.NativeFile:
    """Opened once more, from its beginning; the descriptor is closed."""
    try:
        return pa.OSFile(f"/proc/self/fd/{descriptor}", mode="r")
    finally:
        os.close(descriptor)


def _compare(file: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise InputError(
            f"{file}: its bytes have the digest {actual}, and the manifest says {expected}: it has been changed or damaged. "
            "Copy it again from where it is whole, or prepare the dataset again with `hindcast prep`"
        )


def _fingerprint(file: str) -> str:
    """Of a local file's place and state: another after anything was written to it."""
    path = storage.local_path(file)
    try:
        state = path.stat()
    except FileNotFoundError:
        raise InputError(f"{file}: is missing. The dataset is damaged: prepare it again with `hindcast prep`") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    described = f"{path} {state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return hashlib.sha256(described.encode()).hexdigest()[:16]
