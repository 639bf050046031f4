"""From files to a dataset: what goes in comes out, counted, whichever way the readings lie."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from petastorm import make_reader
from pyspark.sql import SparkSession

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.names import MANIFEST
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.compiling import compiled

HEADER = ["time", "sensor", "a", "b"]
STEPS = 60


def rows(sensors: tuple[str, ...] = ("x", "y"), steps: int = STEPS) -> list[list[str]]:
    hours = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(steps), "s")
    return [[hour, sensor, str(i + 100 * s), str(-i)] for s, sensor in enumerate(sensors) for i, hour in enumerate(hours)]


def write(path: Path, lines: list[list[str]], header: list[str] | None = None) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header or HEADER, *lines])
    return path


def spec_of(path: Path, **tables: dict[str, Any]) -> Spec:
    base: dict[str, dict[str, Any]] = {
        "readings": {"path": str(path), "timestamp": "time", "series": "sensor"},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2},
    }
    return Spec.model_validate({name: {**base.get(name, {}), **tables.get(name, {})} for name in base | tables})


def content(dataset: SequenceDataset) -> list[tuple[Any, ...]]:
    """Every stored row, in an order of its own."""
    found = []
    for split in ("train", "validation", "test"):
        for block in dataset.blocks(split):
            for row in range(len(block.windows)):
                fields = (block.start[row], block.windows[row], block.own_start[row], block.own_stop[row])
                found.append(
                    (split, str(block.series[row]), *map(str, fields), block.values[row].tobytes(), block.observed[row].tobytes())
                )
    return sorted(found)


@pytest.fixture(scope="module")
def plain(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("plain")
    with compiled(spark):
        return prepare(spark, spec_of(write(folder / "readings.csv", rows())), folder / "dataset")


def test_the_windows_are_those_of_the_readings(plain: SequenceDataset) -> None:
    centre, scale = plain.scaling.of(["x"])
    np.testing.assert_allclose(centre[0], [69.5, -19.5])
    for split, first, last in (("train", 0, 40), ("validation", 34, 50), ("test", 44, 60)):
        windows = plain.windows(split)
        assert len(windows) == 2 * (last - first - 8 + 1)
        batch = windows.batch(np.arange(len(windows)))
        whole = np.concatenate([batch.context, batch.target], axis=1) * scale + centre
        hour = (batch.start - np.datetime64("2025-03-01")).astype("timedelta64[h]").astype(int)
        expected = hour[:, None] + np.arange(8)
        np.testing.assert_allclose(whole[..., 1], -expected, atol=1e-4)
        np.testing.assert_allclose(whole[..., 0], expected + 100 * (batch.series == "y")[:, None], atol=1e-3)
        assert sorted(zip(batch.series, hour, strict=True)) == [(s, h) for s in "xy" for h in range(first, last - 7)]


def test_anyone_can_read_it_with_petastorm(plain: SequenceDataset) -> None:
    with make_reader(plain.path.as_uri(), reader_pool_type="dummy", shuffle_row_groups=False) as reader:
        theirs = sorted((r.split, r.series, r.values.tobytes(), r.observed.tobytes(), r.own_start, r.own_stop) for r in reader)
    ours = sorted((r[0], r[1], r[6], r[7], int(r[4]), int(r[5])) for r in content(plain))
    assert theirs == ours


def test_every_reading_is_owned_once(plain: SequenceDataset) -> None:
    owned = sum(int((b.own_stop - b.own_start).sum()) for s in ("train", "validation", "test") for b in plain.blocks(s))
    assert owned == plain.manifest.count("readings_kept") == 2 * STEPS


def test_row_order_files_and_format_do_not_matter(spark: SparkSession, plain: SequenceDataset, tmp_path: Path) -> None:
    lines = rows()
    np.random.default_rng(0).shuffle(lines)
    folder = tmp_path / "many.csv"
    folder.mkdir()
    for part in range(3):
        write(folder / f"{part}.csv", lines[part::3])
    table = (
        spark.read.option("header", True)
        .csv(str(folder))
        .selectExpr("timestamp(time) as time", "sensor", "double(a) a", "int(b) b")
    )
    table.repartition(3).write.parquet(str(tmp_path / "many.parquet"))
    for name in ("many.csv", "many.parquet"):
        dataset = prepare(spark, spec_of(tmp_path / name), tmp_path / f"{name}.seq")
        assert content(dataset) == content(plain)
        assert dataset.digest == plain.digest


def test_what_comes_after_a_border_changes_nothing_before_it(spark: SparkSession, plain: SequenceDataset, tmp_path: Path) -> None:
    lines = rows()
    for line in lines:
        if line[0] >= "2025-03-02T16":  # step 40
            line[2] = "1e6"
    changed = prepare(spark, spec_of(write(tmp_path / "r.csv", lines)), tmp_path / "d")
    assert changed.scaling == plain.scaling
    assert [row for row in content(changed) if row[0] == "train"] == [row for row in content(plain) if row[0] == "train"]
    assert changed.digest != plain.digest


def test_plain_and_packed_layouts_hold_the_same_windows(spark: SparkSession, plain: SequenceDataset, tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", rows())
    single = prepare(spark, spec_of(path, windows={"windows_per_row": 1, "stride": 1}), tmp_path / "d")
    assert single.layout.length == 8

    def keyed(dataset: SequenceDataset) -> dict[tuple[str, str], bytes]:
        batch = dataset.windows("train").batch(np.arange(len(dataset.windows("train"))))
        whole = np.concatenate([batch.context, batch.target], axis=1)
        return {(str(s), str(t)): w.tobytes() for s, t, w in zip(batch.series, batch.start, whole, strict=True)}

    assert keyed(single) == keyed(plain)


def test_faults_are_counted_and_gaps_split(spark: SparkSession, tmp_path: Path) -> None:
    lines = rows(("x",))
    lines[5][2] = ""  # missing: filled from the step before
    lines[7][3] = "ERR"  # bad
    lines[9][0] = "when?"  # bad
    del lines[20:30]  # a gap
    lines += [list(lines[3]), ["2025-03-01T04:10:00", "x", "9", "9"]]  # a duplicate, and one off the grid
    path = write(tmp_path / "r.csv", lines)
    spec = spec_of(path, readings={"bad_rows": "quarantine"}, grid={"duplicates": "first", "step": "1h"})
    dataset = prepare(spark, spec, tmp_path / "d")
    counts = dataset.manifest.counts
    assert (counts["train"]["rows_quarantined"], counts["outside"]["rows_quarantined"]) == (1, 1)
    expected = {"readings": STEPS - 10, "readings_duplicate": 2, "readings_moved": 1, "stretches": 2, "values_filled": 1 + 2 * 2}
    assert {name: dataset.manifest.count(name) for name in expected} == expected
    assert dataset.manifest.count("readings_kept") == STEPS - 10 - 2
    bad = [json.loads(line) for file in (dataset.path / "_quarantine").glob("*.json") for line in file.read_text().splitlines()]
    assert {(row["reason"], json.loads(row["row"])["time"]) for row in bad} == {("b", lines[7][0]), ("time", "when?")}
    for block in dataset.blocks("train"):
        hours = (block.start - np.datetime64("2025-03-01")).astype("timedelta64[h]").astype(int)
        assert all(h + stop <= 20 or h >= 30 for h, stop in zip(hours, block.own_stop, strict=True))


def test_duplicates_can_be_averaged_or_the_last_taken(spark: SparkSession, tmp_path: Path) -> None:
    lines = [*rows(("x",)), ["2025-03-01T05:00:00", "x", "15", ""]]
    path = write(tmp_path / "r.csv", lines)
    for how, expected in (("first", (5, -5)), ("last", (15, -4)), ("mean", (10, -5))):
        spec = spec_of(path, grid={"duplicates": how}, scaling={"method": "none"})
        windows = prepare(spark, spec, tmp_path / how).windows("train")
        first = windows.batch(np.flatnonzero(windows.batch(np.arange(len(windows))).start == np.datetime64("2025-03-01T00")))
        assert tuple(first.context[0, 5]) == expected, how


def test_scaling_by_series_uses_each_series_own_training_data(spark: SparkSession, tmp_path: Path) -> None:
    dataset = prepare(spark, spec_of(write(tmp_path / "r.csv", rows()), scaling={"per": "series"}), tmp_path / "d")
    centre, _ = dataset.scaling.of(["x", "y", "never seen"])
    np.testing.assert_allclose(centre[:, 0], [19.5, 119.5, 69.5])


BAD_FILES = {
    "text in a number": (
        [["2025-03-01T00", "x", "1", "oops"]],
        r"r\.csv, row 122: column 'b': expected a finite number, found 'oops'",
    ),
    "infinite": ([["2025-03-01T00", "x", "inf", "1"]], r"r\.csv, row 122: column 'a': expected a finite number, found 'inf'"),
    "beyond float32": (
        [["2025-03-01T00", "x", "1", "-3.5e38"]],
        r"r\.csv, row 122: column 'b': expected a number up to 3\.4028235e\+38, .*, found '-3\.5e38'",
    ),
    "no time": ([["32 May", "x", "1", "1"]], r"r\.csv, row 122: column 'time': expected a time such as .*found '32 May'"),
    "ragged": ([["2025-03-01T00", "x", "1"]], r"r\.csv, row 122: has too few or too many fields"),
    "duplicate": (
        [rows()[7]],
        r"series 'x' has readings on steps that already have one, the first at 2025-03-01 07:00:00 \(1 of all series\)",
    ),
}


@pytest.mark.parametrize("fault", sorted(BAD_FILES))
def test_bad_readings_are_named_with_file_row_and_column(spark: SparkSession, tmp_path: Path, fault: str) -> None:
    lines, message = BAD_FILES[fault]
    path = write(tmp_path / "r.csv", [*rows(), *lines])
    with pytest.raises(InputError, match=message):
        prepare(spark, spec_of(path), tmp_path / "d")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.csv"]


BAD_SPECS: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "no file": ({"readings": {"path": "nowhere.csv"}}, "nowhere.csv: no such file"),
    "no column": ({"readings": {"values": ["c"]}}, "no column 'c'; the columns are time, sensor, a, b"),
    "unknown format": ({"readings": {"path": __file__}}, r"neither \.csv, \.json nor \.parquet"),
    "long horizon": ({"windows": {"horizon": 50}}, r"train: no segment is long enough.*56 steps; the longest has 40"),
    "long split": ({"split": {"test": 999}}, r"split\.test: 999 would end at .*60 steps in all"),
    "split backwards": ({"split": {"validation": "2025-03-01"}}, r"split\.validation: it would end at .* before it begins"),
}


@pytest.mark.parametrize("fault", sorted(BAD_SPECS))
def test_impossible_specs_are_explained(spark: SparkSession, tmp_path: Path, fault: str) -> None:
    tables, message = BAD_SPECS[fault]
    with pytest.raises(InputError, match=message):
        prepare(spark, spec_of(write(tmp_path / "r.csv", rows()), **tables), tmp_path / "d")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.csv"]


@pytest.mark.parametrize(("text", "message"), [("", "the file is empty"), ("time,sensor,a\n", "no column of numbers|no reading")])
def test_empty_files(spark: SparkSession, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        prepare(spark, spec_of(tmp_path / "r.csv"), tmp_path / "d")


def test_a_taken_place_is_refused_and_only_a_dataset_is_replaced(
    spark: SparkSession, plain: SequenceDataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "r.csv", rows())
    with pytest.raises(InputError, match="is there already"):
        prepare(spark, spec_of(path), plain.path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all I have")
    with pytest.raises(InputError, match="not a Hindcast dataset"):
        prepare(spark, spec_of(path), mine, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "all I have"
    first = SequenceDataset.open(shutil.copytree(plain.path, tmp_path / "d"))
    second = prepare(spark, spec_of(path, windows={"horizon": 3}), tmp_path / "d", overwrite=True)
    assert (first.layout.horizon, second.layout.horizon) == (2, 3)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".d")]


def test_damage_is_found_and_named(plain: SequenceDataset, tmp_path: Path) -> None:
    dataset = SequenceDataset.open(shutil.copytree(plain.path, tmp_path / "d"))
    part = dataset.path / dataset.manifest.parts[0].path
    with part.open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=rf"{part.name}: has \d+ bytes, and the manifest says"):
        SequenceDataset.open(dataset.path)
    part.unlink()
    with pytest.raises(InputError, match="is missing"):
        SequenceDataset.open(dataset.path)
    manifest = dataset.path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"version": 2', '"version": 9'))
    with pytest.raises(InputError, match="version 9"):
        SequenceDataset.open(dataset.path)
    manifest.unlink()
    with pytest.raises(InputError, match="whose writing was cut short"):
        SequenceDataset.open(dataset.path)


@pytest.mark.data
def test_the_duplicates_and_gaps_of_real_sensors(spark: SparkSession, shared: Path, tmp_path: Path) -> None:
    nab = shared / "data" / "nab"

    def spec(name: str, duplicates: str, max_gap: str | None = None) -> Spec:
        readings = {"timestamp": "timestamp", "series": ()}
        shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
        return spec_of(nab / name, readings=readings, split=shares, grid={"duplicates": duplicates, "max_gap": max_gap})

    machine = "machine_temperature_system_failure.csv"
    with pytest.raises(InputError, match=r"on steps that already have one, .* \(12 of all series\)"):
        prepare(spark, spec(machine, "error"), tmp_path / "d")
    dataset = prepare(spark, spec(machine, "mean"), tmp_path / "machine")
    assert dataset.manifest.count("readings_duplicate") == 12
    assert dataset.step_micros == 300_000_000
    ambient = prepare(spark, spec("ambient_temperature_system_failure.csv", "error", "1h"), tmp_path / "ambient")
    assert ambient.step_micros == 3_600_000_000
    assert ambient.manifest.count("readings") == 7267
    assert ambient.manifest.count("stretches") == 11
