"""Files by path or by URI: plain calls of the operating system for paths, fsspec where a scheme is given.

`file:` URIs and plain paths need nothing else. Object stores need the fsspec package of their scheme (`s3fs` for `s3://`), and
take credentials and the endpoint from where their own tools take them: for S3 the variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, or ~/.aws. They do not belong into a URI, which ends up in logs.

Every call ends: one that hears nothing for REMOTE_SECONDS is given up. What fails is an InputError that names the URI. What is
written lies under its name whole or not at all where the store has objects, as S3 has; a store with folders writes in place.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import xxhash

from hindcast.prep.errors import InputError

REMOTE_SECONDS = 60.0
CHUNK_BYTES, LOCAL_CHUNK_BYTES = 8 << 20, 1 << 20
# S3 takes an object in so many pieces.
PIECES = 10_000
# An unreachable store is noticed in seconds: botocore's own defaults try for minutes.
S3_CONFIG = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2, "mode": "standard"}}
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):/")
Answer = TypeVar("Answer")


def read_bytes(path: str) -> bytes:
    """A whole file. Raises InputError where it is missing or cannot be read."""
    return b"".join(map(bytes, chunks(path)))  # copied: the next chunk comes in the same buffer


def read_text(path: str) -> str:
    """A whole file of UTF-8. Raises InputError as `read_bytes` does, and where it is something else."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error})") from None


def size_of(path: str) -> int | None:
    """The bytes of a file; None where there is no file."""
    if is_local(path):
        file = local_path(path)
        try:
            return file.stat().st_size if file.is_file() else None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        info = _remote(path, lambda files, name: files.info(name))
    except _MissingError:
        return None
    return int(info["size"]) if info["type"] == "file" else None


def names_in(folder: str) -> list[str]:
    """The names of the files and folders in a folder, ascending. Raises InputError where it is missing or cannot be read."""
    if is_local(folder):
        try:
            return sorted(path.name for path in local_path(folder).iterdir())
        except OSError as error:
            raise InputError(f"{folder}: cannot be listed: {error.strerror}") from None
    # An object store has no folders: asked for one, some name it among what it holds.
    names = _remote(folder, lambda files, name: [entry.rstrip("/") for entry in files.ls(name, detail=False) if entry != name])
    return sorted(name.rpartition("/")[2] for name in names)


def objects(folder: str) -> dict[str, int]:
    """Everything under a URI, in folders as well: name, relative to it → bytes. "" is an object that has the URI's own name."""

    def find(files: Any, name: str) -> dict[str, int]:
        infos = files.find(name, detail=True)
        # Some stores keep an empty object for a folder.
        return {_under(name, each): int(info["size"]) for each, info in infos.items() if not each.endswith("/")}

    try:
        return _remote(folder, find)
    except _MissingError:
        return {}


def get(uri: str) -> bytes | None:
    """A small object, in one request; None where there is none."""
    try:
        return _remote(uri, lambda files, name: files.cat_file(name))
    except _MissingError:
        return None


def put(uri: str, content: bytes) -> None:
    """Writes a small object, in one request."""
    _remote(uri, lambda files, name: _in_folder(files, name, lambda: files.pipe_file(name, content)))


