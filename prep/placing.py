"""Puts a folder or a file in its place whole, or not at all: written beside it, then exchanged with it in one step.

What is being written to NAME lies in `.NAME.writing` beside it. Whoever writes holds a lock on that folder, which ends with its
process, however it ends: so a second writer is refused at once, and what a killed one left behind is swept by the next.

The target is the whole old or the whole new at every moment where the file system can exchange two names in one step (ext4, xfs,
btrfs, tmpfs). Elsewhere there is a moment without a target: then the old one lies beside it, and `recover` puts it back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prep import storage
from prep.errors import InputError

REPLACED = "replaced"
HOLDER = "holder.json"
# How often the lock's folder may be swept away between being opened and being locked.
ATTEMPTS = 10
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
AT_FDCWD = -100
RENAME_EXCHANGE = 2


@contextmanager
def placed_folder(out: Path, overwrite: bool, check: Callable[[Path], object]) -> Iterator[Path]:
    """A folder to write into, which takes the place of `out` when the block ends well and vanishes when it does not.

    Raises InputError as `refuse_taken` does, also where `out` has been taken meanwhile; where someone else is writing to
    `out`; and where the disk is full.
    """
    with _staging(out, overwrite, check) as content:
        yield content
        _refuse_taken(out, overwrite, check)
        if out.exists():
            _exchange(content, out, content.with_name(REPLACED))
        else:
            content.rename(out)


@contextmanager
def placed_file(out: Path, overwrite: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `out` when the block ends well. Raises InputError as `placed_folder` does."""
    with _staging(out, overwrite, must_be_file) as content:
        yield content / out.name
        _refuse_taken(out, overwrite, must_be_file)
        (content / out.name).replace(out)


@contextmanager
def scratch(near: Path, name: object, mend: str = "write elsewhere") -> Iterator[Path]:
    """An empty folder in a locked one beside `near`; both are gone afterwards. What a killed one left there is swept first.

    Its name is new each time: Spark's tasks may go on for a moment when their driver is killed, and write where nobody looks.
    Raises InputError, which speaks of `name`, where another holds the lock, and where the disk is full: `mend` says what helps.
    """
    staging = _staging_of(near)
    lock = _locked(staging, name)
    try:
        _put_back(near, staging)
        _empty(staging)
        content = Path(tempfile.mkdtemp(prefix="content-", dir=staging))
        content.chmod(0o755)  # what is put in place is for others too
        with suppress(OSError):  # it only makes another's message better
            (staging / HOLDER).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield content
    except Exception as error:
        if isinstance(error, InputError) or not _no_room(error):
            raise
        raise InputError(
            f"{name}: the disk of {near.absolute().parent} is full. What was there before is as it was; nothing was added. "
            f"Free some space, or {mend}"
        ) from error
    finally:
        _clean(near, staging)
        os.close(lock)


def refuse_taken(out: Path, overwrite: bool, check: Callable[[Path], object]) -> None:
    """Raises InputError where `out` cannot be put: no folder for it, taken, or being written by someone else at this moment.

    With `overwrite`, `check` says what may be replaced: it raises InputError for the rest.
    """
    _refuse_taken(out, overwrite, check)
    staging = _staging_of(out)
    with suppress(FileNotFoundError):
        lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(lock, staging, out)
        finally:
            os.close(lock)


def must_be_file(out: Path) -> None:
    if not out.is_file():
        raise InputError(f"{out}: is not a file, and is not replaced by one")


def holds(file: str, what: str) -> Callable[[str | Path], None]:
    """A check for `refuse_taken`: only a folder that holds this file is replaced. Also for URIs, with those of `prep.targets`."""

    def check(out: str | Path) -> None:
        if storage.size_of(storage.join(str(out), file)) is None:
            raise InputError(f"{out}: not {what} (it has no {file}), and is not replaced by one")

    return check


def recover(out: Path) -> None:
    """Puts back what a writer that was killed between two renames took from `out`. Does nothing while anyone is writing."""
    staging = _staging_of(out)
    if out.exists() or not (staging / REPLACED).exists():
        return
    with suppress(InputError, OSError):  # another process is at it, or it is not ours to write: then `out` stays missing
        lock = _locked(staging, out)
        try:
            _clean(out, staging)
        finally:
            os.close(lock)


@contextmanager
def _staging(out: Path, overwrite: bool, check: Callable[[Path], object]) -> Iterator[Path]:
    _refuse_taken(out, overwrite, check)
    with scratch(out, out) as content:
        _refuse_taken(out, overwrite, check)  # what was put back counts, and what another writer placed before the lock was ours
        yield content


def _refuse_taken(out: Path, overwrite: bool, check: Callable[[Path], object]) -> None:
    parent = out.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{out}: the directory {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: the directory {parent} cannot be written")
    if out.exists():
        if not overwrite:
            raise InputError(f"{out}: is there already; --overwrite replaces it")
        check(out)


def _staging_of(out: Path) -> Path:
    return out.absolute().with_name(f".{out.name}.writing")


def _locked(staging: Path, name: object) -> int:
    """A descriptor of the folder, made if need be, that holds its lock. Raises InputError where another holds it."""
    for _ in range(ATTEMPTS):
        try:
            with suppress(FileExistsError):
                staging.mkdir()
        except OSError as error:
            raise InputError(f"{name}: cannot be written: {staging}: {error.strerror}") from None
        try:
            lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # removed by whoever was writing
            continue
        except OSError as error:
            raise InputError(f"{name}: cannot be written: {staging}: {error.strerror}") from None
        try:
            _lock(lock, staging, name)
        except BaseException:
            os.close(lock)
            raise
        if _same(lock, staging):
            return lock
        os.close(lock)
    raise InputError(f"{name}: others keep writing to it. Write elsewhere")


def _lock(lock: int, staging: Path, name: object) -> None:
    """Locks an opened staging folder. Raises InputError where another holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(staging)
        raise InputError(f"{name}: is being written{holder}. Wait until that ends, or write elsewhere") from None
    except OSError as error:
        raise InputError(f"{name}: the file system of {staging} has no locks: {error.strerror}. Write elsewhere") from None


def _same(lock: int, staging: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), staging.stat())
    except FileNotFoundError:
        return False


def _holder(staging: Path) -> str:
    try:
        holder = json.loads((staging / HOLDER).read_text())
        return f" by process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just starting, or just ending
        return " by another process"


def _no_room(error: Exception) -> bool:
    """Also where Java, Arrow or a task elsewhere met it: they have its words alone."""
    number = error.errno if isinstance(error, OSError) else None
    return number in NO_ROOM or any(os.strerror(number) in str(error) for number in NO_ROOM)


def _exchange(content: Path, out: Path, replaced: Path) -> None:
    """`content` becomes `out`, and what was there is left in the staging folder, which is removed."""
    if _renamed_in_one_step(content, out):
        return
    out.rename(replaced)
    try:
        content.rename(out)
    except BaseException:
        replaced.rename(out)
        raise


def _renamed_in_one_step(one: Path, other: Path) -> bool:
    """Exchanges two names. False where the file system or the C library cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _put_back(out: Path, staging: Path) -> None:
    if (staging / REPLACED).exists() and not out.exists():
        (staging / REPLACED).rename(out)


def _clean(out: Path, staging: Path) -> None:
    """Removes the staging folder, but never the only copy. What cannot be removed now, the next writer sweeps."""
    with suppress(OSError):
        _put_back(out, staging)
        shutil.rmtree(staging, ignore_errors=True)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
