"""Puts a folder or a file in its place whole, or not at all: written beside it, then exchanged with it in one step.

What is being written to NAME lies in `.NAME.writing` beside it. Whoever writes holds a lock on that folder, which ends with its
process, however it ends: so a second writer is refused at once, and what a killed one left behind is swept by the next. What lies
there under another name than a writer gives is nobody's to sweep: then nothing is written. Neither is it where that folder is a
link, or another user's (prep/files/own_folders.py).

Where NAME is a link, the link is replaced, and what it leads to stays as it is.

The target is the whole old or the whole new at every moment where the file system can exchange two names in one step (ext4, xfs,
btrfs, tmpfs). Elsewhere there is a moment without a target: then the old one lies beside it, and `recover` puts it back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shlex
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.files.own_folders import is_same, open_file, open_folder, remove, remove_empty, status_of

REPLACED = "replaced"
HOLDER = "holder.json"
# What a writer names its folder, and 0.2 did; a link is there where the target was one.
CONTENT = re.compile(r"content-[a-z0-9_]+")
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
    with _staging(out, overwrite, check) as staged:
        yield staged.content
        _refuse_taken(out, overwrite, check)
        content = staged.by_descriptor(out)
        if os.path.lexists(out):
            _exchange(content, out, content.with_name(REPLACED))
        else:
            content.rename(out)


@contextmanager
def placed_file(out: Path, overwrite: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `out` when the block ends well. Raises InputError as `placed_folder` does."""
    with _staging(out, overwrite, must_be_file) as staged:
        yield staged.content / out.name
        _refuse_taken(out, overwrite, must_be_file)
        (staged.by_descriptor(out) / out.name).replace(out)


@contextmanager
def scratch(near: Path, name: object, mend: str = "write elsewhere") -> Iterator[Path]:
    """An empty folder in a locked one beside `near`; both are gone afterwards. What a killed one left there is swept first.

    Its name is new each time: Spark's tasks may go on for a moment when their driver is killed, and write where nobody looks.
    Raises InputError, which speaks of `name`, where another holds the lock, where the locked one is not ours or holds what is
    not, and where the disk is full: `mend` says what helps.
    """
    with _scratch(near, name, mend) as staged:
        yield staged.content


def refuse_taken(out: Path, overwrite: bool, check: Callable[[Path], object]) -> None:
    """Raises InputError where `out` cannot be put: no folder for it, taken, or being written by someone else at this moment.

    With `overwrite`, `check` says what may be replaced: it raises InputError for the rest.
    """
    _refuse_taken(out, overwrite, check)
    staging = _staging_of(out)
    with suppress(FileNotFoundError):
        os.close(_opened(staging, out))


def must_be_file(out: Path) -> None:
    if not out.is_file():
        raise InputError(f"{out}: is not a file, and is not replaced by one")


def holds(file: str, description: str) -> Callable[[str | Path], None]:
    """A check for `refuse_taken`: only a folder that holds this file is replaced. Also for URIs (files/targets.py)."""

    def check(out: str | Path) -> None:
        if storage.size_of(storage.join(str(out), file)) is None:
            raise InputError(f"{out}: not {description} (it has no {file}), and is not replaced by one")

    return check


def recover(out: Path) -> None:
    """Puts back what a writer that was killed between two renames took from `out`. Does nothing while anyone is writing."""
    staging = _staging_of(out)
    if os.path.lexists(out) or not os.path.lexists(staging / REPLACED):
        return
    with suppress(InputError, OSError):  # another process is at it, or it is not ours to write: then `out` stays missing
        lock = _locked(staging, out)
        try:
            _clean(out, staging, lock)
        finally:
            os.close(lock)


@dataclass(frozen=True)
class _Staging:
    """What is being written.

    content  the folder for it, as others can be told of it
    lock     a descriptor of the folder that it lies in
    """

    content: Path
    lock: int

    def by_descriptor(self, out: Path) -> Path:
        """The same folder by the descriptor, whatever becomes of the name. Raises InputError where it has another by now."""
        if not is_same(self.lock, self.content.parent):
            raise InputError(
                f"{out}: somebody has moved {self.content.parent} away while it was written. Nothing was put in place. Write "
                "again, where nobody else can do that"
            )
        return Path(f"/proc/self/fd/{self.lock}", self.content.name)


@contextmanager
def _staging(out: Path, overwrite: bool, check: Callable[[Path], object]) -> Iterator[_Staging]:
    _refuse_taken(out, overwrite, check)
    with _scratch(out, out, "write elsewhere") as staged:
        _refuse_taken(out, overwrite, check)  # what was put back counts, and what another writer placed before the lock was ours
        yield staged


@contextmanager
def _scratch(near: Path, name: object, mend: str) -> Iterator[_Staging]:
    staging = _staging_of(near)
    lock = _locked(staging, name)
    try:
        _put_back(near, lock)
        _empty(staging, lock)
        content = f"content-{secrets.token_hex(4)}"
        os.mkdir(content, dir_fd=lock)
        os.chmod(content, 0o755, dir_fd=lock)  # what is put in place is for others too
        with suppress(OSError):  # it only makes another's message better
            _say_who_writes(lock)
        yield _Staging(staging / content, lock)
    except Exception as error:
        if isinstance(error, InputError) or not _no_room(error):
            raise
        raise InputError(
            f"{name}: the disk of {near.absolute().parent} is full. What was there before is as it was; nothing was added. "
            f"Free some space, or {mend}"
        ) from error
    finally:
        _clean(near, staging, lock)
        os.close(lock)


