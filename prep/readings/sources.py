"""Files, tables and DataFrames, opened in one way: every row with the file that it is from, and the rows that are none."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StringType, StructField, StructType

from hindcast.prep.errors import InputError
from hindcast.prep.spec import has_scheme

Format = Literal["csv", "json", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
# Columns beside the source's own; LINE is the text of a row that is none, and null for all others.
LINE, FILE, POSITION = "_hindcast_line", "_hindcast_file", "_hindcast_position"
ROWS_A_PARTITION = 2**33  # so says monotonically_increasing_id
MOST_BLOCKS = 2**29


class Where(Protocol):
    """What a SourceSpec and an AttributesSpec have in common."""

    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def table(self) -> str | None: ...
    @property
    def format(self) -> Format | None: ...


@dataclass(frozen=True)
class Source:
    """A table that was opened: its own columns, LINE (string) and FILE (string, a URI or what errors call the table).

    `files` are the URIs and sizes in bytes of its files in the order of their names; none for a table or a DataFrame.
    """

    name: str
    frame: DataFrame
    files: tuple[tuple[str, int], ...] = ()

    @property
    def types(self) -> dict[str, DataType]:
        """The source's own columns, in its order."""
        return {field.name: field.dataType for field in self.frame.schema if field.name not in (LINE, FILE)}

    def must_have(self, *columns: str) -> None:
        """Raises InputError for columns that are not there."""
        lacking = [name for name in dict.fromkeys(columns) if name not in self.types]
        if lacking:
            lone = next(iter(self.types)) if len(self.types) == 1 else ""
            hint = "; fields are separated by commas, or by tabs in a .tsv" if re.search("[;\t|]", lone) else ""
            which = f"column{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}"
            raise InputError(f"{self.name}: no {which}; the columns are {', '.join(self.types)}{hint}")


def open_source(spark: SparkSession, where: Where, frame: DataFrame | None, what: str) -> Source:
    """The files, the table or the DataFrame that `where` and `frame` say; `what` is the table of the settings, for errors.

    CSV has a header, UTF-8, doubled quotes for a quote, and a line for each row: a quoted text with a line break in it is not
    supported, and its second half is a row that cannot be used. JSON has an object a line. Blank lines are no rows. The columns
    of CSV are strings; those of JSON have the type that all their values fit.

    Raises InputError for what is missing, empty, unreadable, of several formats, or CSV files whose headers differ.
    """
    if frame is not None:
        if where.path or where.table:
            raise InputError(f"{what}: a DataFrame was given, and a path or a table too; one of them was expected")
        return _of_frame(frame, "the DataFrame")
    if where.table:
        try:
            return _of_frame(spark.table(where.table), where.table)
        except PySparkException as error:
            raise InputError(f"{where.table}: Spark knows no such table: {_first_line(error)}") from None
    if not where.path:
        raise InputError(f"{what}: neither {what}.path nor {what}.table says where they are, and no DataFrame was given")
    name = ", ".join(where.path)
    locations = [_location(path) for path in where.path]
    files = _files(spark, locations, name, what)
    kind = where.format or _format(files, what)
    # A directory of directories is read whole; one named column=value holds that column, which Spark finds in the names.
    whole = not any("=" in Path(file).parent.name for file, _ in files)
    reader = {"csv": _csv, "json": _json, "parquet": _parquet}[kind]
    try:
        frame = reader(spark, locations, [file for file, _ in files], {"recursiveFileLookup": whole})
        frame = frame.withColumn(FILE, F.col("_metadata.file_path"))
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(f"{name}: cannot be read as {kind}: {_first_line(error)}{_remedy(error)}") from None
    return Source(name, frame, files)


@contextmanager
def seen_by_all(name: str) -> Iterator[None]:
    """For the first job that reads files, which this process has found. Raises InputError where an executor finds one of them
    not."""
    try:
        yield
    except Py4JJavaError as error:
        if "FileNotFoundException" not in str(error.java_exception):
            raise
        raise InputError(
            f"{name}: cannot be read: {_first_line(error)}. On a cluster it must be where all machines see it, and it must stay "
            "there while it is read"
        ) from None


