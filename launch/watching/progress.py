"""What long work shows while it runs: one live line on a terminal, nothing elsewhere. The run is told the same."""

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
    """A stage at a time, with what is known of how far it is."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._stage = self._detail = ""
        self._within: tuple[str, SparkSession | None] = ("", None)

    @contextmanager
    def stage(self, name: str, spark: SparkSession | None = None, about: str = "") -> Iterator[None]:
        """Shows `name: about` while the block runs, with the tasks of the Spark stages that run meanwhile, and then how long it
        took. The run is told the name and what it is about apart: of one name there are many in the course of time. Spark's
        jobs are described by them, where nothing narrower is said of a job."""
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
        """A part of the current stage begins, which ends where the next one does. Spark's jobs are described by it."""
        run().enter(name)
        stage, spark = self._within
        if spark is not None:
            spark.sparkContext.setJobDescription(f"{stage}: {name}")
        self.update(name)

    def step(self, name: str, number: int, numbers: Mapping[str, float], detail: str = "", seconds: float | None = None) -> None:
        """One of many like it in the current stage is over (an iteration, an epoch), with what is known of it in numbers."""
        run().step(name, number, numbers, seconds)
        self.update(detail or f"{name} {number}")

    def gauge(self, name: str, number: float) -> None:
        """The latest of a number that changes."""
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

    def _watch(self, spark: SparkSession, done: threading.Event) -> None:
        tracker = spark.sparkContext.statusTracker()
        while not done.wait(POLL_SECONDS):
            stages = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage)) is not None]
            status = self._status
            if stages and status is not None:
                finished, total = sum(info.numCompletedTasks for info in stages), sum(info.numTasks for info in stages)
                tasks = f"Spark: {finished} of {total} tasks"
                status.update(f"{self._stage}  [dim]{self._detail}{'  ' if self._detail else ''}{tasks}[/]")


class EntrantWatch:
    """What a fit for a comparison tells, under the name of its entrant: of one kind there may be several.

    A `hindcast.forecasting.kind.Watch`. An entrant that is called by its kind is told as a fit alone would be.
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
