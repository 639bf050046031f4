"""Where a dataset goes: a folder of this machine, or a URI that fsspec opens. The same verbs for both.

Spark writes into a folder of this machine either way; placing.py says how that takes its place, uploading.py how it does under a
URI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.files import placing, storage, uploading


@dataclass(frozen=True)
class Target:
    """What is being written.

    folder   to write into
    keep     takes names of files of the folder that is replaced: they are in the new one as well, as they are
    """

    folder: Path
    keep: Callable[[Iterable[str]], None]


@contextmanager
def placed(location: str, overwrite: bool, check: Callable[[str | Path], object]) -> Iterator[Target]:
    """A target that takes the place of what is at `location`, whole, when the block ends well, and vanishes when it does not.

    Raises InputError as `refuse_taken` does, also where it has been taken meanwhile, where a disk is full, and where a store
    fails; then what was there is as it was.
    """
    if storage.is_local(location):
        out = storage.local_path(location)
        with placing.placed_folder(out, overwrite, check) as folder:
            yield Target(folder, partial(_link, out, folder))
    else:
        with uploading.uploaded_folder(location.rstrip("/"), overwrite, check) as (folder, reused):
            yield Target(folder, reused.update)


def refuse_taken(location: str, overwrite: bool, check: Callable[[str | Path], object]) -> None:
    """Raises InputError where nothing can be put at `location`: taken, or being written by someone else at this moment.

    With `overwrite`, `check` says what may be replaced: it raises InputError for the rest.
    """
    if storage.is_local(location):
        placing.refuse_taken(storage.local_path(location), overwrite, check)
    else:
        uploading.refuse_taken(location.rstrip("/"), overwrite, check)


@contextmanager
def fetched(location: str, names: Sequence[str]) -> Iterator[list[str]]:
    """These files of what is at `location`, as paths that Spark can read, for the length of a `with`.

    Raises InputError where one is missing.
    """
    if storage.is_local(location):
        files = [storage.join(location, name) for name in names]
        for file in files:
            if storage.size_of(file) is None:
                raise InputError(f"{file}: is missing. The dataset is damaged: prepare it again with `hindcast prep`")
        yield files
        return
    with uploading.staged(location, "from") as folder:
        uploading.each(lambda name: storage.download(storage.join(location, name), folder / name), names)
        yield [str(folder / name) for name in names]


def _link(out: Path, folder: Path, names: Iterable[str]) -> None:
    """The same files under other names; copies where the file system has no such links."""
    for name in names:
        file, to = Path(storage.join(str(out), name)), folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, to)
        except OSError:
            shutil.copy2(file, to)
