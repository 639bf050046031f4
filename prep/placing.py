"""Puts a folder or a file in its place whole, or not at all: written beside it, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prep.errors import InputError


@contextmanager
def placed_folder(out: Path, overwrite: bool, check: Callable[[Path], object]) -> Iterator[Path]:
    """A folder to write into, which takes the place of `out` when the block ends well and vanishes when it does not.

    Raises InputError as `refuse_taken` does.
    """
    refuse_taken(out, overwrite, check)
    staging, replaced = _beside(out, "writing"), _beside(out, "replaced")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _try(out, staging.mkdir)
        yield staging
        if out.exists():
            out.rename(replaced)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def placed_file(out: Path, overwrite: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `out` when the block ends well. Raises InputError as `refuse_taken` does."""
    refuse_taken(out, overwrite, must_be_file)
    staging = _beside(out, "writing")
    try:
        _try(out, staging.touch)
        yield staging
        staging.replace(out)
    finally:
        staging.unlink(missing_ok=True)


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


def _beside(out: Path, state: str) -> Path:
    return out.absolute().parent / f".{out.name}.{state}-{os.getpid()}"


def _try(out: Path, make: Callable[[], object]) -> None:
    try:
        make()
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
