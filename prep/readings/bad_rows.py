"""A bad row, explained: its file, line and column, what was found and what was expected."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pyspark.sql import DataFrame

from hindcast.prep.errors import InputError
from hindcast.prep.readings.sources import FORMATS, LINE, separator, shown
from hindcast.prep.readings.times import left_out, numbers_need_a_format
from hindcast.prep.scaling.float32 import MOST, OVERFLOW
from hindcast.prep.spec import JoinSpec, ReadingsSpec

# The reason of a row with too few or too many fields, or that is no JSON.
RAGGED = "_ragged"
# How far a file is searched for the line number of a bad row: some seconds' worth.
SEARCHED_LINES = 5_000_000


def explain(bad: DataFrame, spec: ReadingsSpec | JoinSpec, count: int) -> InputError:
    """The error for `count` bad rows, as in `Readings.bad`: the first of them, with its file, row and column."""
    first = bad.first()
    assert first is not None, "there is a bad row to explain"
    reason, row = first["reason"], json.loads(first["row"])
    file = shown(first["file"])
    number = _row_number(Path(file), row)
    others = f" ({count - 1:,} more such rows)" if count > 1 else ""
    return InputError(
        f"{file}{f', row {number}' if number else ''}: {_problem(bad, spec, reason, row)}{others}. "
        + (
            "Mend it"
            if isinstance(spec, JoinSpec)
            else "Mend it, or set bad rows aside and go on: --readings.bad_rows quarantine"
        )
    )


def _problem(bad: DataFrame, spec: ReadingsSpec | JoinSpec, reason: str, row: dict[str, Any]) -> str:
    if reason == RAGGED:
        fault = "is not a JSON object" if row[LINE].lstrip()[:1] in "{[" else "has too few or too many fields for the header"
        return f"{fault}: {row[LINE][:100]!r}"
    cell = row.get(reason)
    if reason == spec.timestamp:
        if cell is not None and left_out(bad.sparkSession, str(cell), spec):
            return (
                f"column {reason!r}: {cell!r} does not exist in {spec.time_zone}, whose clocks were put forward over it; "
                "expected a time that exists, or the time_zone that the times are of"
            )
        expected = f"a time like {spec.timestamp_format}" if spec.timestamp_format else "a time such as 2016-07-01 00:00:00"
        unsaid = spec.timestamp_format is None and re.fullmatch(r"\s*\d+(\.\d*)?\s*", str(cell))
        hint = f". {numbers_need_a_format('joins' if isinstance(spec, JoinSpec) else 'readings')}" if unsaid else ""
        return f"column {reason!r}: expected {expected}, found {cell!r}{hint}"
    if reason in spec.series:
        expected = "the name of a series"
    elif isinstance(spec, ReadingsSpec) and (reason in spec.counts or (spec.form == "wide" and spec.counts)):
        expected = "a count, whole and not negative"
    elif _is_too_large(cell):
        expected = f"a number up to {MOST}"
    else:
        expected = "a finite number"
    return f"column {reason!r}: expected {expected}, found {cell!r}"


def _is_too_large(found: Any) -> bool:
    try:
        return OVERFLOW <= abs(float(found)) < math.inf
    except (TypeError, ValueError):
        return False


def _row_number(file: Path, row: dict[str, Any]) -> int | None:
    """The line on which a row ends, the first being 1; None where the file is not within reach or too long to search."""
    kind = FORMATS.get(Path(file.name.removesuffix(".gz")).suffix.lower())
    if kind not in ("csv", "json") or not file.is_file():
        return None
    with _open_text(file) as lines:
        if LINE in row:
            rows: Iterator[tuple[int, Any]] = ((n, line.rstrip("\r\n")) for n, line in enumerate(lines, 1))
            row = row[LINE]
        else:
            rows = _csv_rows(lines, separator(file.name.removesuffix(".gz"))) if kind == "csv" else _json_rows(lines)
        return next((number for number, line in islice(rows, SEARCHED_LINES) if line == row), None)


def _csv_rows(lines: IO[str], delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    records = csv.reader(lines, delimiter=delimiter)
    header = next(records)
    for record in records:
        # Spark gives no value for an empty field, nor for one that is not there.
        yield records.line_num, {name: text for name, text in zip(header, record, strict=False) if text}


def _json_rows(lines: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield number, {name: value for name, value in record.items() if value is not None}


def _open_text(file: Path) -> IO[str]:
    how: dict[str, Any] = {"mode": "rt", "newline": "", "encoding": "utf-8-sig", "errors": "replace"}
    return gzip.open(file, **how) if file.suffix == ".gz" else file.open(**how)
