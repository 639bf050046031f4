"""`run.json`: the record of a run, in a folder of its own. The file is complete JSON at every moment, up to the last event.

A killed run leaves the state "running" and the stage it was in. Secrets are left out: launch/watching/redaction.py.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hindcast.launch.command_table import COMMANDS
from hindcast.launch.kinds import KINDS
from hindcast.launch.watching.redaction import redacted, redacted_command
from hindcast.launch.watching.runs import Run, Stage, Step, iso
from hindcast.prep.errors import InputError
from hindcast.prep.files import storage

RECORD = "run.json"
FORMAT = "hindcast-run"
VERSION = 1
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hindcast", "pyspark", "petastorm", "pyarrow", "numpy", "numba")
# Of the time, at most this share goes into writing the record after steps; after stages it is always written.
SHARE, LEAST_SECONDS = 0.05, 1.0


def name_of(command: str, began: float) -> str:
    """The name of a run: its time, its command and random digits. Names sort by time, and no two are the same."""
    return f"{iso(began)[:19].replace('-', '').replace(':', '')}Z-{command.replace(' ', '-')}-{secrets.token_hex(3)}"


class RunRecord:
    """A listener that writes FOLDER/NAME-OF-THE-RUN/run.json; `folder` is a path or a URI that fsspec opens."""

    def __init__(self, folder: str, run: str, arguments: Sequence[str]) -> None:
        self.folder = f"{folder.rstrip('/')}/{run}"
        self.place = f"{self.folder}/{RECORD}"
        self._fixed = {
            "command_line": redacted_command(["hindcast", *arguments]),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "working_folder": os.getcwd(),
            "revision": revision(),
        }
        self._wrote, self._took = 0.0, 0.0

    def hear(self, run: Run, event: Mapping[str, Any]) -> None:
        step = event["event"] == "stage" and "within" in event
        if step and time.monotonic() - self._wrote < max(LEAST_SECONDS, self._took / SHARE):
            return
        began = time.monotonic()
        self.write(json.dumps(self.contents(run), indent=1, default=str) + "\n")
        self._wrote = time.monotonic()
        self._took = self._wrote - began

    def contents(self, run: Run) -> dict[str, Any]:
        """The record as it stands in the file."""
        running = run.running
        record = {
            "format": FORMAT,
            "version": VERSION,
            "run": run.name,
            "command": run.command,
            "state": run.state,
            "error": run.error or None,
            "exit_status": None if run.ended is None else run.status,
            "stage": _standing(running) if running else None,
            "began": iso(run.began),
            "ended": None if run.ended is None else iso(run.ended),
            "updated": iso(time.time()),
            "seconds": round((run.ended or time.time()) - run.began, 3),
            **self._fixed,
            "versions": versions(run.command),
            **run.facts,
            "written": run.written,
            "stages": [_stage(stage) for stage in run.stages],
        }
        redacted_record: dict[str, Any] = redacted(record)
        return redacted_record

    def write(self, text: str) -> None:
        """Replaces the record. Raises InputError where it cannot be written."""
        if not storage.is_local(self.place):
            storage.put(self.place, text.encode())
            return
        place = storage.local_path(self.place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(place, text)
        except OSError as error:
            raise InputError(f"{place}: the record of the run cannot be written: {error.strerror}") from None


def replace(place: Path, text: str) -> None:
    """Replaces a file at once: at every moment it is the old one or the new one. Raises OSError."""
    half = place.with_name(f".{place.name}.{secrets.token_hex(4)}.writing")
    with half.open("x", encoding="utf-8") as file:  # it is made here, and what a link leads to is never written
        try:
            file.write(text)
            file.flush()
            half.replace(place)
        except OSError:
            half.unlink(missing_ok=True)
            raise


def versions(command: str) -> dict[str, str]:
    """Package → version, of those that a command uses or has imported. `command`: the title of the run, "fit lstm"."""
    words = command.split()
    fits = COMMANDS[words[0]].packages(words) if words and words[0] in COMMANDS else ()
    imported = [package for kind in KINDS.values() if sys.modules.keys() & set(kind.packages) for package in kind.packages]
    releases = {"python": platform.python_version()}
    for name in dict.fromkeys((*PACKAGES, *fits, *imported)):
        try:
            releases[name] = version(name)
        except PackageNotFoundError:  # of TensorFlow there is one of two
            continue
    return releases


def revision() -> str | None:
    """The commit of the code, with "-dirty" where it was changed since; None where it lies in no checkout of its own."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or it refuses a checkout that is somebody else's
        return None


def _standing(stage: Stage) -> str:
    part = stage.steps[-1] if stage.steps else None
    if part is None:
        return stage.name
    return f"{stage.name}: {part.title}" if part.seconds is None else f"{stage.name}: after {part.title}"


def _stage(stage: Stage) -> dict[str, Any]:
    record = {"stage": stage.name, "about": stage.about, "state": stage.state, **_times(stage)}
    record["steps"] = [{"stage": step.title, **_times(step), **step.numbers} for step in stage.steps]
    return record | ({"steps_left_out": stage.dropped_steps} if stage.dropped_steps else {})


def _times(step: Step) -> dict[str, Any]:
    return {"began": iso(step.began), "seconds": None if step.seconds is None else round(step.seconds, 3)}
