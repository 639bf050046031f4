"""Forecasts of the readings in a DataFrame: those of the prepared dataset, in any order and number of parts; the rest, with why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from classical.hmm.fitting import fit_hmm
from classical.hmm.saving import forecaster_of, save
from classical.hmm.settings import HmmSettings
from launch.batch import forecast_readings
from launch.models import load_any
from launch.shipping import loaded
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.pipeline import prepare
from prep.spec import Spec

STEPS, CONTEXT, HORIZON = 240, 24, 4
SENSORS = ("p", "q", "r")


def fleet() -> pd.DataFrame:
    """Three sensors with units of their own, hourly; single readings and values are missing, and times are some minutes off."""
    rng = np.random.default_rng(0)
    tables = []
    for number, sensor in enumerate(SENSORS):
        wave = np.sin(np.arange(STEPS)[:, None] / (3 + np.arange(2))) + rng.normal(0, 0.2, (STEPS, 2))
        table = pd.DataFrame(10**number * (wave + 5), columns=["heat", "load"]).round(4)
        table["time"] = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(STEPS) * 60 + rng.integers(-9, 9, STEPS), "min")
        table["sensor"] = sensor
        table.loc[rng.choice(STEPS - 10, 9, replace=False), "load"] = np.nan
        tables.append(table.drop(index=rng.choice(np.arange(1, STEPS - 10), 9, replace=False)))
    return pd.concat(tables, ignore_index=True)


def spec_of(**tables: dict[str, Any]) -> Spec:
    base: dict[str, dict[str, Any]] = {
        "readings": {"timestamp": "time", "series": "sensor", "time_zone": "Europe/Berlin"},
        "grid": {"step": "1h", "fill": "linear", "max_gap": "4h"},
        "scaling": {"per": "series"},
        "windows": {"context": CONTEXT, "horizon": HORIZON},
    }
    return Spec.model_validate({name: base.get(name, {}) | tables.get(name, {}) for name in base | tables})


def model_of(dataset: SequenceDataset, folder: Path, **settings: Any) -> Path:
    chosen = HmmSettings(**({"states": 2, "iterations": 3, "order": 3} | settings))
    save(forecaster_of(fit_hmm(dataset, chosen), dataset), folder, overwrite=True)
    return folder


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return prepare(spark, spec_of(), tmp_path_factory.mktemp("batch") / "fleet.seq", readings=frame_of(spark, fleet()))


@pytest.fixture(scope="module")
def model(dataset: SequenceDataset) -> Path:
    return model_of(dataset, dataset.path.with_name("hmm"))


def expected(model: Path, dataset: SequenceDataset) -> dict[str, tuple[pd.Timestamp, np.ndarray, np.ndarray]]:
    """series → the time at which its last test window was issued, mean and deviation (horizon, channels) in sensor units."""
    windows = dataset.windows("test")
    batch = windows.batch(np.arange(len(windows)))
    forecast = load_any(model).forecast(batch.given).in_units(*dataset.scaling.of(batch.series))
    assert forecast.deviation is not None
    issued = batch.start + (dataset.layout.context - 1) * np.timedelta64(dataset.step_micros, "us")
    last = {str(name): np.flatnonzero(batch.series == name)[issued[batch.series == name].argmax()] for name in set(batch.series)}
    return {name: (pd.Timestamp(issued[row]), forecast.mean[row], forecast.deviation[row]) for name, row in last.items()}


def known_at(table: pd.DataFrame, ends: dict[str, Any]) -> pd.DataFrame:
    """The readings whose step is not after the time at which each series' forecast is issued. Their times are Berlin's."""
    utc = table.time.dt.tz_localize("Europe/Berlin").dt.tz_convert("UTC").dt.tz_localize(None)
    until = table.sensor.map({name: end[0] for name, end in ends.items()})
    return table[utc < until + pd.Timedelta("30min")]


def frame_of(spark: SparkSession, table: pd.DataFrame, parts: int = 3) -> Any:
    """Times as text: local, as the model's readings were."""
    shown = table.assign(time=table.time.dt.strftime("%Y-%m-%dT%H:%M:%S"))
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in shown.itertuples(index=False)]
    return spark.createDataFrame(rows, list(shown.columns)).repartition(parts)


def forecasts(model: Path, frame: Any) -> tuple[dict[str, tuple[Any, np.ndarray, np.ndarray]], dict[str | None, str]]:
    """As `expected`, and series → reason of those that were not forecast."""
    table = forecast_readings(model, frame).toPandas()
    good, bad = table[table.reason.isna()], table[table.reason.notna()]
    assert bad["mean"].isna().all()
    found = {}
    for name, rows in good.groupby("series"):
        rows = rows.sort_values(["step", "channel"])
        assert ((rows.time - rows.issued) == rows.step * pd.Timedelta("1h")).all()
        shape = (rows.step.nunique(), rows.channel.nunique())
        assert rows.issued.nunique() == 1
        found[name] = (rows.issued.iloc[0], *(rows[n].to_numpy().reshape(shape) for n in ("mean", "deviation")))
    return found, dict(zip(bad.series, bad.reason, strict=True))


def must_agree(found: dict[str, Any], right: dict[str, Any]) -> None:
    assert found.keys() == right.keys()
    for name, (issued, mean, deviation) in right.items():
        assert found[name][0] == issued
        np.testing.assert_allclose(found[name][1], mean, rtol=2e-6)
        np.testing.assert_allclose(found[name][2], deviation, rtol=2e-6)


def test_readings_are_forecast_as_the_last_windows_of_their_dataset(
    spark: SparkSession, model: Path, dataset: SequenceDataset
) -> None:
    right = expected(model, dataset)
    table = known_at(fleet(), right)
    shuffled = table.sample(frac=1, random_state=1)
    found, bad = forecasts(model, frame_of(spark, shuffled))
    assert not bad
    must_agree(found, right)
