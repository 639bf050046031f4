"""Folders of our own, for staging and caching: opened without following a link, and emptied of named entries alone.

An unpacked archive, or a neighbour in a shared folder, may put a link in the place of such a folder. So everything is written,
swept and removed by a descriptor: it stays that of the opened folder, whatever happens to the name.
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hindcast.prep.errors import InputError

OPEN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
GROUP_WRITES, ANY_WRITES = stat.S_IWGRP, stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def own_folder(path: Path, mend: str = "") -> Iterator[int]:
    """`open_folder`, for the length of a `with`."""
    folder = open_folder(path, mend)
    try:
        yield folder
    finally:
        os.close(folder)


def open_folder(path: Path, mend: str = "", *, to_sweep: bool = False) -> int:
    """A descriptor of a folder that is this user's, and that nobody else can write to.

    to_sweep  What lies in it counts for nothing. Then the group may have been able to write, as a umask of 002 lets it, and no
              longer can. And where the file system gives every folder to one user, or lets everybody write to all, so may this be

    Raises InputError, which ends with `mend`, where it is a link or something else; FileNotFoundError where there is nothing; and
    OSError where it cannot be opened.
    """
    try:
        folder = os.open(path, OPEN_FLAGS)
    except FileNotFoundError:
        raise
    except OSError:
        _must_be_ours(path, os.lstat(path), mend)
        raise
    try:
        status = os.fstat(folder)
        if to_sweep and status.st_uid == os.geteuid() and status.st_mode & ANY_WRITES == GROUP_WRITES:
            with suppress(OSError):  # some file systems keep no modes
                os.fchmod(folder, stat.S_IMODE(status.st_mode) & ~ANY_WRITES)
            status = os.fstat(folder)
        if not (to_sweep and _is_like_every_folder(path, status)):
            _must_be_ours(path, status, mend)
    except BaseException:
        os.close(folder)
        raise
    return folder


def status_of(folder: int, name: str) -> os.stat_result | None:
    """The status of an entry of an opened folder, of a link that of the link itself; None where there is no such entry."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_file(folder: int, name: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file in an opened folder, for this user alone where it is made. What is a link or no file counts as not
    there: FileNotFoundError.
    """
    try:  # not blocking: a pipe would wait for somebody to write into it
        file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def remove(folder: int, name: str, *, as_far_as_possible: bool = False) -> None:
    """Removes an entry of an opened folder: a folder with all that is in it, and of a link the link alone. What is not there is
    no error. Raises OSError where it cannot be removed; or else what can be of a folder is, and the rest stays.
    """
    status = status_of(folder, name)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(name, as_far_as_possible, dir_fd=folder)  # by itself it follows no link
        return
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def is_same(folder: int, path: Path) -> bool:
    """Whether the path still is that of the opened folder."""
    try:
        return os.path.samestat(os.fstat(folder), os.lstat(path))
    except FileNotFoundError:
        return False


def remove_empty(folder: int, path: Path) -> None:
    """Removes an opened folder itself, where nothing is in it and the path still is its own. Raises OSError."""
    if is_same(folder, path):
        os.rmdir(path)


def is_file(path: Path) -> bool:
    """Whether it is a file itself, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _must_be_ours(path: Path, status: os.stat_result, mend: str) -> None:
    fault = _fault(status)
    if fault:
        how = f"rm {'-r ' if stat.S_ISDIR(status.st_mode) else ''}{shlex.quote(str(path))}"
        raise InputError(
            f"{path}: must be a folder that is yours and that nobody else can write to, and is {fault}. It was left as it is. "
            f"See what it is, and move it away or remove it ({how}){f', or {mend}' if mend else ''}"
        )


def _fault(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "a file"
    if status.st_uid != os.geteuid():
        return f"of the user {_name_of(status.st_uid)}"
    return f"open to others (mode {stat.S_IMODE(status.st_mode):o})" if status.st_mode & ANY_WRITES else ""


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _is_like_every_folder(path: Path, status: os.stat_result) -> bool:
    """Whether a folder that is made beside it now gets the same owner, and is as open to others, though it is made for us alone.

    So it is on servers that give everything to one user (NFS with all_squash), and file systems that keep neither (FAT, CIFS).
    """
    if not _fault(status):
        return True
    try:
        beside = tempfile.mkdtemp(prefix=".hindcast-", dir=path.parent)
    except OSError:
        return False
    try:
        sample = os.lstat(beside)
    finally:
        os.rmdir(beside)
    return sample.st_uid == status.st_uid and not status.st_mode & ANY_WRITES & ~sample.st_mode
