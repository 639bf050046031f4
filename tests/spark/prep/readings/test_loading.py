"""Readings in every form and format: what can be used, what cannot, and that each row is one or the other, exactly once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from hindcast.prep.errors import InputError
from hindcast.prep.readings.bad_rows import RAGGED
from hindcast.prep.readings.loading import Channel, Readings, explain, load
from hindcast.prep.readings.sources import seen_by_all
from hindcast.prep.spec import ReadingsSpec
from tests.compiling import compiled

# time, sensor, a, b, site: what every format is to give again
ROWS: list[tuple[str, str, float | None, float, str]] = [
    ("2025-03-01 00:00:00", "x", 1.5, 0.0, "1.0"),
    ("2025-03-01 01:00:00", "x", None, 1.0, "true"),
    ("2025-03-01 00:00:00", "y, z", -3e5, 2.0, "n/a"),
]
NAMES = ("time", "sensor", "a", "b", "site")
MIDNIGHT = 1_740_787_200_000_000


def read(spark: SparkSession, path: Any, **fields: Any) -> Readings:
    spec = {"path": [str(p) for p in path] if isinstance(path, list) else str(path), "timestamp": "time"} | fields
    return load(spark, ReadingsSpec.model_validate(spec), ordered=True)


def written(folder: Path, name: str, rows: list[tuple[Any, ...]], names: tuple[str, ...] = NAMES) -> Path:
    """A file of rows, in the format that its name says."""
    file = folder / name
    plain = name.removesuffix(".gz")
    if plain.endswith((".parquet", ".pq")):
        pq.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)}), file)
        return file
    if plain.endswith((".csv", ".tsv")):
        separator = "," if plain.endswith(".csv") else "\t"
        quote = '"{}"'.format if separator == "," else str
        cells = [[quote(cell) if separator in str(cell) else "" if cell is None else str(cell) for cell in row] for row in rows]
        text = "".join(separator.join(line) + "\n" for line in [list(names), *cells])
    else:
        text = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@contextmanager
def settings(spark: SparkSession, values: dict[str, str]) -> Iterator[None]:
    before = {key: spark.conf.get(key) for key in values}
    try:
        for key, value in values.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)


def content(readings: Readings) -> list[tuple[Any, ...]]:
    """The readings in the order of their places."""
    return [tuple(row) for row in readings.checked.sort("position").drop("position").collect()]


FILES = ["r.csv", "r.csv.gz", "r.tsv", "r.json", "r.jsonl.gz", "r.ndjson", "r.parquet", "r.pq"]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_readings(spark: SparkSession, tmp_path: Path, name: str) -> None:
    readings = read(spark, written(tmp_path, name, ROWS), series="sensor", labels="site")
    assert readings.channels == (Channel("a", "real"), Channel("b", "real"))
    assert content(readings) == [
        ("x", MIDNIGHT, 1.5, 0.0, "1.0", None),
        ("x", MIDNIGHT + 3_600_000_000, None, 1.0, "true", None),
        ("y, z", MIDNIGHT, -3e5, 2.0, "n/a", None),
    ]


def test_files_directories_patterns_and_lists_of_them_are_one_source(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "all of it [ü]%20.csv"
    (folder / "2025").mkdir(parents=True)
    for number, name in enumerate(["a.csv", "b c.csv", "2025/d.csv"]):
        written(folder, name, [ROWS[number]])
    (folder / "_SUCCESS").touch()
    (folder / ".b.crc").write_bytes(b"?")
    both = [
        content(read(spark, p, series="sensor", values="b")) for p in ([folder / "a.csv", folder / "b c.csv"], folder / "*.csv")
    ]
    assert [row[2] for row in both[0]] == [0, 1]
    assert both[0] == content(read(spark, [f"file://{tmp_path}/all*/a.csv", folder / "b*"], series="sensor", values="b"))
    whole = content(read(spark, folder, series="sensor", values="b"))
    assert [row[2] for row in whole] == [2, 0, 1]
    assert both[1] == both[0]


def test_a_directory_named_column_is_value_holds_that_column(spark: SparkSession, tmp_path: Path) -> None:
    for sensor in ("01", "1"):
        (tmp_path / f"sensor={sensor}").mkdir()
        written(tmp_path, f"sensor={sensor}/r.csv", [("2025-03-01", 1)], ("time", "a"))
    readings = read(spark, tmp_path, series="sensor")
    assert sorted(row[0] for row in content(readings)) == ["01", "1"]
    assert readings.channels == (Channel("a", "real"),)


def test_tables_and_frames(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame(ROWS, "time string, sensor string, a double, b float, site string")
    expected = content(read(spark, written(tmp_path, "r.csv", ROWS), series="sensor", labels="site"))
    spec = {"timestamp": "time", "series": "sensor", "labels": "site"}
    assert content(load(spark, ReadingsSpec.model_validate(spec), frame=frame, ordered=True)) == expected
    frame.createOrReplaceTempView("some_readings")
    readings = load(spark, ReadingsSpec.model_validate({"table": "some_readings", **spec}), ordered=True)
    assert content(readings) == expected
    assert readings.bad.count() == 0


SOURCES: dict[str, tuple[dict[str, str | bytes], dict[str, Any], str]] = {
    "no file": ({}, {"path": "no.csv"}, r"no\.csv: no such file"),
    "no match": ({}, {"path": "no*.csv"}, r"no\*\.csv: no file is so named"),
    "nothing in it": ({"d/_SUCCESS": ""}, {"path": "d"}, "d: a directory without files"),
    "empty": ({"d/a.csv": "time,a\n", "d/b.csv": ""}, {"path": "d"}, r"d/b\.csv: the file is empty"),
    "unknown": ({"d/a.csv": "time,a\n", "d/README.md": "#"}, {"path": "d"}, r"README\.md: neither \.csv.*readings\.format"),
    "mixed": ({"d/a.csv": "time,a\n", "d/b.json": "{}"}, {"path": "d"}, r"a\.csv and .*b\.json are of different formats"),
    "separators": ({"d/a.csv": "time,a\n", "d/b.tsv": "time\ta\n"}, {"path": "d"}, "are of different formats"),
    "column lacks": (
        {"d/a.csv": "time,a,b\n", "d/b.csv": "\n\ufefftime,a,c\n"},
        {"path": "d"},
        r"d/b\.csv: its header has not the columns of .*d/a\.csv \(time, a, b\), but is without 'b' and with 'c' beyond them",
    ),
    "column order": (
        {"d/a.csv": "time,a,b\n", "d/b.csv.gz": gzip.compress(b"time,b,a\n")},
        {"path": "d"},
        r"d/b\.csv\.gz: .* in another order: time, b, a",
    ),
    "twice": ({"r.csv": "time,a,A\n"}, {"path": "r.csv"}, "two columns are named 'a' in its header"),
    "semicolons": ({"r.csv": "time;a\n"}, {"path": "r.csv"}, "no column 'time'; the columns are time;a; fields are separated by"),
    "column": ({"r.csv": "time,a\n"}, {"path": "r.csv", "labels": "b"}, r"r\.csv: no column 'b'; the columns are time, a"),
    "no numbers": ({"r.csv": "time,a\n2025,x\n"}, {"path": "r.csv"}, "no column of numbers beside 'time'"),
    "no json": ({"r.json": "[\n{\n"}, {"path": "r.json"}, "no line of it is a JSON object"),
    "no parquet": ({"r.parquet": "PAR?"}, {"path": "r.parquet"}, r"r\.parquet: cannot be read as parquet"),
    "no table": ({}, {"table": "nowhere"}, "nowhere: Spark knows no such table"),
    "nothing": ({}, {}, r"neither readings\.path nor readings\.table"),
    "objects": ({"r.json": '{"time":"2025","a":{"x":1}}'}, {"path": "r.json", "values": "a"}, "'a' is of type struct<x:bigint>"),
}


@pytest.mark.parametrize("fault", sorted(SOURCES))
def test_sources_that_cannot_be_read_are_explained(spark: SparkSession, tmp_path: Path, fault: str) -> None:
    files, fields, message = SOURCES[fault]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    if "path" in fields:
        fields = fields | {"path": str(tmp_path / fields["path"])}
    with pytest.raises(InputError, match=message):
        load(spark, ReadingsSpec.model_validate({"timestamp": "time", **fields}))


def test_nanoseconds_are_explained(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": pa.array([0], pa.timestamp("ns")), "a": [1.0]}), tmp_path / "r.parquet")
    with pytest.raises(InputError, match=r"r\.parquet: cannot be read as parquet: .*NANOS.*write the file with microseconds"):
        read(spark, tmp_path / "r.parquet")


CSV = (
    "\ufefftime,sensor,a,n,word,label\r\n"
    "2025-03-01 00:00:00,x,1.5,2,on,one\r\n"
    "\r\n"
    "2025-03-01 01:00:00,x,oops,2,on,one\r\n"  # 4
    "2025-03-01 02:00:00,x,1.5\r\n"  # 5: too few fields
    "2025-03-01 03:00:00,x,1.5,2,on,one,more\r\n"  # 6
    "when?,x,1.5,2,on,one\r\n"
    "2025-03-01 04:00:00,,1.5,2,on,one\r\n"
    "2025-03-01 05:00:00,x,inf,2,on,one\r\n"
    "2025-03-01 06:00:00,x,1e400,2,on,one\r\n"
    "2025-03-01 07:00:00,x,5d,2,on,one\r\n"
    "2025-03-01 08:00:00,x,1.5,2.5,on,one\r\n"
    "2025-03-01 09:00:00,x,1.5,-1,on,one\r\n"
    "2025-03-01 10:00:00,x,NaN,n/a, NULL ,\r\n"
    '2025-03-01 11:00:00,x,1.5,2, on ,"say ""1,5"""\r\n'
    '2025-03-01 12:00:00,x,1.5,2,on,"two\r\n'  # 16: a quoted text with a line break in it
    'lines"\r\n'
    ",,,,,\r\n"
)


