"""Readings in memory become a file, or a line says why not; Spark is not started for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hindcast as hc
from hindcast.launch import api
from hindcast.launch.frames import readings_file

TIMES = pd.date_range("2025-01-01", periods=4, freq="h")
GOOD = pd.DataFrame({"when": TIMES, "sensor": ["a", "a", "b", "b"], "heat": [1.0, 2.0, np.nan, 4.0]})


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Path]:
    return lambda: tmp_path


def written(readings: Any, folder: Callable[[], Path], time: str | None = None) -> tuple[pa.Table, str | None]:
    file = readings_file(readings, time, folder)
    assert file is not None
    table = pq.read_table(file.path)
    assert tuple(table.column_names) == file.columns
    return table, file.time


def test_a_frame_and_a_table_are_the_same_file(folder: Callable[[], Path]) -> None:
    one, time = written(GOOD, folder)
    other, _ = written(pa.Table.from_pandas(GOOD, preserve_index=False), folder)
    assert time == "when"
    assert one.equals(other)
    assert one.column("heat").null_count == 1
    assert pa.types.is_timestamp(one.schema.field("when").type)


def test_polars_frames_are_taken_too(folder: Callable[[], Path]) -> None:
    polars = pytest.importorskip("polars")
    table, time = written(polars.from_pandas(GOOD), folder)
    assert time == "when"
    assert table.column("heat").to_pylist() == [1.0, 2.0, None, 4.0]


@pytest.mark.parametrize(
    ("frame", "asked", "time", "columns"),
    [
        (pd.DataFrame({"heat": [1.0] * 4}, index=TIMES), None, "time", {"time", "heat"}),
        (GOOD.set_index("when"), None, "when", {"when", "sensor", "heat"}),
        (GOOD.set_index(["sensor", "when"]), None, "when", {"when", "sensor", "heat"}),
        (GOOD.assign(when=GOOD.when.astype(str)).set_index("when"), "when", "when", {"when", "sensor", "heat"}),
        (GOOD.rename(columns={"when": "Date"}).assign(Date="2025-01-01"), None, "Date", {"Date", "sensor", "heat"}),
        (GOOD.rename_axis("row"), None, "when", {"when", "sensor", "heat"}),
        (GOOD.drop(columns="when"), None, None, {"sensor", "heat"}),
    ],
    ids=["unnamed index", "index", "two indices", "index of text", "by its name", "other index", "none"],
)
def test_the_column_of_times_is_told(
    frame: pd.DataFrame, asked: str | None, time: str | None, columns: set[str], folder: Callable[[], Path]
) -> None:
    table, found = written(frame, folder, asked)
    assert (found, set(table.column_names)) == (time, columns)


@pytest.mark.parametrize("other", [GOOD.to_dict(), "a.csv", ["a.csv"], None, 3, np.zeros((2, 2))])
def test_what_is_no_frame_is_left_to_others(other: Any, folder: Callable[[], Path]) -> None:
    assert readings_file(other, None, folder) is None


BAD = {
    "no column of times": (GOOD.drop(columns="when"), None, "no column of times among sensor, heat: say which it is, time=…"),
    "another column": (GOOD, "then", "no column 'then'; the columns are when, sensor, heat"),
    "two of times": (GOOD.assign(then=TIMES), None, "'when' and 'then' could be the column of times: say which, time=…"),
    "no rows": (GOOD.iloc[:0], None, "the frame has no rows; at least one reading was expected"),
    "nothing": (pd.DataFrame(), None, "the frame has no rows; at least one reading was expected"),
    "two of one name": (
        pd.concat([GOOD, GOOD[["heat"]]], axis=1),
        None,
        "two columns are called 'heat': rename one",
    ),
    "two of one name, in a table": (
        pa.table([[1], [2], TIMES[:1]], names=["heat", "heat", "time"]),
        None,
        "two columns are called 'heat': rename one",
    ),
    "an index and a column": (
        GOOD.set_index("when", drop=False),
        None,
        "'when' is the name of an index, and of a column or another index: rename one",
    ),
    "names that are numbers": (
        GOOD.rename(columns={"heat": 7}),
        None,
        "a column is called 7; expected names of columns to be text",
    ),
    "names of two levels": (
        pd.concat({"x": GOOD}, axis=1),
        None,
        "a column is called ('x', 'when'); expected names of columns to be text",
    ),
    "several kinds": (GOOD.assign(heat=[1.0, "two", None, b"4"]), None, "column heat .*a column holds values of several kinds"),
    "nanoseconds": (GOOD.assign(when=TIMES + pd.Timedelta(1, "ns")), None, "cannot be written as Parquet: .*would lose data"),
    "no readings": (None, None, "found NoneType, expected a path or several, a pandas or Polars DataFrame"),
    "a number": (3, None, "found int, expected a path or several"),
    "an array": (np.zeros((2, 2)), None, "found ndarray, expected a path or several"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_frame_that_cannot_be_used_is_refused_in_a_line_before_spark_is_started(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Any:
        raise AssertionError("Spark was started for nothing")

    monkeypatch.setattr(api, "_session", never)
    readings, time, said = BAD[case]
    literal = said if ".*" in said else said.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(hc.InputError, match=f"^readings: .*{literal}") as raised:
        hc.prepare(readings, time=time, context=2, horizon=1)
    assert "\n" not in str(raised.value)


def test_other_arguments_that_are_wrong_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(hc.InputError, match=r"^prepare: no table 'gird' of settings; the tables are .*grid"):
        hc.prepare(GOOD, context=2, horizon=1, gird={"step": "1h"})
    monkeypatch.setattr(api, "_session", lambda: None)
    with pytest.raises(hc.InputError, match=r"^prepare: readings: found 3, expected a dict of settings$"):
        hc.prepare(GOOD, context=2, horizon=1, readings=3)
