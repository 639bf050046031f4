"""Splits and grids end to end: whole series, embargo, rolling origins, scaling, aggregation; and nothing leaks or gets lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.grid.splits import SPLITS
from hindcast.prep.origins import prepare_origins
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

STEPS = 60


def readings(series: int = 2, steps: int = STEPS) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    hours = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(steps), "h")
    tables = [
        pd.DataFrame({"time": hours, "sensor": f"s{number}", "a": rng.normal(number, 1, steps)}) for number in range(series)
    ]
    return pd.concat(tables, ignore_index=True)


def spec_of(**tables: dict[str, Any]) -> Spec:
    base: dict[str, dict[str, Any]] = {
        "readings": {"timestamp": "time", "series": "sensor", "values": "a"},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2},
    }
    return Spec.model_validate({name: {**base.get(name, {}), **tables.get(name, {})} for name in base | tables})


def owned(dataset: SequenceDataset, split: str) -> Counter[tuple[str, int]]:
    """(series, hour) of every step that the split owns."""
    steps: Counter[tuple[str, int]] = Counter()
    for block in dataset.blocks(split):
        first = (block.start - np.datetime64("2025-03-01")).astype("timedelta64[h]").astype(int)
        for row in range(len(first)):
            hours = range(first[row] + block.own_start[row], first[row] + block.own_stop[row])
            steps.update((str(block.series[row]), hour) for hour in hours)
    return steps


def test_whole_series_are_drawn_into_splits(spark: SparkSession, tmp_path: Path) -> None:
    split = {"by": "series", "train": 0.6, "validation": 0.2, "test": 0.2}
    table = readings(series=10)
    dataset = prepare(spark, spec_of(split=split), tmp_path / "d", readings=spark.createDataFrame(table))
    found = {name: {series for series, _ in owned(dataset, name)} for name in SPLITS}
    assert {name: len(series) for name, series in found.items()} == {"train": 6, "validation": 2, "test": 2}
    trained = table[table.sensor.isin(found["train"])].a
    np.testing.assert_allclose(dataset.scaling.overall.centre[0], trained.mean())
    assert len(dataset.windows("test")) == 2 * (STEPS - 8 + 1)


def test_series_are_sent_to_the_split_that_names_them_and_others_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    split = {"by": "series", "train": ["s0"], "validation": [], "test": ["s2"]}
    frame = spark.createDataFrame(readings(series=4))
    dataset = prepare(spark, spec_of(split=split), tmp_path / "d", readings=frame)
    assert {name: {series for series, _ in owned(dataset, name)} for name in SPLITS} == {
        "train": {"s0"},
        "validation": set(),
        "test": {"s2"},
    }
    assert dataset.manifest.counts["outside"]["readings"] == 2 * STEPS
    with pytest.raises(InputError, match="there is no series 's9'"):
        prepare(spark, spec_of(split=split | {"test": ["s9"]}), tmp_path / "e", readings=frame)


def test_an_embargo_belongs_to_no_split(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame(readings())
    dataset = prepare(spark, spec_of(split={"embargo": "3h"}), tmp_path / "d", readings=frame)
    hours = {split: sorted({hour for _, hour in owned(dataset, split)}) for split in SPLITS}
    assert hours == {"train": [*range(40)], "validation": [*range(43, 50)], "test": [*range(53, 60)]}
    assert dataset.manifest.counts["outside"]["readings"] == 2 * 6


def test_rolling_origins_are_datasets_of_their_own(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame(readings())
    spec = spec_of(split={"origins": 3, "every": "5h"})
    found = prepare_origins(spark, spec, tmp_path / "d", readings=frame)
    assert [max(hour for _, hour in owned(dataset, "train")) for dataset in found] == [29, 34, 39]
    assert [min(hour for _, hour in owned(dataset, "test")) for dataset in found] == [40, 45, 50]
    alone = prepare(spark, spec_of(), tmp_path / "alone", readings=frame)
    assert found[-1].digest == alone.digest
    assert len({dataset.scaling.overall.centre for dataset in found}) == 3
    with pytest.raises(InputError, match="is there already"):
        prepare_origins(spark, spec, tmp_path / "d", readings=frame)
    with pytest.raises(InputError, match="moved 80 steps back for origin 8"):
        prepare_origins(spark, spec_of(split={"origins": 9}), tmp_path / "e", readings=frame)


@pytest.mark.parametrize("per", ["global", "series"])
def test_robust_scaling_is_by_the_quartiles_of_the_training_split(spark: SparkSession, tmp_path: Path, per: str) -> None:
    table = readings()
    dataset = prepare(
        spark, spec_of(scaling={"method": "robust", "per": per}), tmp_path / "d", readings=spark.createDataFrame(table)
    )
    for series in ("s0", "s1"):
        known = table[table.time < "2025-03-02T16"]
        known = known[known.sensor == series] if per == "series" else known
        low, middle, high = np.quantile(known.a.to_numpy(np.float32).astype(float), [0.25, 0.5, 0.75])
        centre, scale = dataset.scaling.of([series])
        np.testing.assert_allclose((centre[0, 0], scale[0, 0]), (middle, high - low), rtol=1e-12)


def test_a_series_without_training_data_is_scaled_like_all_or_refused(spark: SparkSession, tmp_path: Path) -> None:
    table = readings()
    frame = spark.createDataFrame(table[(table.sensor == "s0") | (table.time >= "2025-03-02T18")])
    scaling = {"method": "standard", "per": "series"}
    dataset = prepare(spark, spec_of(scaling=scaling), tmp_path / "d", readings=frame)
    assert dataset.scaling.of(["s1"])[0][0] == dataset.scaling.overall.centre
    with pytest.raises(InputError, match="series 's1' has no reading in the training split"):
        prepare(spark, spec_of(scaling=scaling | {"unseen": "error"}), tmp_path / "e", readings=frame)


def test_aggregation_equals_pandas(spark: SparkSession, tmp_path: Path) -> None:
    table = readings(series=1, steps=600)
    table["time"] = pd.Timestamp("2025-03-01T00:07") + pd.to_timedelta(np.arange(600) * 13, "min")
    for name in ("low", "high", "total", "n", "latest"):
        table[name] = table.a
    rules = {"a": "mean", "low": "min", "high": "max", "total": "sum", "n": "count", "latest": "last"}
    spec = spec_of(
        readings={"values": list(rules)},
        grid={"step": "1h", "aggregate": rules},
        split={"train": 1.0, "validation": 0.0, "test": 0.0},
        scaling={"method": "none"},
    )
    dataset = prepare(spark, spec, tmp_path / "d", readings=spark.createDataFrame(table))
    expected = table.set_index("time")[list(rules)].resample("1h").agg(rules)
    found = np.full(expected.shape, np.nan)
    for block in dataset.blocks("train"):
        first = (block.start - np.datetime64("2025-03-01")).astype("timedelta64[h]").astype(int)
        for row in range(len(first)):
            found[first[row] : first[row] + block.own_stop[row]] = block.values[row, : block.own_stop[row]]
    np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-6)


def test_a_change_of_clocks_is_neither_a_gap_nor_a_duplicate(spark: SparkSession, tmp_path: Path) -> None:
    """In spring and in autumn, of which each is a series here."""
    for name, day in (("spring", "2025-03-30"), ("autumn", "2025-10-26")):
        utc = pd.date_range(pd.Timestamp(day) - pd.Timedelta("1D"), periods=72, freq="h", tz="UTC")
        local = utc.tz_convert("Europe/Berlin").tz_localize(None).strftime("%d.%m.%Y %H:%M")
        pd.DataFrame({"when": local, "sensor": name, "a": np.arange(72.0)}).to_csv(tmp_path / f"{name}.csv", index=False)
    told = {"timestamp": "when", "timestamp_format": "dd.MM.yyyy HH:mm", "time_zone": "Europe/Berlin"}
    spec = spec_of(
        readings={"path": str(tmp_path / "*.csv"), **told},
        scaling={"method": "none"},
        split={"by": "series", "train": ["spring"], "validation": [], "test": ["autumn"]},
        windows={"context": 2},
    )
    dataset = prepare(spark, spec, tmp_path / "d")
    for split in ("train", "test"):
        counts = dataset.manifest.counts[split]
        named = ("readings", "stretches", "readings_duplicate", "values_filled")
        assert [counts.get(name, 0) for name in named] == [72, 1, 0, 0], split
        values = {}
        for block in dataset.blocks(split):
            for row, start in enumerate(block.start):
                owned = slice(block.own_start[row], block.own_stop[row])
                values |= {start + step * np.timedelta64(1, "h"): block.values[row, step, 0] for step in range(72)[owned]}
        assert [values[time] for time in sorted(values)] == list(range(72)), split


def stated(dataset: SequenceDataset, split: str) -> dict[str, Any]:
    """What the manifest says of a split and of the whole, but for names of files."""
    manifest = dataset.manifest.model_dump(exclude={"parts", "tail", "quarantine", "counts", "digests"})
    kept = {"counts": dataset.manifest.counts[split], "digest": dataset.manifest.digests[split]}
    return manifest | kept


def with_states() -> pd.DataFrame:
    table = readings()
    return table.assign(state=np.where(np.arange(len(table)) % 4 == 0, "on", "off"))


WITH_STATES: dict[str, dict[str, Any]] = {
    "readings": {"values": ["a", "state"], "categories": "state"},
    "grid": {"fill": "linear"},
    "scaling": {"method": "robust", "per": "series"},
}


@pytest.fixture(scope="module")
def unchanged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    frame = spark.createDataFrame(with_states())
    return prepare(spark, spec_of(**WITH_STATES), tmp_path_factory.mktemp("leak") / "d", readings=frame)


@pytest.mark.parametrize("border", [40, 50])
def test_a_value_after_a_border_changes_nothing_before_it(
    spark: SparkSession, unchanged: SequenceDataset, tmp_path: Path, border: int
) -> None:
    """Neither a number that is far off nor one that is missing."""
    table, rng = with_states(), np.random.default_rng(border)
    chosen = (table.time >= pd.Timestamp("2025-03-01") + pd.Timedelta(border, "h")) & (rng.random(len(table)) < 0.4)
    missing = rng.random(len(table)) < 0.5
    assert (chosen & missing).any()
    assert (chosen & ~missing).any()
    table.loc[chosen & missing, ["a", "state"]] = float("nan"), "new"
    table.loc[chosen & ~missing, ["a", "state"]] = 1e9, "new"
    changed = prepare(spark, spec_of(**WITH_STATES), tmp_path / "d", readings=spark.createDataFrame(table))
    for split in SPLITS[: 1 if border == 40 else 2]:
        assert stated(changed, split) == stated(unchanged, split)


# Each prepares a dataset, of a hundred readings with every fault of a reading among them.
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=3776, duplicates="first", fill="none")  # the first hour is not among the readings
@given(seed=st.integers(0, 10**6), duplicates=st.sampled_from(["first", "mean"]), fill=st.sampled_from(["none", "previous"]))
def test_every_reading_is_stored_or_counted_by_name(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seed: int, duplicates: str, fill: str
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    rng = np.random.default_rng(seed)
    table = readings()
    table["b"] = np.where(rng.random(len(table)) < 0.1, np.nan, 1.0)
    table = pd.concat([table[rng.random(len(table)) > 0.15], table.sample(7, random_state=seed)])
    text = table.assign(a=table.a.astype(str))
    text.loc[rng.random(len(text)) < 0.05, "a"] = "ERR"
    text.to_csv(folder / "r.csv", index=False)
    spec = spec_of(
        readings={"path": str(folder / "r.csv"), "values": ["a", "b"], "bad_rows": "quarantine"},
        grid={"duplicates": duplicates, "fill": fill, "step": "1h"},
        split={"train": 28, "validation": 14, "test": 14, "embargo": 2},
        windows={"context": 1, "horizon": 1},
    )
    dataset = prepare(spark, spec, folder / "d")
    counts = dataset.manifest.counts
    assert dataset.manifest.count("readings") + dataset.manifest.count("rows_quarantined") == len(text)
    for split in SPLITS:
        named = ("readings_duplicate", "readings_empty", "readings_kept", "readings_unfilled")
        assert counts[split]["readings"] == sum(counts[split].get(name, 0) for name in named), split
        steps = owned(dataset, split)
        assert set(steps.values()) <= {1}
        assert len(steps) == counts[split]["steps"]
    windows = {split: dataset.windows(split) for split in SPLITS}
    for split, every in windows.items():
        if len(every):
            batch = every.batch(np.arange(len(every)))
            # Of the grid, which begins with the first reading that is there.
            first = (batch.start - np.datetime64(dataset.manifest.origin_micros, "us")).astype("timedelta64[h]").astype(int)
            border = dataset.manifest.borders[split]
            assert first.min() >= (border.start if split == "train" else border.start - 1)
            assert first.max() + 2 <= border.stop