@pytest.fixture(scope="module")
def faulty(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Readings:
    file = tmp_path_factory.mktemp("faulty") / "r.csv"
    file.write_bytes(CSV.encode())
    return read(spark, file, series="sensor", counts="n", categories="word", labels="label")


def test_each_row_is_good_or_bad_exactly_once(faulty: Readings) -> None:
    assert faulty.channels == (Channel("a", "real"), Channel("n", "count"), Channel("word", "category"))
    hour = 3_600_000_000
    good = [
        ("x", MIDNIGHT, 1.5, 2.0, "on", "one"),
        ("x", MIDNIGHT + 10 * hour, None, None, None, None),
        ("x", MIDNIGHT + 11 * hour, 1.5, 2.0, "on", 'say "1,5"'),
        ("x", MIDNIGHT + 12 * hour, 1.5, 2.0, "on", "two"),
    ]
    checked = content(faulty)
    assert [row[:-1] for row in checked if row[-1] is None] == good
    assert [tuple(row) for row in faulty.good.sort("position").drop("position").collect()] == good
    reasons = ["a", RAGGED, RAGGED, "time", "sensor", "a", "a", "a", "n", "n", RAGGED, "time"]
    assert [row[-1] for row in checked if row[-1]] == reasons
    assert len(checked) == CSV.count("\n") - 2  # the header and the blank line
    assert sorted(row["reason"] for row in faulty.bad.collect()) == sorted(reasons)
    # Which columns a query asks for changes nothing about which rows are bad.
    assert (faulty.good.count(), faulty.bad.count()) == (len(good), len(reasons))


EXPLAINED = {
    "a": r"r\.csv, row 4: column 'a': expected a finite number, found 'oops' \(2 more such rows\)",
    RAGGED: r"r\.csv, row 5: has too few or too many fields for the header: '2025-03-01 02:00:00,x,1\.5'",
    "time": r"r\.csv, row 7: column 'time': expected a time such as 2016-07-01 00:00:00, found 'when\?'",
    "sensor": r"r\.csv, row 8: column 'sensor': expected the name of a series, found None",
    "n": r"r\.csv, row 12: column 'n': expected a count, whole and not negative, found '2\.5'",
}


@pytest.mark.parametrize("reason", sorted(EXPLAINED))
def test_bad_rows_are_explained(faulty: Readings, reason: str) -> None:
    bad = faulty.bad.where(F.col("reason") == reason)
    spec = ReadingsSpec(timestamp="time", series=("sensor",), counts=("n",))
    with pytest.raises(InputError, match=EXPLAINED[reason]):
        raise explain(bad, spec, 3)


def test_json_lines_that_are_none_are_bad_and_keep_their_text(spark: SparkSession, tmp_path: Path) -> None:
    lines = ['{"time": "2025-03-01", "a": 1, "n": NaN}', "", "{bad", '{"a": 2}', "5", '{"time": "2025-03-02", "a": null, "n": 3}']
    (tmp_path / "r.json").write_text("\n".join(lines))
    readings = read(spark, tmp_path / "r.json")
    day = 86_400_000_000
    assert content(readings) == [
        ("r", MIDNIGHT, 1, None, None),
        ("r", None, None, None, RAGGED),
        ("r", None, 2, None, "time"),
        ("r", None, None, None, RAGGED),
        ("r", MIDNIGHT + day, None, 3, None),
    ]
    assert any("{bad" in row["row"] for row in readings.bad.collect())
    assert (readings.good.count(), readings.bad.count()) == (2, 3)
    spec = ReadingsSpec(timestamp="time")
    for reason, message in ((RAGGED, r"row 3: is not a JSON object: '\{bad'"), ("time", "row 4: column 'time': .* found None")):
        with pytest.raises(InputError, match=message):
            raise explain(readings.bad.where(F.col("reason") == reason), spec, 1)


def test_a_channel_that_begins_late_is_a_channel(spark: SparkSession, tmp_path: Path) -> None:
    late = [(f"2025-03-01 00:00:{i % 60:02}", i, None, "-", None) for i in range(1500)] + [("2025-03-02", 1, 7, "-", None)]
    readings = read(spark, written(tmp_path, "r.csv", late, ("time", "a", "late", "note", "never")))
    assert [channel.name for channel in readings.channels] == ["a", "late"]


def test_typed_columns(spark: SparkSession) -> None:
    rows = [
        ("2025-03-01", 1.5, 3, "1.25", True, 1.0, 7),
        ("2025-03-02", float("nan"), None, None, None, None, None),
        ("2025-03-03", float("inf"), 3, "1", False, 2.0, 8),
        ("2025-03-04", 1.0, -3, "1", False, float("nan"), 9),
        ("2025-03-05", 1.0, 3, "-1", False, float("nan"), -9),
    ]
    frame = spark.createDataFrame(rows, "time string, d double, n int, t string, b boolean, c double, l long")
    frame = frame.selectExpr("to_date(time) as time", "d", "n", "cast(t as decimal(9, 3)) as m", "b", "c", "l")
    spec = ReadingsSpec.model_validate(
        {"timestamp": "time", "values": ["d", "n", "m", "b", "c", "l"], "counts": "m", "categories": ["b", "c"], "labels": []}
    )
    readings = load(spark, spec, frame=frame, attributes=("l", "b"), ordered=True)
    assert [channel.kind for channel in readings.channels] == ["real", "real", "count", "category", "category", "real"]
    values = [tuple(row)[2:] for row in readings.checked.sort("position").drop("position").collect()]
    assert values == [
        (1.5, 3, None, "true", "1.0", 7, "7", "true", "m"),
        (None, None, None, None, None, None, None, None, None),
        (None, 3, 1, "false", "2.0", 8, "8", "false", "d"),
        (1, -3, 1, "false", None, 9, "9", "false", None),
        (1, 3, None, "false", None, -9, "-9", "false", "m"),
    ]


def test_a_word_of_the_vocabulary_is_not_missing(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2025", " None "), ("2025", "NA"), ("2025", "low")], "time string, a string")
    for vocabulary, expected in ((None, [None, None, "low"]), (("None", "low"), ["None", None, "low"])):
        spec = ReadingsSpec.model_validate({"timestamp": "time", "categories": {"a": vocabulary}})
        readings = load(spark, spec, frame=frame, ordered=True)
        assert [row["value_0"] for row in readings.checked.sort("position").collect()] == expected


def test_series_of_several_columns_are_told_apart(spark: SparkSession) -> None:
    rows = [("2025", "a/b", "c", 1), ("2025", "a", "b/c", 1), ("2025", "a", "b", 1), ("2025", "a", "b", 2), ("2025", " ", "b", 2)]
    frame = spark.createDataFrame(rows, "time string, site string, series string, v int")
    readings = load(spark, ReadingsSpec(timestamp="time", series=("site", "series")), frame=frame)
    assert sorted(row["series"] for row in readings.good.collect()) == ["a/b", "a/b", "a/b\\/c", "a\\/b/c"]
    keys = sorted(tuple(row) for row in readings.keys.collect())
    assert keys == [("a/b", "a", "b"), ("a/b\\/c", "a", "b/c"), ("a\\/b/c", "a/b", "c")]
    assert [row["reason"] for row in readings.bad.collect()] == ["site"]


def test_wide_form_has_a_series_for_each_column(spark: SparkSession, tmp_path: Path) -> None:
    text = "time,x,y.1,z\n2025-03-01,1,,x\n2025-03-02,2,3,4\nwhen?,1,1,1\n2025-03-03,1,2\n2025-03-04,inf,2,?\n"
    (tmp_path / "w.csv").write_text(text)
    readings = read(spark, tmp_path / "w.csv", form="wide", channel="load")
    assert readings.channels == (Channel("load", "real"),)
    day = 86_400_000_000
    expected = [
        ("x", MIDNIGHT, 1, None),
        ("y.1", MIDNIGHT, None, None),
        ("z", MIDNIGHT, None, "z"),
        ("x", MIDNIGHT + day, 2, None),
        ("y.1", MIDNIGHT + day, 3, None),
        ("z", MIDNIGHT + day, 4, None),
        (None, None, None, "time"),
        (None, MIDNIGHT + 2 * day, None, RAGGED),
        ("x", MIDNIGHT + 3 * day, None, "x"),
        ("y.1", MIDNIGHT + 3 * day, 2, None),
        ("z", MIDNIGHT + 3 * day, None, "z"),
    ]
    assert content(readings) == expected
    bad = [(row["reason"], row["time"]) for row in readings.bad.collect()]
    assert sorted(map(str, bad)) == sorted(str((row[3], row[1])) for row in expected if row[3])
    assert sorted(row["series"] for row in readings.keys.collect()) == ["x", "y.1", "z"]
    some = read(spark, tmp_path / "w.csv", form="wide", values=["x", "y.1"], counts="value")
    assert some.channels == (Channel("value", "count"),)
    assert [row["reason"] for row in some.checked.sort("position").collect()] == [*[None] * 4, "time", RAGGED, "x", None]
    spec = ReadingsSpec(form="wide", timestamp="time", counts=("value",))
    with pytest.raises(InputError, match=r"row 6: column 'x': expected a count, whole and not negative, found 'inf'"):
        raise explain(some.bad.where("reason = 'x'"), spec, 1)


@pytest.mark.parametrize("form", ["wide", "long"])
def test_hundreds_of_columns_are_not_compiled_into_one_method(spark: SparkSession, form: str) -> None:
    names = [f"it's {i}" for i in range(400)]
    frame = spark.range(20).selectExpr(
        "timestamp_seconds(id * 60) as time", *(f"id + {i}D as `{name}`" for i, name in enumerate(names))
    )
    readings = load(spark, ReadingsSpec.model_validate({"form": form, "timestamp": "time"}), frame=frame)
    with compiled(spark), settings(spark, {"spark.sql.codegen.fallback": "false"}):
        found = readings.good.agg(F.count("*"), F.max("value_0"), F.countDistinct("series")).first()
    assert found == (Row(400 * 20, 418.0, 400) if form == "wide" else Row(20, 19.0, 1))


def test_the_clock_change_of_wide_readings(spark: SparkSession, tmp_path: Path) -> None:
    lines = "".join(f"2025-10-26 {hour}:00,{v},{v}\n" for v, hour in enumerate(["01", "02", "02", "03"]))
    (tmp_path / "w.csv").write_text(f"time,x,y\n{lines}")
    readings = read(spark, tmp_path / "w.csv", form="wide", time_zone="Europe/Berlin")
    hours = [
        (row["time"] - 1_761_436_800_000_000) // 3_600_000_000 for row in readings.checked.sort("position", "series").collect()
    ]
    assert hours == [-1, -1, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["{}.csv", "{}.json", "{}.parquet", "{}.csv.gz"])
def test_position_is_the_order_by_file_name_and_place(spark: SparkSession, tmp_path: Path, name: str) -> None:
    # Small, large and middling files, packed by size; the large ones are cut.
    sizes, number = {"c": 10, "a": 900, "b": 40, "d": 300, "B": 200}, 0
    for stem in sorted(sizes):
        rows = [("2025-03-01", number + i) for i in range(sizes[stem])]
        number += sizes[stem]
        file = tmp_path / name.format(stem)
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"time": [t for t, _ in rows], "a": [a for _, a in rows]}), file, row_group_size=100)
        else:
            written(tmp_path, file.name, rows, ("time", "a"))
    with settings(spark, {"spark.sql.files.maxPartitionBytes": "6000b", "spark.sql.files.openCostInBytes": "1k"}):
        checked = read(spark, tmp_path).checked
        found = [row["value_0"] for row in checked.sort("position").collect()]
        positions = checked.select("position").distinct().count()
        partitions = checked.rdd.getNumPartitions()
    assert found == list(range(number))
    assert positions == number
    assert partitions > 4 or name.endswith(".gz")


def test_position_is_nought_where_nobody_asked(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2025", 1), ("2025", 2)], "time string, a int")
    readings = load(spark, ReadingsSpec(timestamp="time"), frame=frame)
    assert [row["position"] for row in readings.checked.collect()] == [0, 0]


def test_parquet_files_of_different_columns_lose_none(spark: SparkSession, tmp_path: Path) -> None:
    written(tmp_path, "a.parquet", [("2025-03-01", 1.0)], ("time", "a"))
    written(tmp_path, "b.parquet", [("2025-03-01", 2.0)], ("time", "b"))
    assert [row[2:4] for row in content(read(spark, tmp_path))] == [(1, None), (None, 2)]
    written(tmp_path, "c.parquet", [("2025-03-01", "x")], ("time", "b"))
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read(spark, tmp_path)


def test_a_file_that_executors_do_not_find_is_named(spark: SparkSession, tmp_path: Path) -> None:
    written(tmp_path, "a.csv", [("2025-03-01", 1.0)], ("time", "a"))
    rows = read(spark, tmp_path).checked
    (tmp_path / "a.csv").unlink()
    with pytest.raises(InputError, match=r"^a\.csv: cannot be read: .*where all machines see it"), seen_by_all("a.csv"):
        rows.collect()
