"""Whatever a timestamp looks like, and wherever its clock hung, it is the same instant; zoneinfo is the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import DataFrame, SparkSession

from hindcast.prep.errors import InputError
from hindcast.prep.readings.loading import Readings, explain, load
from hindcast.prep.spec import ReadingsSpec

# The session's own zone puts its clocks forward at 2025-03-09 02:00, which must not be seen anywhere.
SESSION_ZONE = "America/New_York"


@contextmanager
def session_zone(spark: SparkSession, zone: str) -> Iterator[None]:
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        yield
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)


def micros(text: str) -> int:
    return (datetime.fromisoformat(text).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def read(spark: SparkSession, frame: DataFrame, **fields: Any) -> Readings:
    return load(spark, ReadingsSpec.model_validate({"timestamp": "t", "values": "v", **fields}), frame=frame)


def times(spark: SparkSession, values: list[Any], kind: str = "string", **fields: Any) -> list[int | None]:
    """What each value is read as, in the order of `values`."""
    frame = spark.createDataFrame([(i, v) for i, v in enumerate(values)], f"v int, x {kind if kind != 'ntz' else 'string'}")
    cast = "cast(x as timestamp_ntz)" if kind == "ntz" else "x"
    with session_zone(spark, SESSION_ZONE):
        checked = read(spark, frame.selectExpr("v", f"{cast} as t"), **fields).checked
        return [row["time"] for row in sorted(checked.collect(), key=lambda row: row["value_0"])]


ISO = {
    "2025-03-09 02:30:00": "2025-03-09T02:30+01:00",  # local, of Berlin
    "2025-03-09T02:30": "2025-03-09T02:30+01:00",
    "2025-03-09T02": "2025-03-09T02:00+01:00",
    "  2025-07-01 00:00:00.123456 ": "2025-07-01T00:00:00.123456+02:00",
    "2025-07-01": "2025-07-01T00:00+02:00",
    "2025-07": "2025-07-01T00:00+02:00",
    "2025": "2025-01-01T00:00+01:00",
    "2025-03-09T02:30:00Z": "2025-03-09T02:30+00:00",
    "2025-03-09T02:30Z": "2025-03-09T02:30+00:00",
    "2025-03-09T02:30-05:00": "2025-03-09T02:30-05:00",
    "2025-03-09 02:30:00.5+0530": "2025-03-09T02:30:00.5+05:30",
    "2025-03-09 02:30:00 Asia/Tokyo": "2025-03-09T02:30+09:00",
    "1890-01-01 00:00:00": "1890-01-01T00:53:28+01:00",  # before zones, Berlin's own sun: +00:53:28
}
NO_TIMES = [
    "when?",
    "",
    None,
    "12:30",
    "12:30:00Z",
    "201607",
    "20250301",
    "1467331200",
    "2025-13-01",
    "2025-03-30 02:30:00",
    "5 PM",
]


def test_iso_texts_keep_their_offset_and_else_are_local_whatever_the_sessions_zone(spark: SparkSession) -> None:
    expected = [micros(text) for text in ISO.values()]
    expected[-1] = micros("1890-01-01T00:00:00+00:53") - 28_000_000
    assert times(spark, [*ISO, *NO_TIMES], time_zone="Europe/Berlin") == expected + [None] * len(NO_TIMES)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("dd.MM.yyyy HH:mm", {"09.03.2025 02:30": "2025-03-09T02:30+01:00", "9.3.2025 02:30": None, "30.03.2025 02:30": None}),
        ("dd.MM.yyyy HH:mm XXX", {"09.03.2025 02:30 +02:00": "2025-03-09T02:30+02:00", "09.03.2025 02:30": None}),
        (
            "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]",
            {
                "2025-03-09T02:30:00Z": "2025-03-09T02:30+00:00",
                "2025-03-09T02:30:00": "2025-03-09T02:30+01:00",
                "2025-03-09T02:30:00.250-05:00": "2025-03-09T02:30:00.250-05:00",
            },
        ),
        ("yyyyMMdd", {"20250701": "2025-07-01T00:00+02:00"}),
    ],
)
def test_patterns(spark: SparkSession, pattern: str, texts: dict[str, str | None]) -> None:
    expected = [text and micros(text) for text in texts.values()]
    assert times(spark, list(texts), timestamp_format=pattern, time_zone="Europe/Berlin") == expected
    if pattern == "yyyyMMdd":
        assert times(spark, [20250701], "long", timestamp_format=pattern, time_zone="Europe/Berlin") == expected


@pytest.mark.parametrize("form", ["epoch_s", "epoch_ms", "epoch_us", "epoch_ns"])
def test_epochs_are_exact_as_numbers_and_as_texts(spark: SparkSession, form: str) -> None:
    scale = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}[form]
    numbers = [1_467_331_200 * scale, 0, -scale]
    expected: list[int | None] = [1_467_331_200_000_000, 0, -1_000_000]
    assert times(spark, numbers, "long", timestamp_format=form) == expected
    assert times(spark, [*map(str, numbers), "x", "1e99"], timestamp_format=form) == [*expected, None, None]
    assert times(spark, [2**62], "long", timestamp_format="epoch_s") == [None]
    if form == "epoch_s":
        assert times(spark, [1467331200.1, float("nan")], "double", timestamp_format=form) == [1_467_331_200_100_000, None]
        assert times(spark, ["1467331200.000001"], timestamp_format=form) == [1_467_331_200_000_001]
    if form == "epoch_ns":
        assert times(spark, [1_467_331_200_123_456_789, -1], "long", timestamp_format=form) == [1_467_331_200_123_456, -1]
        assert times(spark, ["1467331200123456789"], timestamp_format=form) == [1_467_331_200_123_456]


def test_columns_of_times(spark: SparkSession) -> None:
    instant = datetime(2025, 3, 9, 7, 30, tzinfo=UTC)
    assert times(spark, [instant], "timestamp", time_zone="Europe/Berlin") == [micros("2025-03-09T07:30+00:00")]
    assert times(spark, [instant.date()], "date", time_zone="Europe/Berlin") == [micros("2025-03-09T00:00+01:00")]
    local = times(spark, ["2025-03-09 02:30:00.000001", "2025-03-30 02:30:00"], "ntz", time_zone="Europe/Berlin")
    assert local == [micros("2025-03-09T02:30:00.000001+01:00"), None]


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("long", {}, r"the DataFrame: column 't' holds numbers.*readings\.timestamp_format = \"epoch_s\""),
        ("boolean", {}, "column 't' is of type boolean; times were expected"),
        (
            "string",
            {"timestamp_format": "dd.MM.bogus"},
            r"readings\.timestamp_format: expected a pattern .* found 'dd\.MM\.bogus'",
        ),
        ("string", {"timestamp_format": "yyyy 'T"}, r"readings\.timestamp_format: expected a pattern"),
    ],
)
def test_what_is_no_time_is_refused_at_once(spark: SparkSession, kind: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(spark, spark.createDataFrame([], f"v int, t {kind}"), **fields)


def test_numbers_in_text_are_explained(spark: SparkSession) -> None:
    readings = read(spark, spark.createDataFrame([(1, "1467331200")], "v int, t string"))
    message = str(explain(readings.bad, ReadingsSpec(timestamp="t", values=("v",)), 1))
    assert 'readings.timestamp_format = "epoch_s"' in message


CLOCKS = [
    # zone, first instant (UTC), how many hours: over the change in spring or in autumn
    ("Europe/Berlin", "2025-10-25T20:00+00:00", 10),
    ("Europe/Berlin", "2025-03-29T20:00+00:00", 10),
    ("Australia/Lord_Howe", "2025-04-05T10:30+00:00", 10),
    ("Australia/Lord_Howe", "2025-10-04T10:30+00:00", 10),
    ("America/Havana", "2025-11-02T00:00+00:00", 10),  # its clocks go back at 01:00 to midnight
]


@pytest.mark.parametrize(("zone", "start", "hours"), CLOCKS)
def test_a_clock_change_is_neither_a_gap_nor_a_duplicate(
    spark: SparkSession, tmp_path: Path, zone: str, start: str, hours: int
) -> None:
    first = datetime.fromisoformat(start)
    instants = [first + timedelta(minutes=10) * i for i in range(hours * 6)]
    local = [instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") for instant in instants]
    # The series are interleaved, two every ten minutes and one hourly, and have their second pass in a file of its own.
    cut = next((i for i, text in enumerate(local) if text in local[:i]), len(local) // 2)
    lines = [(text, name, i) for i, text in enumerate(local) for name in "xyh" if name != "h" or i % 6 == 0]
    for name, kept in (("a", lambda line: line[2] < cut), ("b", lambda line: line[2] >= cut)):
        text = "\n".join(f"{t},{s},{v}" for t, s, v in filter(kept, lines))
        (tmp_path / f"{name}.csv").write_text(f"t,s,v\n{text}\n")
    spec = ReadingsSpec(path=(str(tmp_path),), timestamp="t", series=("s",), time_zone=zone)
    with session_zone(spark, SESSION_ZONE):
        readings = load(spark, spec)
        found = {(row["series"], row["value_0"]): row["time"] for row in readings.checked.collect()}
        assert found == {(s, v): micros(instants[v].isoformat()) for _, s, v in lines}
        assert readings.bad.count() == 0


def test_an_hour_that_never_was_is_a_bad_row_and_is_explained(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [(1, "2025-03-30 01:59:59"), (2, "2025-03-30 02:00:00"), (3, "2025-03-30 03:00:00")], "v int, t string"
    )
    readings = read(spark, frame, time_zone="Europe/Berlin")
    assert [(row["reason"], row["time"]) for row in readings.bad.collect()] == [("t", None)]
    assert sorted(row["time"] for row in readings.good.collect()) == [
        micros("2025-03-30T00:59:59Z"),
        micros("2025-03-30T01:00:00Z"),
    ]
    message = str(explain(readings.bad, ReadingsSpec(timestamp="t", values=("v",), time_zone="Europe/Berlin"), 1))
    assert "'2025-03-30 02:00:00' does not exist in Europe/Berlin" in message


def test_only_times_that_came_twice_are_shuffled_and_none_in_utc(spark: SparkSession) -> None:
    def plan(zone: str) -> str:
        frame = spark.createDataFrame([(1, "2025-10-26 02:00:00")], "v int, t string")
        return read(spark, frame, time_zone=zone).checked._jdf.queryExecution().optimizedPlan().toString()

    assert "Window" not in plan("UTC")
    before_window = plan("Europe/Berlin").split("Window")[1]
    assert "isnotnull(_hindcast_again" in before_window.split("Filter")[1]