def with_position(source: Source, frame: DataFrame) -> DataFrame:
    """`frame`, rows of the source in the order in which they are read, with POSITION (long).

    It orders them by file name, and then by their place in the file; those of a table or DataFrame, as Spark has them. Spark
    cuts large files into blocks and packs blocks of several files into a partition, so the order of its partitions is none.
    """
    row = F.monotonically_increasing_id()
    if not source.files:
        return frame.withColumn(POSITION, row)
    conf = frame.sparkSession.conf
    # Blocks begin at multiples of a length that Spark chooses, which is never less than both of these.
    least = min(_bytes(conf.get("spark.sql.files.maxPartitionBytes")), _bytes(conf.get("spark.sql.files.openCostInBytes")))
    length = max(least, sum(size for _, size in source.files) // MOST_BLOCKS, 1)
    block = F.expr(f"_metadata.file_block_start div {length}")
    frame = frame.withColumn(POSITION, block * F.lit(ROWS_A_PARTITION) + row.bitwiseAND(F.lit(ROWS_A_PARTITION - 1)))
    if len(source.files) == 1:
        return frame
    first, before = [], 0
    for file, size in source.files:
        first.append((file, before * ROWS_A_PARTITION))
        before += size // length + 1
    ranks = frame.sparkSession.createDataFrame(first, f"{FILE} string, _hindcast_first long")
    joined = frame.join(F.broadcast(ranks), FILE, "left")
    return joined.withColumn(POSITION, F.col(POSITION) + F.col("_hindcast_first")).drop("_hindcast_first")


def quoted(name: str) -> Column:
    """The column of exactly this name, dots and all."""
    return F.col(escaped(name))


def escaped(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def shown(file: str) -> str:
    """A file's URI as a user would write it."""
    return unquote(file).removeprefix("file://").removeprefix("file:")


def separator(file: str) -> str:
    return "\t" if ".tsv" in Path(file).suffixes[-2:] else ","


def _of_frame(frame: DataFrame, name: str) -> Source:
    twice = _twice(frame.columns)
    if twice:
        raise InputError(f"{name}: two columns are named {twice!r}; one of them was expected")
    return Source(name, frame.withColumn(LINE, F.lit(None).cast("string")).withColumn(FILE, F.lit(name)))


def _location(path: str) -> str:
    """The path as Spark wants it, whose own working directory is where its process was started."""
    if has_scheme(path):
        return path
    absolute = Path(path).absolute()
    there = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
    pattern = str(absolute)[len(str(there)) :]
    if pattern and not re.search(r"[\[{*?]", pattern):
        raise InputError(f"{path}: no such file")
    # What is there by this very name is no pattern, whatever it is called.
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", str(there)) + pattern


def _files(spark: SparkSession, locations: list[str], name: str, what: str) -> tuple[tuple[str, int], ...]:
    """URIs and sizes in bytes of all files at the locations, in the order of their names; hidden ones are left out."""
    try:
        # What Spark has listed when it opens them; to have it told as rows would be a job.
        listed = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(locations)
        java: Any = listed._jdf.queryExecution().analyzed().relation().location().allFiles()
        every = [java.apply(number) for number in range(java.size())]
        # Written as in `_metadata.file_path`.
        sizes = {re.sub("^file:/+", "file:/", file.getPath().toUri().toString()): file.getLen() for file in every}
    except (PySparkException, Py4JJavaError) as error:
        missing = "PATH_NOT_FOUND" in str(error)
        raise InputError(f"{name}: {'no file is so named' if missing else 'cannot be read'}: {_first_line(error)}") from None
    # Spark lists an empty file, but does not read it.
    empty = sorted(shown(file) for file, size in sizes.items() if not size)
    if empty:
        raise InputError(f"{empty[0]}: the file is empty; a header and rows were expected. Mend it, or leave it out")
    if not sizes:
        raise InputError(f"{name}: a directory without files; {what} were expected")
    return tuple(sorted(sizes.items()))


def _format(files: tuple[tuple[str, int], ...], what: str) -> Format:
    kinds = {file: FORMATS.get(Path(file.removesuffix(".gz")).suffix.lower()) for file, _ in files}
    for file, kind in kinds.items():
        if kind is None:
            raise InputError(
                f"{shown(file)}: neither .csv, .json nor .parquet; say what it is with {what}.format, or leave it out with a "
                "pattern such as folder/*.csv"
            )
    several = {(kind, separator(file.removesuffix(".gz")) if kind == "csv" else ""): file for file, kind in kinds.items()}
    if len(several) > 1:
        first, second, *_ = several.values()
        raise InputError(f"{shown(first)} and {shown(second)} are of different formats; one for all files was expected")
    return next(kind for kind in kinds.values() if kind)


def _csv(spark: SparkSession, locations: list[str], files: list[str], options: dict[str, Any]) -> DataFrame:
    delimiter = separator(files[0].removesuffix(".gz"))
    header = _same_headers(spark, files, delimiter)
    reader = spark.read.options(header=True, sep=delimiter, escape='"', **options)
    # Columns that the directories' names hold are found by a look at the files.
    names = _named_by(spark, reader, header) if options["recursiveFileLookup"] else reader.csv(locations).columns
    schema = StructType([StructField(name, StringType()) for name in (*names, LINE)])
    # Without column pruning, so that every query sees the same rows as ragged.
    return reader.schema(schema).options(columnNameOfCorruptRecord=LINE, columnPruning=False).csv(locations)


def _json(spark: SparkSession, locations: list[str], files: list[str], options: dict[str, Any]) -> DataFrame:
    reader = spark.read.options(columnNameOfCorruptRecord=LINE, **options)
    schema = reader.json(locations).schema
    if schema.names == [LINE]:
        raise InputError(f"{shown(files[0])}: no line of it is a JSON object; one object a line was expected")
    return reader.schema(schema if LINE in schema.names else schema.add(LINE, "string")).json(locations)


def _parquet(spark: SparkSession, locations: list[str], files: list[str], options: dict[str, Any]) -> DataFrame:
    # Of files that differ, Spark would else take one at random for the columns of all.
    frame = spark.read.options(mergeSchema=len(files) > 1, **options).parquet(*locations)
    return frame.withColumn(LINE, F.lit(None).cast("string"))


def _named_by(spark: SparkSession, reader: DataFrameReader, header: str) -> list[str]:
    """The names that Spark gives columns by this header, which is at hand: Spark would have a task read it."""
    java: Any = spark._jvm
    lines = java.java.util.ArrayList()
    lines.add(header)
    table = spark._jsparkSession.createDataset(lines, java.org.apache.spark.sql.Encoders.STRING())
    return list(reader._jreader.csv(table).columns())  # pyspark itself takes no table of Java's


def _same_headers(spark: SparkSession, files: list[str], delimiter: str) -> str:
    """The header of all files, as the first has it: Spark gives the columns of all CSV files the names of one."""
    line = _header(spark, files[0])
    first = _fields(line, delimiter)
    twice = _twice([name for name in first if name])
    if twice:
        raise InputError(f"{shown(files[0])}: two columns are named {twice!r} in its header; one of them was expected")
    for file in files[1:]:
        header = _fields(_header(spark, file), delimiter)
        if header == first:
            continue
        lacking, beyond = sorted({*first} - {*header}), sorted({*header} - {*first})
        differences = [
            f"without {', '.join(map(repr, lacking))}" if lacking else "",
            f"with {', '.join(map(repr, beyond))} beyond them" if beyond else "",
        ]
        how = " and ".join(filter(None, differences)) or f"in another order: {', '.join(header)}"
        raise InputError(
            f"{shown(file)}: its header has not the columns of {shown(files[0])} ({', '.join(first)}), but is {how}. Files that "
            "are read together need the same header; mend it, or leave the file out"
        )
    return line


def _header(spark: SparkSession, file: str) -> str:
    """The first line that is not blank, wherever the file is."""
    java: Any = spark._jvm
    path = java.org.apache.hadoop.fs.Path(java.java.net.URI(file))
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    stream = path.getFileSystem(conf).open(path)
    try:
        codec = java.org.apache.hadoop.io.compress.CompressionCodecFactory(conf).getCodec(path)
        plain = stream if codec is None else codec.createInputStream(stream)
        lines = java.java.io.BufferedReader(java.java.io.InputStreamReader(plain, "UTF-8"))
        line = lines.readLine()
        while line is not None and not line.strip("\ufeff \t"):
            line = lines.readLine()
    finally:
        stream.close()
    return str(line or "").removeprefix("\ufeff")


def _fields(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def _twice(names: list[str]) -> str | None:
    """A name that Spark, to which capitals are small letters, could not tell from another."""
    counts = Counter(name.lower() for name in names)
    return next((name for name in names if counts[name.lower()] > 1), None)


def _bytes(text: str) -> int:
    """Bytes in a setting of Spark's such as 134217728b, 128MB or 4m."""
    match = re.fullmatch(r"(\d+)\s*([kmgtp]?)i?b?", text.strip().lower())
    return int(match[1]) * 1024 ** " kmgtp".index(match[2] or " ") if match else 1


def _first_line(error: Exception) -> str:
    text = str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
    return text.strip().splitlines()[0]


def _remedy(error: Exception) -> str:
    if "NANOS" in str(error):
        return (
            ". Spark reads no nanoseconds: write the file with microseconds (pandas: to_parquet(..., coerce_timestamps='us', "
            "allow_truncated_timestamps=True))"
        )
    return ""
