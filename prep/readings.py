"""Raw readings as one Spark table, with every row that cannot be used named or set aside."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, NumericType, StringType, StructField, StructType
from pyspark.sql.utils import AnalysisException

from prep.errors import InputError
from prep.spec import ReadingsSpec, has_scheme

MISSING = ("", "nan", "na", "n/a", "null", "none")
SUFFIXES = {".csv": "csv", ".gz": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
SAMPLE = 1000
RAGGED = "_ragged"
# How far a file is searched for the line number of a bad row: some seconds' worth.
SEARCHED_LINES = 5_000_000


@dataclass(frozen=True)
class Readings:
    """Readings that can be used, and those that cannot.

    good   series (string), time (long, microseconds since the epoch), position (long: the order in the files),
           values (array of double, one a channel, null where missing)
    bad    reason, file, and every column as it was read
    """

    good: DataFrame
    bad: DataFrame
    channels: tuple[str, ...]


def load(spark: SparkSession, spec: ReadingsSpec) -> Readings:
    """The readings that a spec names. A reading is bad where its time, series or a value cannot be understood or is infinite.

    Text without a time zone is read in the session's. Raises InputError for a missing or empty file, or a missing column.
    """
    source = _open(spark, spec)
    columns = [name for name in source.columns if name not in (RAGGED, "_file", "_position")]
    types = {field.name: field.dataType for field in source.schema}
    for name in (spec.timestamp, *spec.series, *spec.values):
        if name not in columns:
            raise InputError(f"{spec.path}: no column {name!r}; the columns are {', '.join(columns)}")
    if isinstance(types[spec.timestamp], NumericType):
        raise InputError(f"{spec.path}: column {spec.timestamp!r} holds numbers; times such as 2016-07-01 00:00:00 were expected")
    candidates = [name for name in columns if name not in (spec.timestamp, *spec.series)]
    channels = spec.values or _numeric_columns(source, candidates, types)
    if not channels:
        raise InputError(f"{spec.path}: no column of numbers beside {spec.timestamp!r}; name the channels with readings.values")

    values = {name: _value(name, types[name]) for name in channels}
    time = _time(spec.timestamp, types[spec.timestamp])
    series = F.concat_ws("/", *(_quoted(name).cast("string") for name in spec.series)) if spec.series else F.lit(_stem(spec.path))
    reason = _reason(spec, types, time, values)
    good = source.where(reason.isNull()).select(
        series.alias("series"),
        time.alias("time"),
        F.col("_position").alias("position"),
        F.array(*values.values()).alias("values"),
    )
    raw = F.to_json(F.struct(*map(_quoted, columns)))
    bad = source.where(reason.isNotNull()).select(reason.alias("reason"), F.col("_file").alias("file"), raw.alias("row"))
    return Readings(good, bad, tuple(channels))


def explain(bad: DataFrame, spec: ReadingsSpec, count: int) -> InputError:
    """The error for bad readings: the first of them, with its file, row and column."""
    first = bad.first()
    assert first is not None, "there is a bad reading to explain"
    reason, row = first["reason"], json.loads(first["row"])
    file = unquote(first["file"]).removeprefix("file://").removeprefix("file:")
    number = _row_number(Path(file), row)
    if reason == RAGGED:
        problem = "has too few or too many fields for the header"
    else:
        expected = {spec.timestamp: "a time such as 2016-07-01 00:00:00", **dict.fromkeys(spec.series, "the name of a series")}
        problem = f"column {reason!r}: expected {expected.get(reason, 'a finite number')}, found {row.get(reason)!r}"
    others = f" ({count - 1:,} more such rows)" if count > 1 else ""
    return InputError(
        f"{file}{f', row {number}' if number else ''}: {problem}{others}. "
        "Mend it, or set bad rows aside and go on: --readings.bad_rows quarantine"
    )


def _open(spark: SparkSession, spec: ReadingsSpec) -> DataFrame:
    """The files as Spark reads them, with _ragged (boolean), _file and _position beside their own columns."""
    path = Path(spec.path)
    # Spark's own working directory is where its process was started.
    location = spec.path if has_scheme(spec.path) else str(path.absolute())
    if not has_scheme(spec.path):
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; a header and readings were expected")
    kind = spec.format or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InputError(f'{path}: neither .csv nor .parquet; say what it is with readings.format = "csv" or "parquet"')
    try:
        source = _open_csv(spark, location) if kind == "csv" else spark.read.parquet(location).withColumn(RAGGED, F.lit(False))
    except AnalysisException as error:
        raise InputError(f"{path}: cannot be read as {kind}: {str(error).splitlines()[0]}") from None
    return source.withColumn("_file", F.col("_metadata.file_path")).withColumn("_position", F.monotonically_increasing_id())


def _open_csv(spark: SparkSession, path: str) -> DataFrame:
    separator = "\t" if Path(path.removesuffix(".gz")).suffix == ".tsv" else ","
    reader = spark.read.option("header", True).option("sep", separator)
    columns = reader.csv(path).columns
    schema = StructType([StructField(name, StringType()) for name in (*columns, "_corrupt")])
    # Without column pruning, so that every query sees the same rows as ragged.
    options = {"columnNameOfCorruptRecord": "_corrupt", "enforceSchema": False, "columnPruning": False}
    return reader.schema(schema).options(**options).csv(path).withColumn(RAGGED, F.col("_corrupt").isNotNull()).drop("_corrupt")


def _reason(spec: ReadingsSpec, types: dict[str, DataType], time: Column, values: dict[str, Column]) -> Column:
    """The first thing that is wrong with a row: a column's name, RAGGED, or null."""
    reason = F.when(F.col(RAGGED), F.lit(RAGGED)).when(time.isNull(), F.lit(spec.timestamp))
    for name in spec.series:
        reason = reason.when(_quoted(name).isNull(), F.lit(name))
    for name, value in values.items():
        reason = reason.when(~_missing(name, types[name]) & value.isNull(), F.lit(name))
    return reason


