"""Who watches the run of a command: its record (--run-dir), a file of metrics (--metrics), lines of JSON (--log json)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deep.started import first_rank
from launch.log_lines import LogLines
from launch.metrics import MetricsFile
from launch.run_record import RunRecord, name_of
from launch.runs import Listener, Run, State, run, set_run
from launch.submit import COMMANDS
from prep.errors import InputError

OPTIONS = {"--run-dir": "HINDCAST_RUN_DIR", "--log": "HINDCAST_LOG", "--metrics": "HINDCAST_METRICS"}
FORMATS = ("text", "json")


@dataclass(frozen=True)
class Watchers:
    """What was asked for on the command line, or else by the environment; `named`: an option that stood on the command line."""

    run_dir: str | None = None
    log: str = "text"
    metrics: str | None = None
    named: str | None = None


def taken(arguments: Sequence[str]) -> tuple[list[str], Watchers]:
    """Arguments without those that say who watches, wherever they stand, and these. Raises InputError where one has no value."""
    kept, given = list[str](), dict[str, str]()
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            kept.append(word)
            continue
        found = value if equals else next(words, "")
        if not found or (not equals and found.startswith("--")):
            raise InputError(f"{name}: a value is missing")
        given[name] = found
    told = {name: given.get(name) or os.environ.get(variable) for name, variable in OPTIONS.items()}
    log = told["--log"] or "text"
    if log not in FORMATS:
        where = "--log" if "--log" in given else OPTIONS["--log"]
        raise InputError(f"{where} {log}: expected one of {', '.join(FORMATS)}")
    return kept, Watchers(told["--run-dir"], log, told["--metrics"], next(iter(given), None))


def begin(arguments: Sequence[str], watchers: Watchers) -> None:
    """Makes the command of these arguments the run of this process. Raises InputError where it cannot be watched as asked."""
    words = [word for word in arguments if not word.startswith("-")]
    command = " ".join(words[:2] if words[:1] == ["fit"] else words[:1])
    if "--help" in arguments or not command:
        return
    if words[0] not in COMMANDS:
        if watchers.named:
            behind = ": put it behind --, where the command stands" if command == "submit" else ""
            raise InputError(f"{watchers.named}: `hindcast {command}` does no work to be watched{behind}")
        return
    if not first_rank():  # the others do the same
        return
    name = name_of(command, time.time())
    listeners = list[Listener]()
    if watchers.log == "json":
        listeners.append(LogLines())
    if watchers.run_dir is not None:
        listeners.append(RunRecord(watchers.run_dir, name, arguments))
    if watchers.metrics is not None:
        listeners.append(MetricsFile(Path(watchers.metrics)))
    set_run(Run(name, command, listeners, shows=watchers.log != "json"))
    run().begin()


def end(state: State, status: int = 0, error: str = "") -> None:
    """The run of this process is over."""
    over = run()
    over.end(state, status, error)
    for listener in over.listeners:
        if isinstance(listener, LogLines):
            listener.close()
    set_run(None)
