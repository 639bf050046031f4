"""`import hindcast as hc`: readings in any form are one dataset, and models are fitted, saved, compared and asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import hindcast as hc

ROOT = Path(__file__).resolve().parents[3]
STEPS, CONTEXT, HORIZON = 300, 24, 4
WINDOWS: dict[str, Any] = {"context": CONTEXT, "horizon": HORIZON}


def readings(first: int, steps: int) -> pd.DataFrame:
    hours = np.arange(first, first + steps)
    rng = np.random.default_rng(first)
    tables = [
        pd.DataFrame(
            {
                "time": pd.Timestamp("2025-03-01") + pd.to_timedelta(hours, "h"),
                "sensor": sensor,
                "heat": np.round(np.sin(hours * np.pi / 12 + number) + rng.normal(0, 0.1, steps), 4),
                "load": np.round(np.cos(hours * np.pi / 12 - number) + rng.normal(0, 0.1, steps), 4),
            }
        )
        for number, sensor in enumerate("pq")
    ]
    return pd.concat(tables, ignore_index=True)


FRAME = readings(0, STEPS)


@pytest.fixture(scope="module")
def dataset(spark: SparkSession) -> hc.SequenceDataset:
    return hc.prepare(FRAME, series="sensor", **WINDOWS)


@pytest.fixture(scope="module")
def model(dataset: hc.SequenceDataset) -> Any:
    return hc.fit("hmm", dataset, states=2, iterations=3, order=2)


@pytest.mark.parametrize("form", ["path", "paths", "frame with an index", "table", "spark", "polars"])
def test_readings_in_any_form_make_the_same_dataset(
    form: str, dataset: hc.SequenceDataset, spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "readings.csv"
    FRAME.to_csv(file, index=False)
    given: Any = file
    if form == "paths":
        given = [tmp_path / "p.csv", str(tmp_path / "q.csv")]
        for sensor, path in zip("pq", given, strict=True):
            FRAME[FRAME.sensor == sensor].to_csv(path, index=False)
    elif form == "frame with an index":
        given = FRAME.set_index(["sensor", "time"])
    elif form == "table":
        given = pa.Table.from_pandas(FRAME)
    elif form == "spark":
        given = spark.createDataFrame(FRAME).repartition(3)
    elif form == "polars":
        given = pytest.importorskip("polars").from_pandas(FRAME)
    made = hc.prepare(given, series=["sensor"], values=["heat", "load"], out=tmp_path / "d.seq", spark=spark, **WINDOWS)
    assert made.digest == dataset.digest
    assert made.path == tmp_path / "d.seq"


def test_tables_of_the_settings_are_taken_and_what_is_there_is_not_replaced(spark: SparkSession, tmp_path: Path) -> None:
    strange = pa.Table.from_pandas(FRAME.assign(heat=FRAME.heat.astype(str).where(FRAME.index != 3, "ERR")))
    chosen: dict[str, Any] = {"series": "sensor", "values": ["heat", "load"], "out": tmp_path / "d.seq", **WINDOWS}
    made = hc.prepare(strange, readings={"bad_rows": "quarantine"}, scaling={"per": "series"}, **chosen)
    assert made.manifest.quarantine
    assert made.manifest.spec.scaling.per == "series"
    with pytest.raises(hc.InputError, match=r"d\.seq: is there already"):
        hc.prepare(FRAME, **chosen)
    assert hc.prepare(FRAME, overwrite=True, **chosen).digest != made.digest


def test_a_model_that_was_saved_is_the_model(dataset: hc.SequenceDataset, model: Any, tmp_path: Path) -> None:
    hc.save(model, tmp_path / "hmm")
    with pytest.raises(hc.InputError, match="is there already"):
        hc.save(model, tmp_path / "hmm")
    hc.save(model, tmp_path / "hmm", overwrite=True)
    loaded = hc.load(tmp_path / "hmm")
    given = dataset.windows("test").batch([0, 1]).given
    np.testing.assert_array_equal(loaded.forecast(given).mean, model.forecast(given).mean)
    with pytest.raises(hc.InputError, match=r"object: only what `hc\.fit` or `hc\.load` gave can be saved"):
        hc.save(object(), tmp_path / "other")


class Middle:
    """The middle of the context."""

    def forecast(self, given: Any) -> hc.Forecast:
        return hc.Forecast(np.repeat(np.median(given.context, axis=1, keepdims=True), HORIZON, axis=1))


def test_models_of_every_origin_are_compared(dataset: hc.SequenceDataset, model: Any, tmp_path: Path) -> None:
    hc.save(model, tmp_path / "hmm")
    estimator = hc.hmm.GaussianHMM(2, n_iter=2, random_state=0).fit(dataset)
    models = {"fitted": model, "saved": tmp_path / "hmm", "estimator": estimator, "own": Middle()}
    found = hc.compare(dataset, models, out=tmp_path / "page", season=12)
    assert isinstance(found, hc.Comparison)
    assert set(found.rows) == {*models, "repeat-last", "seasonal-naive", "linear"}
    assert found.rows["fitted"]["mse"] == found.rows["saved"]["mse"]
    assert found.season == 12
    assert list(found.table["mse"]) == sorted(found.table["mse"])
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"report.html", "scores.json"}
    with pytest.raises(hc.InputError, match="linear"):
        hc.compare(dataset, {"linear": model})


def test_a_dataset_and_readings_in_any_form_are_forecast(
    dataset: hc.SequenceDataset, model: Any, spark: SparkSession, tmp_path: Path
) -> None:
    of_test = hc.forecast(model, dataset)
    assert len(of_test) == len(dataset.windows("test")) * HORIZON * 2
    assert "actual" in of_test.columns
    FRAME.to_csv(tmp_path / "newest.csv", index=False)
    hc.save(model, tmp_path / "hmm")
    order = ["series", "time", "channel"]
    of_frame = hc.forecast(model, FRAME).sort_values(order, ignore_index=True)
    assert len(of_frame) == 2 * HORIZON * 2
    assert of_frame.reason.isna().all()
    assert set(of_frame.issued) == {FRAME.time.max()}
    of_path = hc.forecast(tmp_path / "hmm", tmp_path / "newest.csv").sort_values(order, ignore_index=True)
    of_spark = hc.forecast(model, spark.createDataFrame(FRAME))
    assert type(of_spark).__module__.startswith("pyspark")
    for other in (of_path, of_spark.toPandas().sort_values(order, ignore_index=True)):
        pd.testing.assert_frame_equal(other, of_frame)


@pytest.mark.parametrize("form", ["path", "frame", "spark"])
def test_new_readings_join_a_dataset(form: str, spark: SparkSession, tmp_path: Path) -> None:
    dataset = hc.prepare(FRAME, series="sensor", out=tmp_path / "d.seq", **WINDOWS)
    more = readings(STEPS, 40)
    given: Any = more
    if form == "path":
        given = tmp_path / "more.csv"
        more.to_csv(given, index=False)
    elif form == "spark":
        given = spark.createDataFrame(more)
    longer = hc.append(dataset, given)
    assert len(longer.windows("test")) == len(dataset.windows("test")) + 2 * 40
    assert hc.SequenceDataset.open(tmp_path / "d.seq").digest == longer.digest
    with pytest.raises(hc.InputError, match="load"):
        hc.append(longer, more.drop(columns="load"))


def test_a_dataset_without_a_place_is_gone_when_the_process_ends(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "r.csv", index=False)
    code = (
        "import hindcast as hc; from pathlib import Path; "
        f"d = hc.prepare('r.csv', series='sensor', context={CONTEXT}, horizon={HORIZON}); print(d.location, d.path.is_dir())"
    )
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HINDCAST_CACHE": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    place, there = ran.stdout.split()
    assert there == "True"
    assert Path(place).is_relative_to(tmp_path)
    assert not Path(place).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("hindcast-") and "blocks" not in path.name] == []
