"""Waits that have an end, and say what did not come."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Spark gives out no task before two executors of one core are there; else the first may have done all before the second comes.
TWO = {
    "spark.cores.max": "2",
    "spark.scheduler.minRegisteredResourcesRatio": "1",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "240s",
}


def until(true: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Waits until something is true, for so long at most."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


def ended(driver: subprocess.Popen[Any]) -> str:
    """What it had to say, where it is not expected to be over."""
    return f"it is over already, with status {driver.returncode}: " + "".join(map(str, driver.communicate()))


def until_persisted(folder: Path, driver: subprocess.Popen[Any]) -> None:
    """Waits until an executor that keeps its files there has something that was shuffled, and something that was persisted."""

    def both() -> bool:
        names = [name for _, _, files in os.walk(folder) for name in files]
        return all(any(name.startswith(kind) for name in names) for kind in ("shuffle_", "rdd_"))

    until(lambda: both() or driver.poll() is not None, f"an executor has worked something out, in {folder}")
    assert driver.poll() is None, ended(driver)


def as_java_options(conf: dict[str, str]) -> list[str]:
    """Settings of Spark as it takes them from any Java that it runs in."""
    return [f"-D{key}={value}" for key, value in conf.items()]
