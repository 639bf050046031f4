"""Readings in memory (pandas, Polars, Arrow) as a file that Spark reads; and which column of readings holds times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# What columns of times are called where they are of text or numbers.
TIME_NAMES = ("time", "timestamp", "datetime", "date")


@dataclass(frozen=True)
class ReadingsFile:
    """`path`: a Parquet file. `columns`: of it. `time`: the one of times, where it was asked for or can be told."""

    path: Path
    columns: tuple[str, ...]
    time: str | None


def is_spark_frame(readings: Any) -> bool:
    """Without importing Spark where nobody else did."""
    module = type(readings).__module__
    return module.startswith("pyspark.sql.") and hasattr(readings, "sparkSession")


def readings_file(readings: Any, time: str | None, new_folder: Callable[[], Path]) -> ReadingsFile | None:
    """Readings in memory as a file in a `new_folder()`; None for what is not in memory. A pandas index with times is columns too.

    Raises InputError for a frame without rows, with two columns of one name, with one whose name is no text, with a column of
    values of several kinds, and without the column `time`.
    """
    table = _arrow(readings, time)
    if table is None:
        return None
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise InputError(f"readings: two columns are called {twice[0]!r}: rename one")
    if not table.num_rows:
        raise InputError("readings: the frame has no rows; at least one reading was expected")
    if time is None:
        time = _told(table.column_names, [field.name for field in table.schema if pa.types.is_temporal(field.type)])
    elif time not in table.column_names:
        raise InputError(f"readings: no column {time!r}; the columns are {', '.join(table.column_names)}")
    path = new_folder() / "readings.parquet"
    try:
        pq.write_table(table, path, coerce_timestamps="us")
    except pa.ArrowException as error:
        raise InputError(f"readings: cannot be written as Parquet: {str(error).splitlines()[0]}") from None
    return ReadingsFile(path, tuple(table.column_names), time)


def time_column(spark: SparkSession, frame: DataFrame | None, paths: Sequence[str], readings: Mapping[str, Any]) -> str:
    """The only column of times of a Spark DataFrame, or of the files or the table that the table [readings] names.

    Raises InputError where none is, or several are.
    """
    from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

    from hindcast.prep.readings.sources import open_source
    from hindcast.prep.spec import ReadingsSpec, validate

    if "timestamp" in readings:
        return str(readings["timestamp"])
    spec = validate(ReadingsSpec, {**readings, "path": tuple(paths), "timestamp": TIME_NAMES[0]}, where="prepare")
    types = open_source(spark, spec, frame, "readings").types
    times = [name for name, kind in types.items() if isinstance(kind, TimestampType | TimestampNTZType | DateType)]
    column = _told(types, times)
    if column is None:
        raise untold(types)
    return column


def untold(columns: Iterable[str]) -> InputError:
    """For readings of which nobody said which column holds times, and none looks like it."""
    return InputError(f"readings: no column of times among {', '.join(columns)}: say which it is, time=…")


def _told(columns: Iterable[str], times: Sequence[str]) -> str | None:
    """The only column that holds times, or else the only one that is called so. Raises InputError where there are several."""
    for candidates in (times, [name for name in columns if name.lower() in TIME_NAMES]):
        if len(candidates) > 1:
            raise InputError(f"readings: {' and '.join(map(repr, candidates))} could be the column of times: say which, time=…")
        if candidates:
            return candidates[0]
    return None


def _arrow(readings: Any, time: str | None) -> pa.Table | None:
    if isinstance(readings, pa.Table):
        return readings
    # Whoever has such a frame has imported its library.
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if polars is not None and isinstance(readings, polars.DataFrame):
        return readings.to_arrow()
    if pandas is None or not isinstance(readings, pandas.DataFrame):
        return None
    levels = [readings.index.get_level_values(level) for level in range(readings.index.nlevels)]
    dated = [isinstance(level, pandas.DatetimeIndex) for level in levels]
    if any(dated) or (time is not None and time in readings.index.names):
        names = ["time" if of_times and level.name is None else level.name for level, of_times in zip(levels, dated, strict=True)]
        taken = [name for name in names if name in readings.columns or names.count(name) > 1]
        if taken:
            raise InputError(f"readings: {taken[0]!r} is the name of an index, and of a column or another index: rename one")
        readings = readings.rename_axis(names).reset_index()
    strangers = [name for name in readings.columns if not isinstance(name, str)]
    if strangers:
        raise InputError(f"readings: a column is called {strangers[0]!r}; expected names of columns to be text")
    twice = readings.columns[readings.columns.duplicated()]
    if len(twice):
        raise InputError(f"readings: two columns are called {twice[0]!r}: rename one")
    try:
        return pa.Table.from_pandas(readings, preserve_index=False)
    except pa.ArrowException as error:
        raise InputError(f"readings: {'; '.join(map(str, error.args))}: a column holds values of several kinds") from None
