"""Puts a folder of this machine under a URI: what is read there is the old or the new, whole, at every moment.

An object store cannot rename a folder, but one request replaces an object. So Spark writes into a folder of this machine, its
files go up under names that are new, and last the one that names all others: the manifest. Until then nothing that was there has
changed, and afterwards nothing that is named is missing. Then what is no longer named is removed, as far as it is a dataset's.

Petastorm reads whatever lies in a folder, and not what a manifest names: it sees files while they come and go.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.files.locks import MARKER, Marker, marked, refuse_marked
from hindcast.prep.files.names import MANIFEST, ORIGINS, PETASTORM, QUARANTINE, TAIL
from hindcast.prep.files.own_folders import open_folder
from hindcast.prep.files.placing import scratch

THREADS = 8
# What Spark's own files begin with. It never gives one of their names twice.
SPARKS = "part-"
# What is put last, in this order: until one of them is there, nothing is.
LAST = (MANIFEST, ORIGINS)
# What a dataset's objects are called, or those of rolling origins: nothing else is removed.
DATASET_NAMES = re.compile(
    rf"(origin-\d+/)?(((split=[^/]+|{TAIL}|{QUARANTINE})/)?{SPARKS}[^/]*|{'|'.join(map(re.escape, (*LAST, PETASTORM, MARKER)))})"
)


@contextmanager
def uploaded_folder(uri: str, overwrite: bool, check: Callable[[str], object]) -> Iterator[tuple[Path, set[str]]]:
    """A folder to write into, whose files lie under `uri` when the block ends well; what else a dataset had there then goes,
    but for the names that were put into the set.

    Raises InputError as `refuse_taken` does, and where the store fails: then what was there is as it was.
    """
    refuse_taken(uri, overwrite, check)
    with staged(uri) as folder, marked(uri) as marker:
        before = _other_names(marker)
        _refuse(uri, before, overwrite, check)
        reused: set[str] = set()
        yield folder, reused
        files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if _counts(file)}
        new = {name for name in files if Path(name).name.startswith(SPARKS)}
        with _taken_back(marker, new):
            each(lambda name: storage.upload(files[name], storage.join(uri, name)), new)
            _compare(uri, {name: files[name].stat().st_size for name in new}, reused)
            _refuse(uri, _other_names(marker) - new, overwrite, check)
            marker.must_be_ours()
        with _shown(marker):
            for name in _ordered(files.keys() - new, before):
                storage.upload(files[name], storage.join(uri, name))
        _sweep(uri, set(filter(DATASET_NAMES.fullmatch, before)) - files.keys() - reused - {MARKER})


def refuse_taken(uri: str, overwrite: bool, check: Callable[[str], object]) -> None:
    """Raises InputError where nothing can be put under `uri`: taken, or being written by someone else at this moment.

    With `overwrite`, `check` says what may be replaced: it raises InputError for the rest.
    """
    _refuse(uri, set(storage.objects(uri)), overwrite, check)
    refuse_marked(uri)


@contextmanager
def staged(uri: str, purpose: str = "") -> Iterator[Path]:
    """An empty folder of this machine for what goes to `uri` or comes from there, gone afterwards.

    It lies in the directory that HINDCAST_STAGING names, else in the temporary directory. Spark writes into it: on a cluster, the
    driver and the executors must all see it.
    """
    name = hashlib.sha256(f"{purpose} {uri}".encode()).hexdigest()[:16]
    with scratch(_directory() / f"hindcast-{name}", uri, "set HINDCAST_STAGING to a directory with room") as folder:
        yield folder


def each(call: Callable[[str], object], names: Iterable[str]) -> None:
    """Calls with each name, in a few threads. Raises what the first to fail raised, when all have ended that had begun."""
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(call, name) for name in sorted(names)]
        try:
            for future in as_completed(calls):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _refuse(uri: str, names: set[str], overwrite: bool, check: Callable[[str], object]) -> None:
    killed = MARKER in names and names.isdisjoint(LAST)  # a writer that had nothing to show yet
    if names and not killed:
        if not overwrite:
            raise InputError(f"{uri}: is there already; --overwrite replaces it")
        check(uri)


def _other_names(marker: Marker) -> set[str]:
    """What lies there, without our own marker; with it where it took the place of another's."""
    names = set(storage.objects(marker.uri)) - {MARKER}
    return names | {MARKER} if marker.took_over else names


def _counts(file: Path) -> bool:
    """Not what Hadoop writes for itself."""
    return file.is_file() and not file.name.startswith(".") and file.name != "_SUCCESS"


def _ordered(names: Iterable[str], before: set[str]) -> list[str]:
    """Those that name all others after what is new, and before what replaces something that belongs to the old ones."""

    def turn(name: str) -> tuple[int, str]:
        if Path(name).name in LAST:
            return LAST.index(Path(name).name), name
        return len(LAST) if name in before else -1, name

    return sorted(names, key=turn)


def _compare(uri: str, sizes: dict[str, int], reused: set[str]) -> None:
    """Raises InputError where something is not there as it must be, before anything names it."""
    stored = storage.objects(uri)
    for name, size in sizes.items():
        if stored.get(name) != size:
            raise InputError(
                f"{storage.join(uri, name)}: {size} bytes were uploaded, and {stored.get(name, 0)} are there. Write again"
            )
    for name in reused - stored.keys():
        raise InputError(f"{storage.join(uri, name)}: is missing. The dataset is damaged: prepare it again with `hindcast prep`")


@contextmanager
def _taken_back(marker: Marker, names: Iterable[str]) -> Iterator[None]:
    """Removes these again when the block fails, as far as the store lets us. What stays, the next writer finds marked as left."""
    try:
        yield
    except BaseException as error:
        before, marker.stays = marker.stays, True
        with suppress(InputError):  # what failed first is what must be said
            each(lambda name: storage.remove(storage.join(marker.uri, name)), names)
            marker.stays = before
        if not isinstance(error, InputError):
            raise
        raise InputError(f"{error}. What was under {marker.uri} before is as it was") from error


@contextmanager
def _shown(marker: Marker) -> Iterator[None]:
    """When the block fails, nothing is removed: of a request whose answer was lost nobody knows whether it is carried out."""
    marker.stays = True
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error}. Under {marker.uri} lies what was there before, or what is new, whole. Write again: that removes the rest"
        ) from error
    marker.stays = False


def _sweep(uri: str, names: set[str]) -> None:
    try:
        each(lambda name: storage.remove(storage.join(uri, name)), names)
    except InputError as error:
        raise InputError(
            f"{error}. What was written to {uri} is there, and whole; but not all of the {len(names)} objects that it replaced "
            "could be removed, and Petastorm would read them. Get the right to remove objects, and write again"
        ) from error


def _directory() -> Path:
    """Raises InputError where there is none, or another user could write in it unasked."""
    directory = os.environ.get("HINDCAST_STAGING")
    if directory:
        if not os.access(directory, os.W_OK | os.X_OK) or not Path(directory).is_dir():
            raise InputError(f"HINDCAST_STAGING: {directory} is no directory that can be written")
        return Path(directory).absolute()
    folder = Path(tempfile.gettempdir()) / f"hindcast-staging-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        os.close(open_folder(folder, "set HINDCAST_STAGING to a directory of your own"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}. Set HINDCAST_STAGING to a directory") from None
    return folder
