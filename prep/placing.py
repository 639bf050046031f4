"""Puts a folder or a file in its place whole, or not at all: written beside it, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prep.errors import InputError


@contextmanager
def placed_folder(out: Path, overwrite: bool, check: Callable[[Path], object]) -> Iterator[Path]:
    """A folder to write into, which takes the place of `out` when the block ends well and vanishes when it does not.

    Raises InputError as `refuse_taken` does, also where `out` has been taken meanwhile.
    """
    refuse_taken(out, overwrite, check)
    staging = _beside(out)
    replaced = staging.with_name(f"{staging.name}.replaced")
    try:
        yield staging
        refuse_taken(out, overwrite, check)
        if out.exists():
            out.rename(replaced)
        try:
            staging.rename(out)
        except BaseException:
            if replaced.exists():
                replaced.rename(out)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if out.exists():
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def placed_file(out: Path, overwrite: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `out` when the block ends well. Raises InputError as `refuse_taken` does."""
    refuse_taken(out, overwrite, must_be_file)
    staging = _beside(out)
    try:
        yield staging / out.name
        refuse_taken(out, overwrite, must_be_file)
        (staging / out.name).replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_taken(out: Path, overwrite: bool, check: Callable[[Path], object]) -> None:
    """Raises InputError where `out` cannot be put: no folder for it, or taken.

    With `overwrite`, `check` says what may be replaced: it raises InputError for the rest.
    """
    parent = out.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{out}: the directory {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: the directory {parent} cannot be written")
    if out.exists():
        if not overwrite:
            raise InputError(f"{out}: is there already; --overwrite replaces it")
        check(out)


def must_be_file(out: Path) -> None:
    if not out.is_file():
        raise InputError(f"{out}: is not a file, and is not replaced by one")


def holds(file: str, what: str) -> Callable[[Path], None]:
    """A check for `refuse_taken`: only a folder that holds this file is replaced."""

    def check(out: Path) -> None:
        if not (out / file).is_file():
            raise InputError(f"{out}: not {what} (it has no {file}), and is not replaced by one")

    return check


def _beside(out: Path) -> Path:
    """A new folder next to `out`, of a name that no other process has."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.writing-", dir=out.absolute().parent))
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
    folder.chmod(0o755)  # what is put in place is for others too
    return folder
