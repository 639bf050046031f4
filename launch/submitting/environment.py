"""This Python environment as one archive, for clusters whose hosts do not have it."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from hindcast.launch.spark.java import archive_place
from hindcast.launch.submitting.package import own_folder
from hindcast.prep.errors import InputError
from hindcast.prep.files.own_folders import is_file


def pack_environment() -> Path:
    """Packs this environment by conda-pack or venv-pack, unless an archive with the same packages is there; returns its path.

    A virtual environment needs its base Python at the same path on every host; an environment of conda's has its own. Raises
    InputError where the packer is missing, or this Python is in no environment.
    """
    conda = (Path(sys.prefix) / "conda-meta").is_dir()
    if not conda and sys.prefix == sys.base_prefix:
        raise InputError(f"{sys.prefix}: neither a virtual environment nor one of conda's; only these can be packed")
    tool = "conda-pack" if conda else "venv-pack"
    try:
        packer = import_module(tool.replace("-", "_"))
    except ImportError:
        raise InputError(f"this environment is packed by {tool}, which is missing: pip install {tool}") from None
    packages = "\n".join(sorted(f"{distribution.name}=={distribution.version}" for distribution in distributions()))
    content = hashlib.sha256(f"{sys.prefix}\n{sys.version}\n{packages}".encode()).hexdigest()[:12]
    archive = own_folder() / f"environment-{content}.tar.gz"
    if not is_file(archive):
        ours = archive_place().relative_to(sys.prefix).parent  # of classes that Java finds elsewhere where this is unpacked
        more: dict[str, Any] = {"filters": [("exclude", f"{ours}/*")]}
        more |= {"ignore_editable_packages": True} if conda else {}
        failures = OSError, packer.CondaPackException if conda else packer.VenvPackException
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:  # of another submit at the same time, nothing is seen
            half = Path(folder, archive.name)
            try:
                packer.pack(prefix=sys.prefix, output=str(half), compress_level=1, **more)
                half.replace(archive)
            except failures as error:
                raise InputError(f"{tool} cannot pack {sys.prefix}: {error}") from None
    return archive
