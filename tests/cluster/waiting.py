"""Waits that have an end, and say what did not come."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def until(true: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Waits until something is true, for so long at most."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


def ended(driver: subprocess.Popen[Any]) -> str:
    """What it had to say, where it is not expected to be over."""
    return f"it is over already, with status {driver.returncode}: " + "".join(map(str, driver.communicate()))


def until_persisted(folders: Mapping[str, Path], driver: subprocess.Popen[Any]) -> str:
    """Waits until the executor of a host or worker, by the folder that it keeps its files in, has something that was shuffled and
    something that was persisted: which. A small job may do all in one of them, and nobody knows in which."""

    found: str | None = None

    def holds(folder: Path) -> bool:
        kept = [file for _, _, files in os.walk(folder) for file in files]
        return all(any(file.startswith(kind) for file in kept) for kind in ("shuffle_", "rdd_"))

    def decided() -> bool:
        nonlocal found
        found = next((name for name, folder in folders.items() if holds(folder)), None)
        return found is not None or driver.poll() is not None

    until(decided, f"an executor has worked something out, of {', '.join(folders)}")
    assert found is not None, ended(driver)
    return found
