"""New readings join a dataset: together they are what one preparation would have made, and nothing is written again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from petastorm import make_reader
from pyspark.sql import SparkSession

from hindcast.prep.appending import append
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.grid.splits import SPLITS
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.compiling import compiled
from tests.spark.running import Run

STEPS, KNOWN = 90, 60


def readings() -> pd.DataFrame:
    """Two series with holes, one of them where the first 60 hours end, labels and a category."""
    rng = np.random.default_rng(0)
    tables = []
    for sensor in ("x", "y"):
        values = rng.normal(size=(STEPS, 2)).round(3)
        values[rng.random((STEPS, 2)) < 0.1] = np.nan
        table = pd.DataFrame(values, columns=["a", "b"])
        table["time"] = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(STEPS), "h")
        table["sensor"], table["state"] = sensor, rng.choice(["on", "off"], STEPS)
        table["fault"] = (rng.random(STEPS) < 0.2).astype(int)
        tables.append(table.drop(index=[20, 21, 22, 23, 24, 70]))
    tables[0].loc[tables[0].index.isin([58, 59]), "a"] = np.nan
    return pd.concat(tables, ignore_index=True)


def spec_of(path: Path, test: int, **tables: dict[str, Any]) -> Spec:
    named = {"timestamp": "time", "series": "sensor", "values": ["a", "b", "state"], "categories": "state", "labels": "fault"}
    base: dict[str, dict[str, Any]] = {
        "readings": {"path": str(path), **named},
        "split": {"train": 40, "validation": 10, "test": test},
        "windows": {"context": 6, "horizon": 2},
        "calendar": {"features": ["hour"]},
    }
    return Spec.model_validate({name: {**base.get(name, {}), **tables.get(name, {})} for name in base | tables})


def windows_of(dataset: SequenceDataset) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for split in SPLITS:
        windows = dataset.windows(split)
        batch = windows.batch(np.arange(len(windows)))
        fields = (batch.context, batch.target, batch.context_observed, batch.covariates, batch.known, batch.labels)
        for row in range(len(windows)):
            found[split, batch.series[row], str(batch.start[row]), *(field[row].tobytes() for field in fields)] += 1
    return found


def owned(dataset: SequenceDataset) -> Counter[tuple[Any, ...]]:
    steps: Counter[tuple[Any, ...]] = Counter()
    for split in SPLITS:
        for block in dataset.blocks(split):
            for row in range(len(block.series)):
                for step in range(block.own_start[row], block.own_stop[row]):
                    time = block.start[row] + step * np.timedelta64(1, "h")
                    steps[split, str(block.series[row]), str(time), block.values[row, step].tobytes()] += 1
    return steps


# Windows of every step in rows of a length of Hindcast's choice: `test_whatever_is_appended_…`.
@pytest.mark.parametrize("windows", [{"stride": 4, "lead": 1, "min_observed": 0.8}, {"windows_per_row": 1}])
def test_appended_readings_make_what_one_preparation_makes(spark: SparkSession, tmp_path: Path, windows: dict[str, Any]) -> None:
    table = readings()
    table.to_csv(tmp_path / "all.csv", index=False)
    early = table.time < "2025-03-03T12"
    table[early].to_csv(tmp_path / "early.csv", index=False)
    table[~early].to_csv(tmp_path / "late.csv", index=False)
    whole = prepare(spark, spec_of(tmp_path / "all.csv", 40, windows=windows), tmp_path / "whole")
    assert all(len(whole.windows(split)) for split in SPLITS)
    first = prepare(spark, spec_of(tmp_path / "early.csv", 10, windows=windows), tmp_path / "grown")
    before = {part.path: ((first.path / part.path).stat().st_ino, part.sha256) for part in first.manifest.parts}
    with compiled(spark):
        both = append(spark, tmp_path / "grown", str(tmp_path / "late.csv"))
    assert windows_of(both) == windows_of(whole)
    assert owned(both) == owned(whole)
    assert both.scaling == first.scaling
    assert {
        part.path: ((both.path / part.path).stat().st_ino, part.sha256) for part in both.manifest.parts if part.path in before
    } == before
    for name in ("readings", "readings_kept", "readings_unfilled", "values_filled", "windows", "steps", "stretches"):
        assert both.manifest.count(name) == whole.manifest.count(name), name
    assert both.manifest.borders == whole.manifest.borders
    with make_reader(both.path.as_uri(), reader_pool_type="dummy") as reader:
        assert sum(1 for _ in reader) == sum(sum(part.rows) for part in both.manifest.parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "early.csv", "grown", "late.csv", "whole"]


def test_late_readings_are_counted_new_series_are_scaled_and_new_words_are_missing(spark: SparkSession, tmp_path: Path) -> None:
    table = readings()
    early = table.time < "2025-03-03T12"
    table[early].to_csv(tmp_path / "early.csv", index=False)
    dataset = prepare(spark, spec_of(tmp_path / "early.csv", 10, scaling={"per": "series"}), tmp_path / "d")
    new = table[(table.sensor == "x") & (table.time >= "2025-03-03T10")].assign(fault=7)
    new.loc[new.time == "2025-03-03T13", "state"] = "melting"
    stranger = table[table.sensor == "y"].assign(sensor="z")
    grown = append(spark, dataset.path, spark.createDataFrame(pd.concat([new, stranger]).astype({"time": "datetime64[ns]"})))
    assert grown.manifest.counts["outside"]["readings_late"] == 2
    assert grown.manifest.counts["test"]["values_of_unknown_category"] == 1
    assert grown.manifest.labels[0].vocabulary is not None
    assert grown.manifest.labels[0].vocabulary.words == ("0", "1", "7")
    centre, _ = grown.scaling.of(["z"])
    np.testing.assert_array_equal(centre[0], grown.scaling.overall.centre)
    assert {str(series) for block in grown.blocks("train") for series in block.series} == {"x", "y", "z"}


def test_other_channels_are_refused_and_the_dataset_stays(spark: SparkSession, tmp_path: Path) -> None:
    table = readings()
    table.to_csv(tmp_path / "all.csv", index=False)
    readings_ = {"values": (), "categories": {}, "labels": ()}
    dataset = prepare(spark, spec_of(tmp_path / "all.csv", 40, readings=readings_), tmp_path / "d")
    table[["time", "sensor", "a"]].to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(InputError, match=r"less\.csv: expected the dataset's channels a, b, fault, found a"):
        append(spark, dataset.path, str(tmp_path / "less.csv"))
    assert SequenceDataset.open(dataset.path).digest == dataset.digest


HUNDRED = pd.DataFrame({"time": pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(100), "h"), "x": np.arange(100.0)})


def steps_of(dataset: SequenceDataset) -> list[tuple[str, float]]:
    """(series, value of x in its own units) of every step that a row owns, in the order of time."""
    found = []
    for split in SPLITS:
        for block in dataset.blocks(split):
            centre, scale = dataset.scaling.of(block.series)
            for row, (begin, end) in enumerate(zip(block.own_start, block.own_stop, strict=True)):
                for step in range(begin, end):
                    time = block.start[row] + step * np.timedelta64(1, "h")
                    value = block.values[row, step, 0] * scale[row, 0] + centre[row, 0]
                    found.append((time, str(block.series[row]), round(float(value), 3)))
    return [(series, value) for _, series, value in sorted(found)]


def test_a_file_of_another_name_goes_on_with_the_only_series(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user types it."""
    monkeypatch.chdir(tmp_path)
    HUNDRED[:80].to_csv("etth1.csv", index=False)
    HUNDRED[75:].to_csv("newer.csv", index=False)
    Path("etth1.toml").write_text('[readings]\npath = "etth1.csv"\ntimestamp = "time"\n[windows]\ncontext = 4\nhorizon = 2\n')
    assert run("prep", "etth1.toml", "etth1.seq")[0] == 0
    status, printed = run("append", "etth1.seq", "newer.csv")
    assert status == 0, printed
    assert "readings appended too late, left out 0 0 0 5 5" in [" ".join(line.split()) for line in printed.splitlines()]
    dataset = SequenceDataset.open("etth1.seq")
    assert steps_of(dataset) == [("etth1", float(step)) for step in range(100)]
    assert dataset.manifest.counts["test"]["series"] == 1