def _refuse_taken(out: Path, overwrite: bool, check: Callable[[Path], object]) -> None:
    parent = out.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{out}: the directory {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: the directory {parent} cannot be written")
    if os.path.lexists(out):
        if not out.exists():
            raise InputError(f"{out}: is a link that leads nowhere, and is not replaced. Remove it, or write elsewhere")
        if not overwrite:
            raise InputError(f"{out}: is there already; --overwrite replaces it")
        check(out)


def _staging_of(out: Path) -> Path:
    return out.absolute().with_name(f".{out.name}.writing")


def _locked(staging: Path, name: object) -> int:
    """A descriptor of the folder, made if need be, that holds its lock. Raises InputError as `_opened` does."""
    for _ in range(ATTEMPTS):
        try:
            with suppress(FileExistsError):
                staging.mkdir(0o755)
        except OSError as error:
            raise InputError(f"{name}: cannot be written: {staging}: {error.strerror}") from None
        try:
            lock = _opened(staging, name)
        except FileNotFoundError:  # removed by whoever was writing
            continue
        if is_same(lock, staging):
            return lock
        os.close(lock)
    raise InputError(f"{name}: others keep writing to it. Write elsewhere")


def _opened(staging: Path, name: object) -> int:
    """A descriptor of the folder that holds its lock.

    Raises InputError where another holds it, it is not ours, or something else lies in it; and FileNotFoundError.
    """
    try:
        lock = open_folder(staging, "write elsewhere", to_sweep=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{name}: cannot be written: {staging}: {error.strerror}") from None
    try:
        _lock(lock, staging, name)
        _must_hold_nothing_else(lock, staging)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(lock: int, staging: Path, name: object) -> None:
    """Locks an opened staging folder. Raises InputError where another holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{name}: is being written{_holder(lock)}. Wait until that ends, or write elsewhere") from None
    except OSError as error:
        raise InputError(f"{name}: the file system of {staging} has no locks: {error.strerror}. Write elsewhere") from None


def _must_hold_nothing_else(lock: int, staging: Path) -> None:
    strangers = sorted(name for name in os.listdir(lock) if not _is_of_a_writer(lock, name))
    if strangers:
        raise InputError(
            f"{staging / strangers[0]}: lies where only what is being written does, and is none of it. It was left as it is. "
            f"Move what you need of {staging} elsewhere, and remove the rest (rm -r {shlex.quote(str(staging))})"
        )


def _is_of_a_writer(lock: int, name: str) -> bool:
    status = status_of(lock, name)
    if status is None:
        return True
    if name == HOLDER:
        return stat.S_ISREG(status.st_mode)
    return bool(name == REPLACED or CONTENT.fullmatch(name)) and (stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode))


def _say_who_writes(lock: int) -> None:
    with open(open_file(lock, HOLDER, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
        os.chmod(file.fileno(), 0o644)
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)


def _holder(lock: int) -> str:
    try:
        with open(open_file(lock, HOLDER), encoding="utf-8") as file:
            holder = json.load(file)
        return f" by process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just starting, or just ending
        return " by another process"


def _no_room(error: Exception) -> bool:
    """Also where Java, Arrow or a task elsewhere met it: they have its words alone."""
    number = error.errno if isinstance(error, OSError) else None
    return number in NO_ROOM or any(os.strerror(number) in str(error) for number in NO_ROOM)


def _exchange(content: Path, out: Path, replaced: Path) -> None:
    """`content` becomes `out`, and what was there is left in the staging folder, which is removed."""
    if _exchange_names(content, out):
        return
    out.rename(replaced)
    try:
        content.rename(out)
    except BaseException:
        replaced.rename(out)
        raise


def _exchange_names(first: Path, second: Path) -> bool:
    """Exchanges two names. False where the file system or the C library cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _put_back(out: Path, lock: int) -> None:
    if status_of(lock, REPLACED) and not os.path.lexists(out):
        os.rename(REPLACED, out, src_dir_fd=lock)


def _clean(out: Path, staging: Path, lock: int) -> None:
    """Removes the staging folder, but never the only copy. What cannot be removed now, the next writer sweeps."""
    with suppress(OSError):
        _put_back(out, lock)
        for name in filter(partial(_is_of_a_writer, lock), os.listdir(lock)):
            with suppress(OSError):
                remove(lock, name, as_far_as_possible=True)
        remove_empty(lock, staging)


def _empty(staging: Path, lock: int) -> None:
    """Removes what a killed writer left: by now nothing else is there. Raises InputError where that cannot be done."""
    for name in os.listdir(lock):
        try:
            remove(lock, name)
        except OSError as error:
            raise InputError(
                f"{staging / name}: was left by a writer that was killed, and cannot be removed: {error.strerror}. Remove it "
                "yourself, or write elsewhere"
            ) from None
