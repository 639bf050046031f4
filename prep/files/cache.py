"""The directory of what a node keeps of what it has read, for all processes of a user.

An entry is one file, written beside and renamed, so it is whole or not there; who has it mapped keeps it when it is swept away.
Neither the directory nor an entry is ever a link, and nothing is swept that is not called as entries are.
The least recently used go first when there are more bytes than HINDCAST_CACHE_BYTES (by default half of what is free on the disk,
or held here). Where nothing can be kept (no room, no right to write), everything still works, from memory and slower: a full disk
that nobody watches should not end a training. A warning says so.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import resource
import secrets
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.files.own_folders import open_file, own_folder, remove, status_of

# Arrays of a dataset (prep/dataset/blocks.py), packed sequences (classical/hmm/data/packing.py), files that were fetched or found
# sound (prep/files/soundness.py). What is kept under another name is swept until the machine starts again: then it is of no use.
NAMES = re.compile(
    r"([0-9a-f]{32}-[0-9a-f]{16}|packed-[0-9a-f]{32}-\d+-\d+)-[0-9a-f]{1,8}|[0-9a-f]{32}-([0-9a-f]{1,8}\.fetched|[0-9a-f]{16}\.sound)"
)
MAKING = ".making-"
MEND = "set HINDCAST_CACHE to a directory of your own"
# Two processes that want the same entry: one makes it. After so long the other goes ahead, which costs time and nothing else.
WAIT_SECONDS = 60.0
STALE_SECONDS = 60.0
LOCKS = 64
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def put(folder: Path, name: str, fill: Callable[[int], None]) -> Iterator[int]:
    """Writes an entry by `fill`, and gives a descriptor of it; of memory, with a warning, where there is no room."""
    try:
        descriptor = make_entry(folder, name, fill)
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


def open_entry(folder: Path, name: str) -> int:
    """A descriptor of an entry, which now counts as just used. Raises FileNotFoundError."""
    with own_folder(folder, MEND) as directory:
        entry = open_file(directory, name)
    try:
        os.utime(entry)
    except BaseException:
        os.close(entry)
        raise
    return entry


def touch(entry: Path) -> bool:
    """Returns whether an entry is there, and marks it as just used."""
    try:
        os.close(open_entry(entry.parent, entry.name))
    except FileNotFoundError:
        return False
    return True


def put_mark(folder: Path, name: str) -> None:
    """An entry without content. Raises OSError where it cannot be made."""
    with own_folder(folder, MEND) as directory:
        os.close(open_file(directory, name, os.O_WRONLY | os.O_CREAT))


def discard(folder: Path, beginning: str) -> None:
    """Removes all entries whose names begin so. Raises FileNotFoundError where there is no such folder."""
    with own_folder(folder, MEND) as directory:
        for name in os.listdir(directory):
            status = status_of(directory, name) if name.startswith(beginning) and _is_name(name) else None
            if status and stat.S_ISREG(status.st_mode):
                remove(directory, name)


def write(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while len(view):
        try:
            count = os.pwrite(descriptor, view, at)
        except OSError as error:
            raise NoRoomError(error) from error
        view, at = view[count:], at + count


def allocate(descriptor: int, end: int) -> None:
    """Room up to `end`: a full disk is known before anything is decoded, and to write into it then costs half."""
    try:
        os.posix_fallocate(descriptor, 0, end)
    except OSError as error:
        raise NoRoomError(error) from error


@contextmanager
def alone(folder: Path, task: str) -> Iterator[None]:
    """Keeps other processes and threads from the same task for the length of a `with`, and for WAIT_SECONDS at most."""
    kind, _, rest = task.partition(" ")
    number = int(hashlib.sha256(rest.encode()).hexdigest(), 16) % LOCKS
    try:
        with own_folder(folder, MEND) as directory:
            descriptor = open_file(directory, f".lock-{kind}-{number}", os.O_RDWR | os.O_CREAT)
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
    with own_folder(folder, MEND) as directory:
        entries = []
        for name in os.listdir(directory):
            status = status_of(directory, name)
            if status is None or not stat.S_ISREG(status.st_mode):  # another process sweeps too
                continue
            if name.startswith(MAKING):
                _remove_abandoned(directory, name, status)
            elif _is_name(name):
                entries.append((status.st_mtime_ns, status.st_blocks * 512, name))
        total = sum(size for _, size, _ in entries)
        limit = _limit(folder, total) if limit is None else limit
        for _, size, name in sorted(entries):
            if total <= limit:
                break
            remove(directory, name)
            total -= size


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
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with own_folder(folder, MEND):  # whoever can write into it decides what is read
        pass
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


def make_entry(folder: Path, name: str, fill: Callable[[int], None]) -> int:
    """Writes an entry by `fill`, and returns a descriptor of it. Raises NoRoomError where it cannot be written."""
    staged = MAKING + secrets.token_hex(8)
    with ExitStack() as entered:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = entered.enter_context(own_folder(folder, MEND))
            descriptor = open_file(directory, staged, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except OSError as error:
            raise NoRoomError(error) from error
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else takes it for abandoned
            fill(descriptor)
            os.rename(staged, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.close(descriptor)
            remove(directory, staged)
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


def _limit(folder: Path, total: int) -> int:
    text = os.environ.get("HINDCAST_CACHE_BYTES")
    if text is None:
        return (shutil.disk_usage(folder).free + total) // 2
    if not text.isdecimal():
        raise InputError(f"HINDCAST_CACHE_BYTES: {text!r} is not a number of bytes")
    return int(text)


def _is_name(name: str) -> bool:
    return NAMES.fullmatch(name) is not None or name.endswith(f"-{boot()}")


def _remove_abandoned(directory: int, name: str, status: os.stat_result) -> None:
    """Whoever writes holds a lock, which ends with its process."""
    if time.time() - status.st_mtime < STALE_SECONDS:
        return
    with suppress(FileNotFoundError), open(open_file(directory, name), "rb") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(directory, name)


class NoRoomError(Exception):
    """An entry cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause
