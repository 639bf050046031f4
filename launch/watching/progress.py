"""The progress of long work: one live line on a terminal, nothing elsewhere. The run records the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from hindcast.launch.watching.runs import run
from hindcast.prep.spark.descriptions import described

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

console = Console()
POLL_SECONDS = 0.5


class Progress:
    """The stage that runs, and how far it is."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._stage = self._detail = ""
        self._within: tuple[str, SparkSession | None] = ("", None)

    @contextmanager
    def stage(self, name: str, spark: SparkSession | None = None, about: str = "") -> Iterator[None]:
        """Shows `name: about` while the block runs, with the tasks of Spark's stages, and afterwards how long it took.

        The run records the name and `about` apart: stages of one name are added up. Spark's jobs are described by both, unless
        a job has a narrower description.
        """
        title = f"{name}: {about}" if about else name
        before, self._within = self._within, (name, spark)
        try:
            with run().stage(name, about), ExitStack() as stack:
                if spark is not None:
                    stack.enter_context(described(spark.sparkContext, title))
                if console.is_terminal and run().shows:
                    stack.enter_context(self._shown(escape(title), spark))
                yield
        finally:
            self._within = before

    def update(self, detail: str) -> None:
        """How far the current stage is: "1,024 of 2,785 windows"."""
        self._detail = detail
        if self._status is not None:
            self._status.update(f"{self._stage}  [dim]{detail}[/]")

    def enter(self, name: str) -> None:
        """A part of the current stage begins; it ends where the next part begins. Spark's jobs are described by it."""
        run().enter(name)
        stage, spark = self._within
        if spark is not None:
            spark.sparkContext.setJobDescription(f"{stage}: {name}")
        self.update(name)

    def step(self, name: str, number: int, numbers: Mapping[str, float], detail: str = "", seconds: float | None = None) -> None:
        """A step of the current stage is over: iteration or epoch `number`, with its numbers."""
        run().step(name, number, numbers, seconds)
        self.update(detail or f"{name} {number}")

    def gauge(self, name: str, number: float) -> None:
        """Sets a number that changes over time, such as a loss."""
        run().gauge(name, number)

    def note(self, **facts: Any) -> None:
        """Facts for the record of the run."""
        run().note(**facts)

    @contextmanager
    def _shown(self, text: str, spark: SparkSession | None) -> Iterator[None]:
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

    def _watch(self, spark: SparkSession, over: threading.Event) -> None:
        tracker = spark.sparkContext.statusTracker()
        while not over.wait(POLL_SECONDS):
            stages = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage)) is not None]
            status = self._status
            if stages and status is not None:
                finished, total = sum(info.numCompletedTasks for info in stages), sum(info.numTasks for info in stages)
                tasks = f"Spark: {finished} of {total} tasks"
                status.update(f"{self._stage}  [dim]{self._detail}{'  ' if self._detail else ''}{tasks}[/]")


class EntrantWatch:
    """A `hindcast.forecasting.kind.Watch` for a fit of a comparison: its stages have the name of the entrant.

    An entrant that has the name of its kind is recorded as a single fit is.
    """

    def __init__(self, progress: Progress, name: str, kind: str) -> None:
        self._progress, self._name = progress, name
        self._alone = name == kind

    def stage(self, name: str, spark: Any = None, about: str = "") -> AbstractContextManager[None]:
        return self._progress.stage(name if self._alone else f"{name} {self._name}", spark, about)

    def update(self, detail: str) -> None:
        self._progress.update(detail)

    def step(self, name: str, number: int, numbers: Mapping[str, float], detail: str = "", seconds: float | None = None) -> None:
        self._progress.step(name, number, numbers, detail, seconds)

    def gauge(self, name: str, number: float) -> None:
        self._progress.gauge(name, number)

    def note(self, **facts: Any) -> None:
        if self._alone:
            self._progress.note(**facts)
        self._progress.note(entrants={self._name: facts})