def upload(file: Path, uri: str) -> None:
    """Writes a file of this machine as an object. It may take as long as it takes while one piece after the other is taken."""
    progress = _LastProgress()
    options: dict[str, Any] = {}
    if scheme_of(uri) in ("s3", "s3a"):
        # By itself s3fs sends 50 MB at a time, and ten such at once: nothing would be heard for long.
        options = {"chunksize": max(CHUNK_BYTES, file.stat().st_size // (PIECES - 1)), "max_concurrency": 1}

    def send(files: Any, name: str) -> None:
        _in_folder(files, name, lambda: files.put_file(str(file), name, callback=progress.callback(), **options))

    _remote(uri, send, progress)


def download(uri: str, file: Path) -> None:
    """Writes an object to a file of this machine, whose folder is made. Raises InputError as `chunks` does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as to:
        for chunk in chunks(uri):
            to.write(chunk)


def remove(uri: str) -> None:
    """Removes an object; one that is not there is no error."""
    with suppress(_MissingError):
        _remote(uri, lambda files, name: files.rm_file(name))


def sha256_of(path: str) -> str:
    """Of a file's bytes, in hexadecimal. Raises InputError where it is missing or cannot be read."""
    return _digest(hashlib.sha256(), path)


def xxh128_of(path: str) -> str:
    """XXH3 of a file's bytes, 128 bits in hexadecimal: as fast as memory, and finds what SHA-256 finds but for forgery."""
    return _digest(xxhash.xxh3_128(), path)


def _digest(digest: Any, path: str) -> str:
    for chunk in chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def chunks(path: str) -> Iterator[memoryview]:
    """A file's bytes from its beginning, some megabytes at a time, in a buffer that the next turn overwrites.

    Raises InputError where it is missing or cannot be read.
    """
    if is_local(path):
        yield from _local_chunks(path)
        return
    size = size_of(path)
    if size is None:
        raise InputError(f"{path}: is missing")
    for start in range(0, size, CHUNK_BYTES):
        stop = min(start + CHUNK_BYTES, size)
        data = _remote(path, partial(_cat, start=start, stop=stop))
        if len(data) != stop - start:
            raise InputError(f"{path}: {len(data)} bytes came of the {stop - start} from byte {start} on: it is being changed")
        yield memoryview(data)


def open_for_arrow(path: str) -> pa.NativeFile:
    """A file for pyarrow to read row groups from. Remote: use `ParquetFile(…, pre_buffer=True)`: few requests, for whole columns.

    Raises InputError where it is missing or cannot be read.
    """
    if not is_local(path):
        return pa.PythonFile(_remote(path, lambda files, name: files.open(name, "rb", cache_type="none")), mode="r")
    try:
        # Not mapped: a file that is cut short while it is mapped ends the process.
        return pa.OSFile(str(local_path(path)), mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: is missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def join(base: str, relative: str) -> str:
    """The file `relative` under `base`, a path or a URI; of a `file:` URI it is a path.

    Raises InputError for one that is not under it: what a manifest names comes from whoever wrote the manifest.
    """
    if relative.startswith("/") or ".." in relative.split("/"):
        raise InputError(f"{base}: a file in it is named {relative!r}, which leads out of it, and nothing is read from there")
    if not is_local(base):
        return f"{base.rstrip('/')}/{relative}"
    return str(local_path(base) / relative)


def absolute(path: str) -> str:
    """The path or URI as a process with another working directory can use it; a `file:` URI becomes a path."""
    return str(local_path(path).absolute()) if is_local(path) else path.rstrip("/")


def is_local(path: str) -> bool:
    """Whether it is a path of this machine (also of a network file system mounted here) and not an object store's URI."""
    return scheme_of(path) in ("", "file")


def scheme_of(path: str) -> str:
    """What stands before `://`, in lower case; empty for a plain path. Names with a colon in them (10:00.csv) are plain paths."""
    match = SCHEME.match(path)
    return (match[1] or match[2]).lower() if match else ""


def local_path(path: str) -> Path:
    """The path that a `file:` URI or a plain path stands for. Raises InputError for other URIs."""
    scheme = scheme_of(path)
    if not scheme:
        return Path(path)
    if scheme != "file":
        raise InputError(f"{path}: is not on this machine, and a path or a file: URI was expected")
    parts = urlsplit(path)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{path}: names the machine {parts.netloc!r}; a file: URI of this machine has three slashes, file:///…")
    return Path(unquote(parts.path))


class _MissingError(InputError):
    """There is no such file."""


class _LastProgress:
    """When a transfer last got on."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def callback(self) -> Any:
        from fsspec.callbacks import Callback  # type: ignore[import-untyped]

        return Callback(hooks={"heard": self.now})

    def now(self, size: int | None, value: int, **_: Any) -> None:
        self.at = time.monotonic()


def _under(folder: str, name: str) -> str:
    return name.removeprefix(folder.rstrip("/")).lstrip("/")


def _in_folder(files: Any, name: str, write: Callable[[], object]) -> None:
    """Writes, and where the store has folders and the one of `name` is missing, makes it first. A bucket is never made."""
    try:
        write()
    except FileNotFoundError:
        _make(files, files._parent(name))
        write()


def _make(files: Any, folder: str) -> None:
    above = files._parent(folder)
    if above.strip("/") and not files.isdir(folder):
        _make(files, above)
        with suppress(FileExistsError):
            files.mkdir(folder, create_parents=False)


def _cat(files: Any, name: str, *, start: int, stop: int) -> bytes:
    return files.cat_file(name, start=start, end=stop)


def _local_chunks(path: str) -> Iterator[memoryview]:
    buffer = bytearray(LOCAL_CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        with local_path(path).open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                yield view[:count]
    except FileNotFoundError:
        raise InputError(f"{path}: is missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _remote(uri: str, call: Callable[[Any, str], Answer], progress: _LastProgress | None = None) -> Answer:
    """`call(file system, name)`, ended when nothing was `heard` for REMOTE_SECONDS, with its failures told in words of ours."""
    import fsspec  # type: ignore[import-untyped]  # needed by few, and 50 ms to import

    def connected() -> Answer:
        scheme = scheme_of(uri)
        options = {"config_kwargs": S3_CONFIG} if scheme in ("s3", "s3a") else {}
        # Listings that are remembered would hide what has been written or removed since.
        files, name = fsspec.core.url_to_fs(uri, use_listings_cache=False, **options)
        return call(files, name)

    try:
        return _within_time(connected, progress or _LastProgress())
    except FileNotFoundError as error:
        raise _MissingError(f"{uri}: is missing ({_short(error)})") from None
    except PermissionError as error:
        raise InputError(f"{uri}: access is refused ({_short(error)}). Check the credentials and the rights they have") from None
    except ImportError as error:
        raise InputError(f"{uri}: needs a package that is not installed: {error}") from None
    except TimeoutError:
        raise InputError(f"{uri}: nothing was heard for {REMOTE_SECONDS:g} s. Check the endpoint and the network") from None
    except Exception as error:  # every store has errors of its own, without a common ancestor
        raise InputError(
            f"{uri}: cannot be reached: {_short(error)}. Check the address, the endpoint and the credentials"
        ) from None


def _within_time(call: Callable[[], Answer], progress: _LastProgress) -> Answer:
    """Waits for `call` in a thread of its own, because not every store's client knows an end. Raises TimeoutError."""
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # raised again by whoever waits
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True, name="hindcast-remote").start()
    while (seconds := progress.at + REMOTE_SECONDS - time.monotonic()) > 0 and not answer.done():
        wait([answer], timeout=seconds)
    return answer.result(timeout=0)


def _short(error: BaseException) -> str:
    """Its type and first line: some carry a whole web page."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
