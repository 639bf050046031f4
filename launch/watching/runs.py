"""The run of this process: its stages, numbers and outputs, and the listeners that get every event of it.

A stage has parts, which begin one after the other (the passes of a preparation), and steps, which are reported when they are over
(iterations, epochs). Any code reports to the run. Only the command line adds listeners: a record, a file of metrics, JSON lines.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from hindcast.prep.errors import InputError

State = Literal["running", "succeeded", "failed", "interrupted"]
Labels = tuple[tuple[str, str], ...]
# A stage of endless steps must not make an endless record: the last ones are kept.
MOST_STEPS = 1000


class Listener(Protocol):
    """Gets every event of a run, after the run has recorded it. Raises InputError where it cannot write the event."""

    def hear(self, run: Run, event: Mapping[str, Any]) -> None: ...


@dataclass
class Step:
    """An iteration, an epoch, or a part of a stage. `began`: in seconds since 1970; `seconds`: None while it runs."""

    name: str
    began: float
    number: int | None = None
    seconds: float | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.name if self.number is None else f"{self.name} {self.number}"


@dataclass
class Stage(Step):
    """A stage of a run with its last steps; `dropped_steps`: how many earlier ones are not in `steps` any more."""

    about: str = ""
    state: State = "running"
    steps: list[Step] = field(default_factory=list)
    dropped_steps: int = 0


class Run:
    """A run. Times are seconds since 1970. `numbers`: the latest value of each name; `counts`: sums, which only grow."""

    def __init__(self, name: str = "", command: str = "", listeners: Sequence[Listener] = (), shows: bool = True) -> None:
        self.name, self.command, self.listeners, self.shows = name, command, list(listeners), shows
        self.began = time.time()
        self.ended: float | None = None
        self.state: State = "running"
        self.error, self.status = "", 0
        self.facts: dict[str, Any] = {}
        self.written: list[dict[str, str]] = []
        self.stages: list[Stage] = []
        self.numbers: dict[tuple[str, Labels], float] = {}
        self.counts: dict[tuple[str, Labels], float] = defaultdict(float)
        # Of each name of a stage or step: how often, and how long in all.
        self.spent: dict[str, tuple[int, float]] = {}
        self._warned: set[int] = set()
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Reports the beginning to the listeners. Raises InputError where one of them cannot write, before any work is done."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.hear(self, self._event("run", run=self.name, command=self.command))
            self.listeners.append(listener)

    def end(self, state: State, status: int = 0, error: str = "") -> None:
        self.state, self.status, self.error, self.ended = state, status, error, time.time()
        details = {"error": error} if error else {}
        self._tell("end", state=state, status=status, seconds=self.ended - self.began, **details)

    def note(self, **facts: Any) -> None:
        """Adds facts to the record; tables of one name are merged."""
        with self._lock:
            for name, fact in facts.items():
                before = self.facts.get(name)
                self.facts[name] = _joined(before, fact) if isinstance(before, dict) and isinstance(fact, dict) else fact
        self._tell("note", **facts)

    def wrote(self, what: str, path: object) -> None:
        """Records an output of the run: `what` it is ("model", "report") and where it lies."""
        with self._lock:
            self.written.append({"what": what, "path": str(path)})
        self._tell("written", what=what, path=str(path))

    def count(self, name: str, number: float, **labels: str) -> None:
        with self._lock:
            self.counts[name, tuple(sorted(labels.items()))] += number

    def gauge(self, name: str, number: float, **labels: str) -> None:
        with self._lock:
            self.numbers[name, tuple(sorted(labels.items()))] = number

    @contextmanager
    def stage(self, name: str, about: str = "") -> Iterator[Stage]:
        stage = Stage(name, time.time(), about=about)
        with self._lock:
            self.stages.append(stage)
        self._tell("begin", stage=name, **({"about": about} if about else {}))
        try:
            yield stage
            stage.state = "succeeded"
        except BaseException:
            stage.state = "failed"
            raise
        finally:
            self._leave(stage)
            self._close(stage, time.time() - stage.began)
            details = {"about": about} if about else {}
            self._tell("stage", stage=name, seconds=stage.seconds, state=stage.state, **details)

    def enter(self, name: str) -> None:
        """A part of the stage begins, and the part before it ends."""
        if stage := self.running:
            self._leave(stage)
            self._keep(stage, Step(name, time.time()))
            self._tell("begin", stage=name, within=stage.name)

    def step(self, name: str, number: int, numbers: Mapping[str, float], seconds: float | None = None) -> None:
        """A step of the stage is over. Without `seconds` it began when the step before it ended, or when the stage began."""
        stage, now = self.running, time.time()
        if stage is None:
            return
        last = stage.steps[-1] if stage.steps else None
        began = now - seconds if seconds is not None else stage.began if last is None else last.began + (last.seconds or 0.0)
        step = Step(name, began, number, numbers=dict(numbers))
        self._keep(stage, step)
        self._close(step, now - began)
        for key, value in numbers.items():
            self.gauge(key, value)
        self._tell("stage", stage=step.title, seconds=step.seconds, within=stage.name, **numbers)

    @property
    def running(self) -> Stage | None:
        """The innermost stage that runs."""
        return next((stage for stage in reversed(self.stages) if stage.state == "running"), None)

    def _leave(self, stage: Stage) -> None:
        """Ends the part of a stage that runs."""
        part = stage.steps[-1] if stage.steps else None
        if part is not None and part.seconds is None:
            self._close(part, time.time() - part.began)
            self._tell("stage", stage=part.name, seconds=part.seconds, within=stage.name)

    def _keep(self, stage: Stage, step: Step) -> None:
        with self._lock:
            stage.steps.append(step)
            if len(stage.steps) > MOST_STEPS:
                del stage.steps[0]
                stage.dropped_steps += 1

    def _close(self, step: Step, seconds: float) -> None:
        with self._lock:
            step.seconds = seconds
            times, total = self.spent.get(step.name, (0, 0.0))
            self.spent[step.name] = times + 1, total + seconds

    def _tell(self, kind: str, **details: Any) -> None:
        """Work goes on where a record of it can no longer be written; that is said once."""
        with self._lock:
            for number, listener in enumerate(self.listeners):
                try:
                    listener.hear(self, self._event(kind, **details))
                except InputError as error:
                    if number not in self._warned:
                        self._warned.add(number)
                        logging.getLogger(__name__).warning("%s. The run goes on without", error)

    def _event(self, kind: str, **details: Any) -> dict[str, Any]:
        return {"time": iso(time.time()), "event": kind, **details}


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run() -> Run:
    """The run of this process; where no command runs, one without listeners."""
    return _current[-1]


def set_run(run: Run | None) -> None:
    """Sets the run of this process; None: none."""
    _current[1:] = [] if run is None else [run]


def _joined(facts: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    return facts | {
        name: _joined(facts[name], value) if isinstance(facts.get(name), dict) and isinstance(value, dict) else value
        for name, value in others.items()
    }


_current = [Run()]
