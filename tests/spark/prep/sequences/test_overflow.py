"""What is finite in a file and not in float32, as it is or scaled: it is a bad reading, and no dataset is lost by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.prep import pipeline
from hindcast.prep.appending import append
from hindcast.prep.dataset import writing
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.names import MANIFEST
from hindcast.prep.pipeline import prepare
from hindcast.prep.readings.loading import load
from hindcast.prep.spec import Spec
from hindcast.prep.survey.survey import survey

STEPS = 60
TIME = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(STEPS), "h")
LARGEST = "1.7976931348623157e+308"


def table(sensor: str = "x", unit: float = 1.0, spikes: dict[int, Any] | None = None) -> pd.DataFrame:
    """Hourly readings of one sensor in which each of `spikes` stands instead of a value."""
    values = unit * np.arange(STEPS, dtype=object)
    for step, value in (spikes or {}).items():
        values[step] = value
    return pd.DataFrame({"time": TIME, "sensor": sensor, "a": values, "b": np.arange(STEPS)})


def written(path: Path, *tables: pd.DataFrame) -> Path:
    pd.concat(tables).to_csv(path, index=False)
    return path


def spec_of(path: Path, **tables: Any) -> Spec:
    base: dict[str, Any] = {
        "readings": {"path": str(path), "timestamp": "time", "series": "sensor", "values": ["a", "b"]},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2},
    }
    merged = {name: {**base.get(name, {}), **given} for name, given in tables.items() if isinstance(given, dict)}
    return Spec.model_validate(base | tables | merged)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def prepared_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    prepare(spark, spec_of(written(folder / "good.csv", table())), folder / "d")
    return folder


@pytest.fixture
def good(prepared_once: Path, tmp_path: Path) -> SequenceDataset:
    """A dataset of its own for each test, with the readings that it was made from beside it."""
    shutil.copytree(prepared_once, tmp_path, dirs_exist_ok=True)
    return SequenceDataset.open(tmp_path / "d")


@pytest.mark.parametrize("scaling", [{"method": "standard"}, {"method": "robust"}, {"method": "none"}, {"per": "series"}])
def test_no_dataset_is_replaced_by_one_of_numbers_that_float32_does_not_hold(
    spark: SparkSession, good: SequenceDataset, tmp_path: Path, scaling: dict[str, str]
) -> None:
    before = files(good.path)
    huge = written(tmp_path / "huge.csv", table(spikes={3: LARGEST, 9: LARGEST}))
    with pytest.raises(InputError, match=r"huge\.csv, row 5: column 'a': .* found '1\.79\S+308' \(1 more such rows\)"):
        prepare(spark, spec_of(huge, scaling=scaling), good.path, overwrite=True)
    assert files(good.path) == before


def test_they_are_set_aside_and_counted(spark: SparkSession, tmp_path: Path) -> None:
    huge = written(tmp_path / "huge.csv", table(spikes={3: LARGEST, 9: "-3.5e38", 45: "1e39"}))
    dataset = prepare(spark, spec_of(huge, readings={"bad_rows": "quarantine"}), tmp_path / "d")
    assert [dataset.manifest.counts[split].get("rows_quarantined", 0) for split in ("train", "validation", "test")] == [2, 1, 0]
    assert dataset.manifest.count("values_filled") == 2 * 3
    assert all(np.isfinite(block.values).all() for split in ("train", "validation") for block in dataset.blocks(split))


def test_the_largest_number_of_float32_is_kept(spark: SparkSession, tmp_path: Path) -> None:
    """As NumPy writes it, which as float64 is a little more."""
    text = str(np.finfo(np.float32).max)
    dataset = prepare(
        spark,
        spec_of(written(tmp_path / "r.csv", table(spikes={3: text, 4: f"-{text}"})), scaling={"method": "none"}),
        tmp_path / "d",
    )
    (block,) = dataset.blocks("train")
    assert (block.values.max(), block.values.min()) == (np.finfo(np.float32).max, np.finfo(np.float32).min)


def test_a_column_of_them_is_a_channel_all_the_same(spark: SparkSession, tmp_path: Path) -> None:
    huge = written(tmp_path / "huge.csv", table(spikes=dict.fromkeys(range(50), LARGEST)))
    with pytest.raises(InputError, match=r"huge\.csv, row 2: column 'a': .* \(49 more such rows\)"):
        prepare(spark, spec_of(huge, readings={"values": []}), tmp_path / "d")


def test_looking_first_reports_them_as_rows_not_understood(spark: SparkSession, tmp_path: Path) -> None:
    spec = spec_of(written(tmp_path / "huge.csv", table(spikes={3: LARGEST, 9: "1e39"})))
    found = survey(load(spark, spec.readings, ordered=True), spec.grid, ordered=True)
    assert [(rows.reason, rows.count) for rows in found.bad] == [("a", 2)]
    assert found.channels[0].numbers is not None
    assert found.channels[0].numbers.highest.value == STEPS - 1


SCALED: dict[str, tuple[dict[str, Any], list[pd.DataFrame], str]] = {
    "standard": ({}, [table(unit=1e-3, spikes={55: "3e38"})], "series 'x', 2025-03-03 07:00:00: 'a' is 3e+38"),
    "robust": (
        {"scaling": {"method": "robust"}},
        [table(unit=1e-3, spikes={7: "3e38"})],
        "series 'x', 2025-03-01 07:00:00: 'a' is 3e+38",
    ),
    "minmax": (
        {"scaling": {"method": "minmax"}},
        [table(unit=1e-3, spikes={55: "-3e38"})],
        "series 'x', 2025-03-03 07:00:00: 'a' is -3e+38",
    ),
    "by series": (
        {"scaling": {"per": "series"}},
        [table("x", unit=1e30), table("y", unit=1e-20, spikes={55: "1e30"})],
        "series 'y', 2025-03-03 07:00:00: 'a' is 1e+30",
    ),
    "sums": (
        {
            "grid": {"step": "2h", "aggregate": "sum"},
            "split": {"train": 20, "validation": 0, "test": 0},
            "scaling": {"method": "robust"},
        },
        [table(spikes=dict.fromkeys(range(30), "3e38"))],
        r"series 'x', 2025-03-01 00:00:00: 'a' is 6e\+38; expected a number up to 3.4028235e\+38",
    ),
    "lines between": (
        {"grid": {"fill": "linear"}, "scaling": {"method": "robust"}},
        [table(unit=1e-3, spikes={50: "-3e38", 51: None, 52: "3e38"})],
        "series 'x', 2025-03-03 02:00:00: 'a' is -3e\\+38",
    ),
}


@pytest.mark.parametrize("case", sorted(SCALED))
def test_what_is_too_large_once_it_is_scaled_is_named_and_nothing_is_written(
    spark: SparkSession, good: SequenceDataset, tmp_path: Path, case: str
) -> None:
    tables, readings, message = SCALED[case]
    before = files(good.path)
    with pytest.raises(InputError, match=message.replace("e+", r"e\+")):
        prepare(spark, spec_of(written(tmp_path / "r.csv", *readings), **tables), good.path, overwrite=True)
    assert files(good.path) == before


def rows_quarantined(dataset: SequenceDataset) -> dict[str, int]:
    return {
        split: counts["rows_quarantined"] for split, counts in dataset.manifest.counts.items() if "rows_quarantined" in counts
    }


def assert_alike(dataset: SequenceDataset, without: SequenceDataset) -> None:
    """What is stored and stated of both is the same, but for the rows that the first set aside."""
    ours, theirs = dataset.manifest, without.manifest
    for name in ("scaling", "covariate_scaling", "layout", "borders", "digests", "span", "channels"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for split, counts in ours.counts.items():
        assert {name: count for name, count in counts.items() if name != "rows_quarantined"} == theirs.counts[split]


def set_aside(dataset: SequenceDataset) -> list[dict[str, Any]]:
    """The rows in quarantine, in the order of their time."""
    lines = [line for file in dataset.manifest.quarantine for line in (dataset.path / file).read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda row: row["time"])


FAR_APART = [table("x", unit=1e30), table("y", unit=1e-20, spikes={7: "1e30", 55: "1e30"})]
FLT_MAX = "3.4028235e+38"
SPIKED: dict[str, tuple[dict[str, Any], list[pd.DataFrame], dict[str, int]]] = {
    "standard": ({}, [table(unit=1e-3, spikes={55: FLT_MAX})], {"test": 1}),
    "by series": ({"scaling": {"method": "robust", "per": "series"}}, FAR_APART, {"train": 1, "test": 1}),
    "again and again": (
        {"scaling": {"method": "robust"}},
        # A quarter of training is large with the first, and less without it: then the scale is too small for the second.
        [table(unit=1e-35, spikes={7: FLT_MAX, **dict.fromkeys(range(10, 19), 0.1), 43: "-3e38", 55: "1e6"})],
        {"train": 1, "validation": 1, "test": 1},
    ),
}


@pytest.mark.parametrize("case", sorted(SPIKED))
def test_what_is_too_large_once_it_is_scaled_is_set_aside_where_bad_rows_are(
    spark: SparkSession, tmp_path: Path, case: str
) -> None:
    tables, readings, expected = SPIKED[case]
    spikes = pd.concat(readings)["a"].map(lambda value: isinstance(value, str))
    spec = spec_of(written(tmp_path / "r.csv", *readings), readings={"bad_rows": "quarantine"}, **tables)
    dataset = prepare(spark, spec, tmp_path / "d")
    without = written(tmp_path / "without.csv", pd.concat(readings)[~spikes])
    assert_alike(dataset, prepare(spark, spec_of(without, **tables), tmp_path / "without"))
    assert rows_quarantined(dataset) == expected
    rows = set_aside(dataset)
    assert [json.loads(row["row"])["a"] for row in rows] == [*pd.concat(readings)["a"][spikes]]
    assert {(row["reason"], Path(row["file"]).name) for row in rows} == {("a", "r.csv")}


def test_so_it_is_in_wide_form(spark: SparkSession, tmp_path: Path) -> None:
    """A cell of one series alone."""
    wide = pd.DataFrame({"time": TIME, "x": 1e30 * np.arange(STEPS), "y": 1e-20 * np.arange(STEPS)})
    asked = {"form": "wide", "series": [], "values": [], "bad_rows": "quarantine"}
    scaling = {"per": "series"}
    wide.loc[55, "y"] = np.nan
    without = prepare(spark, spec_of(written(tmp_path / "w.csv", wide), readings=asked, scaling=scaling), tmp_path / "without")
    wide.loc[55, "y"] = 1e30
    dataset = prepare(spark, spec_of(written(tmp_path / "r.csv", wide), readings=asked, scaling=scaling), tmp_path / "d")
    assert rows_quarantined(dataset) == {"test": 1}
    assert dataset.manifest.digests == without.manifest.digests
    assert [row["reason"] for row in set_aside(dataset)] == ["y"]


def test_a_sum_of_several_is_refused_also_where_bad_rows_are_set_aside(spark: SparkSession, tmp_path: Path) -> None:
    tables, readings, message = SCALED["sums"]
    spec = spec_of(written(tmp_path / "r.csv", *readings), readings={"bad_rows": "quarantine"}, **tables)
    with pytest.raises(InputError, match=message):
        prepare(spark, spec, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_what_is_never_stored_stops_nothing(spark: SparkSession, tmp_path: Path) -> None:
    """In a hole, and after all splits."""
    hole, end, after = (52, 53, 54), 56, 58
    plain, spiked = table(unit=1e-3), table(unit=1e-3, spikes={hole[1]: FLT_MAX, after: FLT_MAX})
    for readings in (plain, spiked):
        readings["b"] = readings["b"].astype(object)
        readings.loc[[*hole], "b"] = None
    tables = {"split": {"test": end - 50}, "grid": {"fill": "none"}}
    dataset = prepare(spark, spec_of(written(tmp_path / "r.csv", spiked), **tables), tmp_path / "d")
    assert_alike(dataset, prepare(spark, spec_of(written(tmp_path / "p.csv", plain), **tables), tmp_path / "p"))


def test_series_of_units_far_apart_are_scaled_each_by_itself(spark: SparkSession, tmp_path: Path) -> None:
    file = written(tmp_path / "r.csv", table("x", unit=1e30), table("y", unit=1e-20))
    dataset = prepare(spark, spec_of(file, scaling={"per": "series"}), tmp_path / "d")
    (block,) = dataset.blocks("train")
    assert np.abs(block.values).max() < 2
    np.testing.assert_allclose(block.values[block.series == "x"], block.values[block.series == "y"], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e39", r"wind\.csv, row 57: column 'wind': expected a number up to .*, found '1e39'"),
        ("3e38", r"series 'x', 2025-03-03 07:00:00: 'wind' is 3e\+38, and "),
    ],
)
def test_joined_values_are_looked_at_as_well(
    spark: SparkSession, good: SequenceDataset, tmp_path: Path, value: str, message: str
) -> None:
    table(unit=1e-3, spikes={55: value})[["time", "a"]].rename(columns={"a": "wind"}).to_csv(tmp_path / "wind.csv", index=False)
    join = {"path": str(tmp_path / "wind.csv"), "timestamp": "time", "values": "wind", "tolerance": "1min"}
    before = files(good.path)
    with pytest.raises(InputError, match=message):
        prepare(spark, spec_of(tmp_path / "good.csv", joins=[join]), good.path, overwrite=True)
    assert files(good.path) == before


@pytest.mark.parametrize("value", ["1e39", "inf"])
def test_so_are_attributes(spark: SparkSession, tmp_path: Path, value: str) -> None:
    file = written(tmp_path / "r.csv", table().assign(size=value))
    with pytest.raises(InputError, match=rf"series 'x': attribute 'size': expected a number up to .*, found '{value}'"):
        prepare(spark, spec_of(file, attributes={"values": "size"}), tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.fixture(scope="module")
def small(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("small")
    return prepare(spark, spec_of(written(folder / "good.csv", table(unit=1e-3))), folder / "d")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e39", r"later\.csv, row 3: column 'a': expected a number up to .*, found '1e39'"),
        ("3e38", r"series 'x', 2025-03-03 13:00:00: 'a' is 3e\+38, and \(3e\+38 - "),
    ],
)
def test_appended_readings_that_do_not_fit_leave_the_dataset_as_it_was(
    spark: SparkSession, small: SequenceDataset, tmp_path: Path, value: str, message: str
) -> None:
    dataset = SequenceDataset.open(shutil.copytree(small.path, tmp_path / "d"))
    later = table(unit=1e-3, spikes={1: value})[:10]
    later["time"] += pd.Timedelta(hours=STEPS)
    before = files(dataset.path)
    with pytest.raises(InputError, match=message):
        append(spark, dataset.path, str(written(tmp_path / "later.csv", later)))
    assert files(dataset.path) == before


@pytest.mark.parametrize("per", ["global", "series"])
def test_nightly_readings_with_a_number_that_stands_for_none_are_appended_without_it(
    spark: SparkSession, tmp_path: Path, per: str
) -> None:
    """FLT_MAX, which float32 holds as it is and not once it is scaled: of a series that the dataset has, and of a new one."""
    readings = [table("x", unit=1e-3), table("y", unit=1e-3)]
    spec = spec_of(written(tmp_path / "r.csv", *readings), readings={"bad_rows": "quarantine"}, scaling={"per": per})
    dataset = prepare(spark, spec, tmp_path / "d")
    shutil.copytree(dataset.path, tmp_path / "without")
    without = SequenceDataset.open(tmp_path / "without")
    none: dict[str, dict[int, Any]] = {"x": {3: FLT_MAX}, "y": {}, "z": {9: f"-{FLT_MAX}"}}
    night = pd.concat(table(sensor, unit=1e-3, spikes=spikes)[:20] for sensor, spikes in none.items())
    night["time"] += pd.Timedelta(hours=STEPS)
    dataset = append(spark, dataset.path, str(written(tmp_path / "night.csv", night)))
    fit = night["a"].map(lambda value: not isinstance(value, str))
    without = append(spark, without.path, str(written(tmp_path / "fit.csv", night[fit])))
    assert_alike(dataset, without)
    assert rows_quarantined(dataset) == {"test": 2}
    assert [json.loads(row["row"])["a"] for row in set_aside(dataset)] == [FLT_MAX, f"-{FLT_MAX}"]


def test_what_waits_at_the_end_for_a_hole_to_close_is_looked_at(spark: SparkSession, tmp_path: Path) -> None:
    """Later readings close it, and what was in the dataset before cannot be mended then."""
    readings = table(unit=1e-3, spikes={STEPS - 1: FLT_MAX})
    readings.loc[STEPS - 1, "b"] = np.nan
    spec = spec_of(written(tmp_path / "r.csv", readings), grid={"max_gap": "3h", "fill": "linear"})
    with pytest.raises(InputError, match=r"series 'x', 2025-03-03 11:00:00: 'a' is 3\.4028235e\+38"):
        prepare(spark, spec, tmp_path / "d")


def test_what_cannot_be_opened_takes_no_ones_place(
    spark: SparkSession, good: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(good.path)
    whole = writing.write_manifest

    def cut_short(manifest: Any, folder: Path) -> None:
        whole(manifest, folder)
        (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"centre"', '"center"'))

    monkeypatch.setattr("hindcast.prep.sequences.work.write_manifest", cut_short)
    with pytest.raises(RuntimeError, match=r"cannot be used, and was not put in place: .* field scaling\.overall\.centre"):
        prepare(spark, spec_of(tmp_path / "good.csv"), good.path, overwrite=True)
    monkeypatch.undo()
    monkeypatch.setattr(pipeline, "refuse_overflow", lambda *given: None)
    spiked = written(tmp_path / "r.csv", table(unit=1e-3, spikes={7: "3e38"}))
    with pytest.raises(RuntimeError, match="a value in it is not finite"):
        prepare(spark, spec_of(spiked, scaling={"method": "robust"}), good.path, overwrite=True)
    assert files(good.path) == before
