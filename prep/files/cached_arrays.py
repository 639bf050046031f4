"""Arrays in the cache of this node: an entry (prep/files/cache.py) holds them as they lie in memory, and is mapped."""

from __future__ import annotations

import json
import math
import mmap
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hindcast.prep.files.cache import NoRoomError, allocate, alone, boot, discard, make_entry, open_entry, put, touch, write

ALIGNMENT = 64
# To map a file anew costs as much as to copy it once: what this process used last stays mapped.
MOST_MAPPED = 256
_last_used: dict[Path, dict[str, np.ndarray]] = {}


def entry_arrays(folder: Path, name: str, make: Callable[[Sink], None]) -> dict[str, np.ndarray]:
    """The arrays of the entry `name`, read-only and mapped. Where there is no such entry, `make` puts them into a sink first."""
    name = f"{name}-{boot()}"
    arrays = _opened(folder / name) or _make(folder, name, make)
    if touch(folder / name):  # what could not be kept is not held either: it is memory
        _last_used[folder / name] = arrays
    for old in list(_last_used)[:-MOST_MAPPED]:
        _last_used.pop(old, None)
    return arrays


def in_memory(make: Callable[[Sink], None]) -> dict[str, np.ndarray]:
    """The arrays that `make` puts into a sink, read-only, in memory alone and without an entry."""
    descriptor = os.memfd_create("hindcast", os.MFD_CLOEXEC)
    try:
        sink = Sink(descriptor)
        make(sink)
        sink.close()
        return _arrays(_map(descriptor))
    finally:
        os.close(descriptor)


class GoneError(Exception):
    """An entry is not on this node: it never was, or something has removed it."""


def keep(folder: Path, name: str, arrays: Mapping[str, np.ndarray]) -> bool:
    """Writes arrays as an entry, and replaces one of that name. Returns False, after a warning, where there is no room for it."""
    name = f"{name}-{boot()}"

    def fill(descriptor: int) -> None:
        sink = Sink(descriptor)
        for of_array, array in arrays.items():
            sink.reserve(of_array, array.dtype, array.shape)(array)
        sink.close()

    try:
        os.close(make_entry(folder, name, fill))
    except NoRoomError as error:
        warnings.warn(f"{folder}: nothing more can be kept there: {error.cause.strerror}", RuntimeWarning, stacklevel=2)
        return False
    return touch(folder / name)  # where very little may be held, it is swept away at once


def mapped(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of an entry that `keep` wrote, read-only. They stay mapped while they are referenced, also when the entry is
    removed. Raises GoneError where this node does not have the entry."""
    arrays = _opened(folder / f"{name}-{boot()}")
    if arrays is None:
        raise GoneError(f"{folder / name}: it was kept, and is not there")
    return arrays


def remove(folder: Path, beginning: str) -> None:
    """Removes all entries whose names begin so. Raises FileNotFoundError where there is no such folder."""
    discard(folder, beginning)


@dataclass
class Sink:
    """Where the arrays of an entry are put while it is made: one after the other in a file, described at its end."""

    descriptor: int
    end: int = 0
    arrays: list[tuple[str, str, tuple[int, ...], int]] = field(default_factory=list)

    def reserve(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Callable[[np.ndarray], None]:
        """Room for an array; what is returned appends parts of it, which together must fill it."""
        at = -(-self.end // ALIGNMENT) * ALIGNMENT
        self.end = at + math.prod(shape) * dtype.itemsize
        self.arrays.append((name, dtype.str, shape, at))
        allocate(self.descriptor, self.end)

        def append(part: np.ndarray) -> None:
            nonlocal at
            data = np.ascontiguousarray(part, dtype)
            write(self.descriptor, data.reshape(-1).view(np.uint8).data, at)
            at += data.nbytes

        return append

    def close(self) -> None:
        """Describes the arrays: JSON, and its length as the file's last eight bytes."""
        description = json.dumps(self.arrays).encode()
        write(self.descriptor, description + len(description).to_bytes(8, "little"), self.end)


def _make(folder: Path, name: str, make: Callable[[Sink], None]) -> dict[str, np.ndarray]:
    with alone(folder, f"entry {name}"):
        arrays = _opened(folder / name)
        if arrays is not None:
            return arrays

        def fill(descriptor: int) -> None:
            sink = Sink(descriptor)
            make(sink)
            sink.close()

        with put(folder, name, fill) as descriptor:
            return _arrays(_map(descriptor))


def _opened(entry: Path) -> dict[str, np.ndarray] | None:
    """An entry's arrays, or None where there is none. One that something else has cut short is removed."""
    arrays = _last_used.pop(entry, None)
    if arrays is not None and touch(entry):
        return arrays
    try:
        descriptor = open_entry(entry.parent, entry.name)
    except FileNotFoundError:
        return None
    try:
        return _arrays(_map(descriptor))
    except ValueError:
        discard(entry.parent, entry.name)
        return None
    finally:
        os.close(descriptor)


def _map(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)


def _arrays(mapped: mmap.mmap) -> dict[str, np.ndarray]:
    """Raises ValueError where the map is not of a whole entry."""
    end = len(mapped) - 8
    length = int.from_bytes(mapped[max(end, 0) :], "little")
    if not 0 < length <= end:
        raise ValueError("not a whole entry")
    described = json.loads(mapped[end - length : end])
    return {name: np.ndarray(shape, dtype, mapped, offset) for name, dtype, shape, offset in described}
