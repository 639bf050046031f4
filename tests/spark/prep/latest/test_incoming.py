"""New readings on their way to a model: as those were read that it was trained on, brought together by series."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.latest.incoming import readings_by_series
from hindcast.prep.spec import CalendarSpec, GridSpec, ReadingsSpec

MIDNIGHT = 1_740_787_200_000_000


def preparation_of(readings: ReadingsSpec, *channels: str, **fields: Any) -> Preparation:
    base: dict[str, Any] = {
        "readings": readings,
        "series": "boiler",
        "channels": tuple(Column(name=name) for name in channels),
        "joined": (),
        "attributes": (),
        "calendar": CalendarSpec(),
        "grid": GridSpec(duplicates="mean"),
        "origin_micros": MIDNIGHT,
        "step_micros": 3_600_000_000,
        "unseen": "global",
    }
    return Preparation.model_validate(base | fields)


def test_of_wide_readings_each_column_is_a_series(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2025-03-01 00:00", 1.0, 2.0), ("?", 3.0, 4.0)], "time string, x double, y double")
    found = readings_by_series(spark, frame, preparation_of(ReadingsSpec(timestamp="time", form="wide", channel="heat"), "heat"))
    rows = {(row["series"], row["time"], row["reason"], row["c0"]) for row in found.collect()}
    assert rows == {("x", MIDNIGHT, None, 1.0), ("y", MIDNIGHT, None, 2.0), (None, None, "time", None)}


def test_without_a_column_for_it_the_series_has_the_name_it_had_in_training(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2025-03-01 00:00", 1.0, "old")], "time string, heat double, maker string")
    spec = ReadingsSpec(timestamp="time", values=("heat",))
    found = readings_by_series(spark, frame, preparation_of(spec, "heat", attributes=(Column(name="maker"),)))
    assert [tuple(row) for row in found.collect()] == [("boiler", MIDNIGHT, None, 1.0, "old")]
