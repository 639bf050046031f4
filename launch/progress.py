"""What long work shows while it runs: one live line on a terminal, nothing elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

console = Console()
POLL_SECONDS = 0.5


class Progress:
    """A stage at a time, with what is known of how far it is."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._stage = self._detail = ""

    @contextmanager
    def stage(self, text: str, spark: SparkSession | None = None) -> Iterator[None]:
        """Shows `text` while the block runs, with the tasks of the Spark stages that run meanwhile, and then how long it took."""
        if not console.is_terminal:
            yield
            return
        began, done = time.perf_counter(), threading.Event()
        self._stage, self._detail = text, ""
        with console.status(text) as self._status:
            watcher = threading.Thread(target=self._watch, args=(spark, done), daemon=True)
            if spark is not None:
                watcher.start()
            try:
                yield
            finally:
                done.set()
                if spark is not None:
                    watcher.join(timeout=2 * POLL_SECONDS)
                self._status = None
        console.print(f"[green]✓[/] {text} [dim]{time.perf_counter() - began:.1f} s[/]")

    def update(self, detail: str) -> None:
        """How far the current stage is: "iteration 7, log-likelihood −1.23"."""
        self._detail = detail
        if self._status is not None:
            self._status.update(f"{self._stage}  [dim]{detail}[/]")

    def _watch(self, spark: SparkSession, done: threading.Event) -> None:
        tracker = spark.sparkContext.statusTracker()
        while not done.wait(POLL_SECONDS):
            stages = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage)) is not None]
            status = self._status
            if stages and status is not None:
                finished, total = sum(info.numCompletedTasks for info in stages), sum(info.numTasks for info in stages)
                tasks = f"Spark: {finished} of {total} tasks"
                status.update(f"{self._stage}  [dim]{self._detail}{'  ' if self._detail else ''}{tasks}[/]")
