"""Hindcast's code, and nothing else, as one zip that Spark sends to its hosts."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import hindcast
from hindcast.prep.errors import InputError
from hindcast.prep.files.own_folders import is_file, open_folder

ROOT = Path(hindcast.__file__).parent
# What the code reads that is not Python.
BESIDE = ("*.html", "*.css", "*.properties", "discover_gpus")
# Files of one content make one zip, whenever they were written.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_package(folder: Path | None = None) -> Path:
    """Writes hindcast-DIGEST.zip, unless it is there, and returns its path. DIGEST is of the content.

    folder   by default one of the user's own in the temporary folder

    Raises InputError where it cannot be written, or the folder is somebody else's.
    """
    data = package()
    folder = own_folder() if folder is None else folder
    path = folder / f"hindcast-{hashlib.sha256(data).hexdigest()[:12]}.zip"
    try:
        if not is_file(path) or path.read_bytes() != data:
            with tempfile.TemporaryDirectory(dir=folder) as beside:
                half = Path(beside, path.name)
                half.write_bytes(data)
                half.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def package(root: Path = ROOT) -> bytes:
    """The zip itself: the same bytes for the same code, which is the package `root`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_files(root)):
            entry = zipfile.ZipInfo(path.relative_to(root.parent).as_posix(), EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, stat.S_IMODE(path.stat().st_mode) << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _files(root: Path) -> Iterator[Path]:
    # In a clone the packages inside are links to the folders of the repository.
    for folder, _, names in os.walk(root, followlinks=True):
        yield from (Path(folder, name) for name in names if any(fnmatch(name, kind) for kind in ("*.py", *BESIDE)))


def own_folder() -> Path:
    """The user's folder in the temporary one. Executors run code from there: nobody else may write to it.

    Raises InputError where it cannot be made, or others may write to it.
    """
    folder = Path(tempfile.gettempdir()) / f"hindcast-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        os.close(open_folder(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None
    return folder
