"""The listeners of a command's run: its record (--run-dir), a file of metrics (--metrics), lines of JSON (--log json)."""

from __future__ import annotations

import time
from pathlib import Path

from hindcast.deep.ways.started import first_rank
from hindcast.launch.global_options import Arguments
from hindcast.launch.watching.log_lines import LogLines
from hindcast.launch.watching.metrics_file import MetricsFile
from hindcast.launch.watching.run_record import RunRecord, name_of
from hindcast.launch.watching.runs import Listener, Run, State, run, set_run
from hindcast.prep.errors import InputError


def begin(arguments: Arguments) -> None:
    """Sets a command as the run of this process, with its listeners. Raises InputError where one cannot write, or the command
    is not one that can be watched."""
    command, watchers = arguments.command, arguments.watchers
    if arguments.helps or command is None:
        return
    if not command.works:
        if watchers.named:
            behind = ": put it behind --, where the command stands" if command.name == "submit" else ""
            raise InputError(f"{watchers.named}: `hindcast {command.name}` does no work to be watched{behind}")
        return
    if not first_rank():  # the others do the same
        return
    title = command.title(arguments.names)
    name = name_of(title, time.time())
    listeners = list[Listener]()
    if watchers.log == "json":
        listeners.append(LogLines())
    if watchers.run_dir is not None:
        listeners.append(RunRecord(watchers.run_dir, name, arguments.line))
    if watchers.metrics is not None:
        listeners.append(MetricsFile(Path(watchers.metrics)))
    set_run(Run(name, title, listeners, shows=watchers.log != "json"))
    run().begin()


def end(state: State, status: int = 0, error: str = "") -> None:
    """Ends the run of this process, and closes its listeners."""
    over = run()
    over.end(state, status, error)
    for listener in over.listeners:
        if isinstance(listener, LogLines):
            listener.close()
    set_run(None)
