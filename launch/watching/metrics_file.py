"""The metrics of a run as Prometheus text, for the node exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/. Every metric has labels for its command and its file:
the collector reads all files of a folder as one, and refuses a metric that stands twice in them with the same labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hindcast.forecasting.task import FORECAST
from hindcast.launch.kinds import KINDS
from hindcast.launch.watching.run_record import replace, versions
from hindcast.launch.watching.runs import Labels, Run
from hindcast.prep.errors import InputError

PREFIX = "hindcast_"
LAST_SUCCESS = f"{PREFIX}run_last_success_time_seconds"
HELP = {
    "run_info": "A 1, with the version of what runs or ran last.",
    "run_start_time_seconds": "When the run began, in seconds since 1970.",
    "run_end_time_seconds": "When the run ended, in seconds since 1970.",
    "run_duration_seconds": "Seconds that the run took.",
    "run_running": "Whether the run goes on: 1 also where it was killed.",
    "run_success": "Whether the run ended well.",
    "run_last_success_time_seconds": "When a run last ended well, in seconds since 1970.",
    "stage_seconds": "Seconds in a stage, and how often it was over.",
    "readings_total": "Readings that went into the dataset's splits, or fell outside of them.",
    "windows_total": "Windows of the dataset.",
    "forecast_rows_total": "Rows of forecasts that were written.",
    **{f"test_{measure.key}": measure.gauge for measure in FORECAST.measures if measure.gauge},
    **{name: words for kind in KINDS.values() for name, words in kind.gauges.items()},
}


class MetricsFile:
    """A listener that writes the file `place` anew after each stage and step."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._succeeded: float | None = None

    def hear(self, run: Run, event: Mapping[str, Any]) -> None:
        """Raises InputError where the file cannot be written."""
        try:
            if event["event"] == "run":
                self._succeeded = self._before(run)
            elif run.state == "succeeded":
                self._succeeded = run.ended
            replace(self.place, text_of(run, self.place.stem, self._succeeded))
        except OSError as error:
            raise InputError(f"{self.place}: the metrics cannot be written: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{self.place}: holds something else than metrics, and is not replaced by them") from None

    def _before(self, run: Run) -> float | None:
        """When this command last succeeded, by the file as an earlier run left it."""
        if not self.place.exists():
            return None
        labels = re.escape(_labels((("command", run.command), ("file", self.place.stem))))
        match = re.search(rf"^{LAST_SUCCESS}{labels} (\S+)$", self.place.read_text(encoding="utf-8"), re.MULTILINE)
        return float(match[1]) if match else None


def text_of(run: Run, file: str, succeeded: float | None) -> str:
    """All metrics of a run as text.

    file       the label that tells them from those of another file
    succeeded  when a run of this command last succeeded, in seconds since 1970; None: never
    """
    own: Labels = (("command", run.command), ("file", file))
    families: dict[str, list[str]] = {}

    def add(name: str, value: float, labels: Labels = (), suffix: str = "") -> None:
        families.setdefault(name, []).append(f"{PREFIX}{name}{suffix}{_labels(own + labels)} {_number(value)}")

    add("run_info", 1, (("version", versions(run.command).get("hindcast", "unknown")),))
    add("run_start_time_seconds", run.began)
    add("run_running", run.ended is None)
    if run.ended is not None:
        add("run_end_time_seconds", run.ended)
        add("run_success", run.state == "succeeded")
        add("run_duration_seconds", run.ended - run.began)
    if succeeded is not None:
        add("run_last_success_time_seconds", succeeded)
    for stage, (times, seconds) in run.spent.items():
        add("stage_seconds", seconds, (("stage", stage),), "_sum")
        add("stage_seconds", times, (("stage", stage),), "_count")
    for (name, labels), value in run.numbers.items():
        if name in HELP:
            add(name, value, labels)
    for (name, labels), value in run.counts.items():
        add(f"{name}_total", value, labels)
    lines = []
    for name, samples in families.items():
        lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} {_kind(name)}", *samples]
    return "\n".join(lines) + "\n"


def _kind(name: str) -> str:
    return "summary" if name == "stage_seconds" else "counter" if name.endswith("_total") else "gauge"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) else repr(float(value))
