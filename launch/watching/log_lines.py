"""The events of a run as lines of JSON on standard error, with Python's own log among them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from hindcast.launch.watching.redaction import redacted
from hindcast.launch.watching.runs import Run, iso


class LogLines(logging.Handler):
    """A listener that prints events, and the warnings and errors of Python's log, until it is closed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._stream = sys.stderr
        logging.getLogger().addHandler(self)
        logging.captureWarnings(True)

    def hear(self, run: Run, event: Mapping[str, Any]) -> None:
        self._print(event)

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"time": iso(record.created), "event": "log", "level": record.levelname, "logger": record.name}
        self._print({**fields, "message": record.getMessage()})

    def close(self) -> None:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self)
        super().close()

    def _print(self, event: Mapping[str, Any]) -> None:
        rounded = {name: round(value, 3) if name == "seconds" and value is not None else value for name, value in event.items()}
        self._stream.write(json.dumps(redacted(rounded), default=str) + "\n")
        self._stream.flush()
