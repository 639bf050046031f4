"""Tables beside the readings: which series they serve, and what is the matter with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from hindcast.prep.errors import InputError
from hindcast.prep.readings.bad_rows import RAGGED, explain
from hindcast.prep.readings.joins import load_attributes, load_join
from hindcast.prep.readings.loading import Readings, load
from hindcast.prep.spec import AttributesSpec, JoinSpec, ReadingsSpec

SPEC = ReadingsSpec(timestamp="time", series=("site", "unit"), values=("v",))
MIDNIGHT = 1_740_787_200_000_000
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def readings(spark: SparkSession) -> Readings:
    rows = [("2025-03-01", site, unit, float(unit), "steel", f"since {unit}") for site in "ab" for unit in (1, 2)]
    rows += [("2025-03-02", "a", 1, 2.0, None, "since 3"), ("when?", "c", 1, 1.0, "x", "y")]
    frame = spark.createDataFrame(rows, "time string, site string, unit int, v double, metal string, since string")
    return load(spark, SPEC, frame=frame, attributes=("metal", "since"))


@pytest.fixture(scope="module")
def wide(spark: SparkSession) -> Readings:
    frame = spark.createDataFrame([("2025", 1, 2)], "time string, x int, y int")
    return load(spark, ReadingsSpec(timestamp="time", form="wide"), frame=frame)


def file(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "t.csv").write_text(text)
    return (str(folder / "t.csv"),)


def join(path: tuple[str, ...] = (), **fields: Any) -> JoinSpec:
    return JoinSpec.model_validate({"path": path, "timestamp": "at", "tolerance": "1h", "values": "w", **fields})


def test_a_table_without_series_serves_all(spark: SparkSession, readings: Readings, tmp_path: Path) -> None:
    path = file(tmp_path, "at,w,q\n2025-03-01 00:00,1,5\n2025-03-01 01:00,,6\n2025-03-01 02:00,bad,7\nwhen?,1,8\n2025-03-01\n")
    good, bad = load_join(spark, join(path, values=["q", "w"]), readings)
    assert good.columns == ["series", "time", "value_0", "value_1"]
    names = ["a/1", "a/2", "b/1", "b/2"]
    expected = [(name, MIDNIGHT + hour * HOUR, q, w) for name in names for hour, q, w in ((0, 5, 1), (1, 6, None))]
    assert sorted(map(tuple, good.collect())) == expected
    assert sorted(row["reason"] for row in bad.collect()) == [RAGGED, "at", "w"]
    with pytest.raises(InputError, match=r"t\.csv, row 4: column 'w': expected a finite number, found 'bad'"):
        raise explain(bad.where("reason = 'w'"), join(path), 1)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ("site", [("a/1", 1), ("a/2", 1), ("b/1", 2), ("b/2", 2)]),
        ("unit", [("a/1", 5), ("a/2", 6), ("b/1", 5), ("b/2", 6)]),
        (["unit", "site"], [("a/1", 1), ("b/2", 2)]),
    ],
)
def test_a_table_serves_the_series_that_its_columns_name(
    spark: SparkSession, readings: Readings, series: Any, expected: list[tuple[str, float]]
) -> None:
    rows = [("2025-03-01", "a", 1, 1, 5), ("2025-03-01", "b", 2, 2, 6), ("2025-03-01", "none", 9, 3, 7)]
    frame = spark.createDataFrame(rows, "at string, site string, unit int, w int, u int")
    good, bad = load_join(spark, join(series=series, values="u" if series == "unit" else "w"), readings, frame=frame)
    assert sorted((row["series"], row["value_0"]) for row in good.collect()) == expected
    assert bad.count() == 0


def test_wide_series_are_joined_by_their_names(spark: SparkSession, wide: Readings) -> None:
    frame = spark.createDataFrame([("2025", "x", 1), ("2025", "z", 1)], "at string, series string, w int")
    good, _ = load_join(spark, join(series="series"), wide, frame=frame)
    assert [row["series"] for row in good.collect()] == ["x"]


def test_a_part_may_be_called_series(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2025", "a", "b", 1)], "time string, site string, series string, w int")
    found = load(spark, ReadingsSpec(timestamp="time", series=("site", "series")), frame=frame)
    good, _ = load_join(spark, join(series="series", timestamp="time"), found, frame=frame)
    assert [row["series"] for row in good.collect()] == ["a/b"]


def test_the_clock_change_of_a_join_is_each_of_its_keys_own(spark: SparkSession, readings: Readings) -> None:
    times = ["2025-10-26 01:00", "2025-10-26 02:00", "2025-10-26 02:00", "2025-10-26 03:00"]
    rows = [(time, site, number) for site in "ab" for number, time in enumerate(times)]
    frame = spark.createDataFrame(rows, "at string, site string, w int")
    good, _ = load_join(spark, join(series="site", time_zone="Europe/Berlin"), readings, frame=frame)
    found = {(row["series"], (row["time"] - 1_761_433_200_000_000) // HOUR) for row in good.collect()}
    assert found == {(f"{site}/{unit}", hour) for site in "ab" for unit in (1, 2) for hour in range(4)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"series": "city"}, r"joins\.series names 'city', which is no column that tells.*site, unit"),
        ({"values": "nope"}, "no column 'nope'; the columns are at, w"),
        ({"values": "at"}, "joins: .*'at' is named twice"),
        ({"timestamp": "w"}, r"column 'w' holds numbers.*joins\.timestamp_format"),
    ],
)
def test_impossible_joins_are_explained(spark: SparkSession, readings: Readings, fields: dict[str, Any], message: str) -> None:
    frame = spark.createDataFrame([("2025", 1)], "at string, w int")
    with pytest.raises(InputError, match=message):
        load_join(spark, join(**({"values": "at"} if "timestamp" in fields else {}), **fields), readings, frame=frame)


def test_attributes_of_a_table(spark: SparkSession, readings: Readings, tmp_path: Path) -> None:
    text = "unit,site,metal,height\n1,a,steel,1.50\n2,a,,007\n1,b,n/a,1\n2,b,tin,\n9,z,tin,1\n"
    spec = AttributesSpec(path=file(tmp_path, text), values=("height", "metal"))
    assert load_attributes(spark, spec, SPEC, readings) == {
        "a/1": ("1.50", "steel"),
        "a/2": ("007", None),
        "b/1": ("1", "n/a"),
        "b/2": (None, "tin"),
    }


def test_attributes_of_the_readings(spark: SparkSession, readings: Readings) -> None:
    assert load_attributes(spark, AttributesSpec(), SPEC, readings) == {}
    found = load_attributes(spark, AttributesSpec(values=("metal",)), SPEC, readings)
    assert found == dict.fromkeys(["a/1", "a/2", "b/1", "b/2"], ("steel",))
    with pytest.raises(InputError, match="series 'a/1': attribute 'since' changes, found 'since 1' and 'since 3'"):
        load_attributes(spark, AttributesSpec(values=("metal", "since")), SPEC, readings)


ATTRIBUTES = {
    "twice": ("site,unit,k\na,1,x\na,1,x\n", r"t\.csv: series 'a/1' is there twice"),
    "lacking": ("site,unit,k\na,1,x\nb,1,x\n", r"t\.csv: no row for series 'a/2' and 1 others of 4, by site, unit"),
    "no name": ("site,unit,k\n,1,x\n", r"t\.csv: a row has nothing in site or unit"),
    "ragged": ("site,unit,k\na,1\n", r"t\.csv: a row has too few or too many fields.*'a,1'"),
    "column": ("site,k\na,1\n", "no column 'unit'"),
}


@pytest.mark.parametrize("fault", sorted(ATTRIBUTES))
def test_impossible_attributes_are_explained(spark: SparkSession, readings: Readings, tmp_path: Path, fault: str) -> None:
    text, message = ATTRIBUTES[fault]
    with pytest.raises(InputError, match=message):
        load_attributes(spark, AttributesSpec(path=file(tmp_path, text), values=("k",)), SPEC, readings)


def test_attributes_of_wide_series_are_found_by_series(spark: SparkSession, wide: Readings, tmp_path: Path) -> None:
    spec = AttributesSpec(path=file(tmp_path, "series,k\nx,1\ny,2\n"), values=("k",))
    found = load_attributes(spark, spec, ReadingsSpec(form="wide", timestamp="time"), wide)
    assert found == {"x": ("1",), "y": ("2",)}
    with pytest.raises(InputError, match=r"name them with attributes\.values"):
        load_attributes(spark, AttributesSpec(path=spec.path), SPEC, wide)
