"""The directory of what a node keeps of what it has read, for all processes of a user.

An entry is one file, written beside and renamed, so it is whole or not there; who has it mapped keeps it when it is swept away.
The least recently used go first when there are more bytes than HINDCAST_CACHE_BYTES (by default half of what is free on the disk,
or held here). Where nothing can be kept (no room, no right to write), everything still works, from memory and slower: a full disk
that nobody watches should not end a training. A warning says so.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from prep.errors import InputError

# Two processes that want the same entry: one makes it. After so long the other goes ahead, which costs time and nothing else.
WAIT_SECONDS = 60.0
STALE_SECONDS = 60.0
LOCKS = 64
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def put(folder: Path, name: str, fill: Callable[[int], None]) -> Iterator[int]:
    """A descriptor of what `fill` wrote, which now is the entry `name`; of memory, where it cannot be kept."""
    try:
        descriptor = made(folder, name, fill)
    except NoRoomError as error:
        warnings.warn(
            f"{folder}: what was decoded cannot be kept: {error.cause.strerror}. It stays in memory, and is decoded again in "
            "every pass. Free some space, or set HINDCAST_CACHE to a directory with room",
            RuntimeWarning,
            stacklevel=2,
        )
        descriptor = os.memfd_create("hindcast", os.MFD_CLOEXEC)
        fill(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def used(entry: Path) -> bool:
    """Whether it is there; then it counts as just used."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    return True


def write(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while len(view):
        try:
            written = os.pwrite(descriptor, view, at)
        except OSError as error:
            raise NoRoomError(error) from error
        view, at = view[written:], at + written


def allocate(descriptor: int, end: int) -> None:
    """Room up to `end`: a full disk is known before anything is decoded, and to write into it then costs half."""
    try:
        os.posix_fallocate(descriptor, 0, end)
    except OSError as error:
        raise NoRoomError(error) from error


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keeps other processes and threads from doing the same at the same time, for WAIT_SECONDS at most."""
    kind, _, rest = what.partition(" ")
    number = int(hashlib.sha256(rest.encode()).hexdigest(), 16) % LOCKS
    try:
        descriptor = os.open(folder / f".lock-{kind}-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # no room for a lock: then two may do the same
        yield
        return
    try:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # some network file systems have no locks
                break
        yield
    finally:
        os.close(descriptor)


def sweep(folder: Path, limit: int | None = None) -> None:
    """Removes the least recently used entries until at most `limit` bytes are left, and what killed processes left behind."""
    entries = []
    for found in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process sweeps too
            status = found.stat(follow_symlinks=False)
            if found.name.startswith(".making-"):
                _remove_abandoned(Path(found.path), status)
            elif not found.name.startswith("."):
                entries.append((status.st_mtime_ns, status.st_blocks * 512, found.path))
    held = sum(size for _, size, _ in entries)
    limit = _limit(folder, held) if limit is None else limit
    for _, size, path in sorted(entries):
        if held <= limit:
            break
        with suppress(FileNotFoundError):
            os.unlink(path)
        held -= size


def cache_directory() -> Path:
    """Where this node keeps what it decodes: in HINDCAST_CACHE, Spark's local directory, or the temporary directory. Where the
    disk is full, it may not be there.

    Raises InputError where it cannot be made for another reason, or belongs to someone else.
    """
    base = os.environ.get("HINDCAST_CACHE") or os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or tempfile.gettempdir()
    folder = Path(base) / f"hindcast-blocks-{os.getuid()}"
    try:
        return _own(folder)
    except OSError as error:
        if error.errno in FULL:
            return folder
        raise InputError(f"{folder}: cannot be made: {error.strerror}. Set HINDCAST_CACHE to a directory of your own") from None


@lru_cache
def _own(folder: Path) -> Path:
    """It is made where it is not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # whoever can write into it decides what is read
        raise InputError(f"{folder}: belongs to another user. Set HINDCAST_CACHE to a directory of your own")
    # A split of many row groups stays mapped while windows of it are used; the usual soft limit is 1024 files.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return folder


@lru_cache
def boot() -> str:
    """Names this run of the machine: after a power failure, a renamed file may be there without its bytes."""
    with suppress(OSError):
        return hashlib.sha256(Path("/proc/sys/kernel/random/boot_id").read_bytes()).hexdigest()[:8]
    return "0"


def made(folder: Path, name: str, fill: Callable[[int], None]) -> int:
    """A descriptor of what `fill` wrote, which now is the entry `name`. Raises NoRoomError where it cannot be kept."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, staged = tempfile.mkstemp(prefix=".making-", dir=folder)
    except OSError as error:
        raise NoRoomError(error) from error
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else takes it for abandoned
        fill(descriptor)
        os.rename(staged, folder / name)
    except BaseException:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(staged)
        raise
    _account(folder, os.fstat(descriptor).st_size)
    return descriptor


_since_sweep: dict[Path, int] = {}


def _account(folder: Path, size: int) -> None:
    """Sweeps when this process has added a noticeable part of what may be held: to list the directory every time would cost."""
    _since_sweep[folder] = _since_sweep.get(folder, 1 << 62) + size
    if _since_sweep[folder] > _limit(folder, 0) // 16:
        _since_sweep[folder] = 0
        sweep(folder)


def _limit(folder: Path, held: int) -> int:
    asked = os.environ.get("HINDCAST_CACHE_BYTES")
    if asked is None:
        return (shutil.disk_usage(folder).free + held) // 2
    if not asked.isdecimal():
        raise InputError(f"HINDCAST_CACHE_BYTES: {asked!r} is not a number of bytes")
    return int(asked)


def _remove_abandoned(staged: Path, status: os.stat_result) -> None:
    """Whoever writes holds a lock, which ends with its process."""
    if time.time() - status.st_mtime < STALE_SECONDS:
        return
    with staged.open("rb") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        staged.unlink(missing_ok=True)


class NoRoomError(Exception):
    """An entry cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause
