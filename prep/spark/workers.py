"""Spark's Python workers: rid of what slows them down, and found again by those that left something in them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any
from zipfile import ZipFile

APART = "HINDCAST_WORKERS"


@lru_cache
def settle() -> None:
    """What a task calls when it begins: once in a worker's life, so that the tasks after it cost little.

    After every task a worker also has Python look through all objects for garbage, those of every module among them: 10
    milliseconds. What is there now stays until the worker ends, and need not be looked through.
    """
    forget_archives()
    gc.collect()
    gc.freeze()


@contextmanager
def workers_apart(context: Any, name: str) -> Iterator[None]:
    """Jobs that are started meanwhile have Python workers of their own, and find what the last of the same name left in them.

    After a task its worker waits for the next, and of all that wait Spark takes the one that has waited longest: by turns a task
    would come to as many processes as an executor has cores. Workers of another environment it keeps apart.
    """
    context.environment[APART] = name
    try:
        yield
    finally:
        del context.environment[APART]


def forget_archives() -> None:
    """Takes Spark's own archives off this process's module path, where the same modules are installed as files.

    Before every task a worker tells Python to look at its module path anew, and Python then reads the list of what is in each
    archive, once for every package that was imported from it. For Spark's core jar, in which there is no module at all, and
    pyspark.zip together that is 75 milliseconds of processor time a task. A jar from elsewhere stays: it may hold modules.
    """
    own = [entry for entry in sys.path if _is_of_spark(entry) or _is_installed(entry)]
    for entry in own:
        sys.path.remove(entry)
    for entry in [entry for entry in sys.path_importer_cache if entry.startswith(tuple(own))]:
        del sys.path_importer_cache[entry]


def _is_of_spark(archive: str) -> bool:
    """Whether it is a jar in the folder of Spark's own."""
    jar = PurePath(archive)
    if jar.suffix != ".jar":
        return False
    home = os.environ.get("SPARK_HOME")
    own = jar.parent.name == "jars" and jar.parent.parent.name == "pyspark"
    return own or (home is not None and Path(archive).parent == Path(home, "jars"))


def _is_installed(archive: str) -> bool:
    """Whether it is pyspark.zip, and the pyspark that is installed is of the same version."""
    if PurePath(archive).name != "pyspark.zip":
        return False
    try:
        with ZipFile(archive) as modules:
            return metadata.version("pyspark") in modules.read("pyspark/version.py").decode()
    except (OSError, KeyError, metadata.PackageNotFoundError):
        return False