@pytest.mark.parametrize("first", ["a file", "several files", "a DataFrame"])
def test_whatever_is_appended_without_a_column_for_it_is_of_the_only_series(
    spark: SparkSession, tmp_path: Path, first: str
) -> None:
    """Scaled as that is, with its attributes: files of any name, several of them, or a DataFrame."""
    parts = {"a": HUNDRED[:30], "b": HUNDRED[30:60], "c": HUNDRED[60:70], "d": HUNDRED[70:80], "e": HUNDRED[60:80]}
    for name, rows in parts.items():
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    name = "a" if first == "a file" else "readings"
    pd.DataFrame({"series": [name], "height": [3.5]}).to_csv(tmp_path / "heights.csv", index=False)
    known = 30 if first == "a file" else 60
    paths = {"a file": ["a"], "several files": ["a", "b"], "a DataFrame": []}[first]
    spec = Spec.model_validate(
        {
            "readings": {"path": [str(tmp_path / f"{file}.csv") for file in paths], "timestamp": "time", "values": "x"},
            "attributes": {"path": str(tmp_path / "heights.csv"), "values": "height"},
            "scaling": {"per": "series", "unseen": "error"},
            "split": {"train": 20, "validation": 0, "test": known - 20},
            "windows": {"context": 4, "horizon": 2},
        }
    )
    given = None if paths else spark.createDataFrame(HUNDRED[:60].astype({"time": "datetime64[ns]"}))
    dataset = prepare(spark, spec, tmp_path / "d", readings=given)
    for files in ["b", "dc"] if first == "a file" else ["e"]:
        append(spark, dataset.path, [str(tmp_path / f"{file}.csv") for file in files])
    grown = append(spark, dataset.path, spark.createDataFrame(HUNDRED[80:].astype({"time": "datetime64[ns]"})))
    assert steps_of(grown) == [(name, float(step)) for step in range(100)]
    assert {float(height) for split in SPLITS for block in grown.blocks(split) for height in block.attributes[:, 0]} == {3.5}
    assert len(grown.windows("test")) == 100 - 20 - 2 + 1