def _time(name: str, kind: DataType) -> Column:
    """Microseconds since the epoch; null where the text is no time."""
    if isinstance(kind, StringType):
        return F.unix_micros(F.expr(f"try_cast({_escaped(name)} as timestamp)"))
    return F.unix_micros(_quoted(name).cast("timestamp"))


def _value(name: str, kind: DataType) -> Column:
    """The number as a double; null where it is missing, no number, or infinite."""
    number = F.expr(f"try_cast({_escaped(name)} as double)")
    return F.when(~_missing(name, kind) & (F.abs(number) < float("inf")), number)


def _missing(name: str, kind: DataType) -> Column:
    column = _quoted(name)
    if isinstance(kind, StringType):
        return column.isNull() | F.lower(F.trim(column)).isin(*MISSING)
    return column.isNull() | F.isnan(column.cast("double"))


def _numeric_columns(source: DataFrame, candidates: list[str], types: dict[str, DataType]) -> tuple[str, ...]:
    """The columns of numbers: by type, or for text by what most of a sample is."""
    texts = [name for name in candidates if isinstance(types[name], StringType)]
    numbers = {name for name in candidates if isinstance(types[name], NumericType)}
    if texts:
        present = [F.count(F.when(~_missing(name, types[name]), True)) for name in texts]
        numeric = [F.count(_value(name, types[name])) for name in texts]
        counts = source.limit(SAMPLE).agg(F.array(*present).alias("present"), F.array(*numeric).alias("numeric")).first()
        assert counts is not None
        numbers |= {name for name, p, n in zip(texts, counts["present"], counts["numeric"], strict=True) if n and 2 * n > p}
    return tuple(name for name in candidates if name in numbers)


def _row_number(file: Path, row: dict[str, str]) -> int | None:
    """The line on which a CSV row ends, the header's being 1; None where the file is not within reach or too long to search."""
    if not file.is_file() or not {".csv", ".tsv"} & set(file.suffixes):
        return None
    with _open_text(file) as lines:
        records = csv.reader(lines, delimiter="\t" if ".tsv" in file.suffixes else ",")
        header = next(records)
        for record in islice(records, SEARCHED_LINES):
            # Spark gives no value for an empty field, nor for one that is not there.
            if {name: text for name, text in zip(header, record, strict=False) if text} == row:
                return records.line_num
    return None


def _open_text(file: Path) -> IO[str]:
    how: dict[str, Any] = {"mode": "rt", "newline": "", "encoding": "utf-8", "errors": "replace"}
    return gzip.open(file, **how) if file.suffix == ".gz" else file.open(**how)


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0]


def _escaped(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _quoted(name: str) -> Column:
    return F.col(_escaped(name))
