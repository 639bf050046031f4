"""Forecasts of the readings in a DataFrame: those of the prepared dataset, in any order and number of parts; or why not."""

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
from pyspark.sql import SparkSession

from hindcast.classical.hmm.from_settings import fit_hmm
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.launch.forecasts.of_frames import forecast_readings
from hindcast.launch.forecasts.shipping import load_shipped
from hindcast.launch.models import load_any
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.latest.incoming import readings_by_series
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.compiling import compiled

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
    fit_hmm(dataset, chosen).save(folder, overwrite=True)
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
    types = {"time": "string", "sensor": "string"}
    schema = ", ".join(
        f"{name} {types.get(name, 'string' if table[name].dtype == object else 'double')}" for name in shown.columns
    )
    return spark.createDataFrame(rows, schema).repartition(parts)


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
    assert len({issued for issued, _, _ in right.values()}) == 1
    for seed, parts in ((1, 1), (2, 5)):
        with compiled(spark):
            found, bad = forecasts(model, frame_of(spark, table.sample(frac=1, random_state=seed), parts))
        assert not bad
        must_agree(found, right)


def test_of_two_readings_of_a_time_the_one_that_preparation_takes_counts(spark: SparkSession, tmp_path: Path) -> None:
    table = fleet()
    again = table.iloc[::7].assign(heat=lambda rows: rows.heat * 3)
    both = pd.concat([table, again], ignore_index=True)
    spec = spec_of(grid={"duplicates": "last"}, calendar={"features": ["hour"]}, windows={"lead": 2})
    dataset = prepare(spark, spec, tmp_path / "d.seq", readings=frame_of(spark, both, 1))
    model = model_of(dataset, tmp_path / "hmm", emission="diagonal")
    right = expected(model, dataset)
    found, bad = forecasts(model, frame_of(spark, known_at(both, right), 1))
    assert not bad
    must_agree(found, right)
    first = forecast_readings(model, frame_of(spark, table, 1)).agg({"step": "min"}).first()
    assert first is not None
    assert first[0] == 3


def test_what_cannot_be_forecast_is_there_with_the_reason(spark: SparkSession, model: Path, dataset: SequenceDataset) -> None:
    right = expected(model, dataset)
    table = known_at(fleet(), right)
    p = table[table.sensor == "p"]
    table = pd.concat(
        [
            table,
            p.assign(sensor="short").tail(CONTEXT // 2),
            p.assign(sensor="gap").drop(p.index[-12:-6]),
            p.assign(sensor="twice"),
            p[-3:].assign(sensor="twice"),
            p.assign(sensor="ended", load=p.load.where(np.arange(len(p)) < len(p) - 8)),
        ]
    )
    frame = frame_of(spark, table)
    words = frame_of(
        spark,
        p.assign(sensor="words").astype({"heat": str}).tail(CONTEXT + 9).replace({"heat": {p.heat.iloc[-2].astype(str): "hot"}}),
    )
    nameless = frame_of(spark, p.tail(2).assign(sensor=None))
    text = frame.withColumn("heat", frame.heat.cast("string"))
    found, bad = forecasts(model, text.unionByName(words).unionByName(nameless.withColumn("heat", nameless.heat.cast("string"))))
    must_agree(found, right)
    assert bad == {
        "short": f"fewer than {CONTEXT} steps of readings, the context",
        "gap": f"a gap longer than 4h in the last {CONTEXT} steps",
        "twice": "two readings of one time",
        "ended": "no reading of load at the end, for 4h or longer",
        "words": "a reading whose heat is not understood",
        None: "readings whose sensor is not understood",
    }


def test_readings_of_other_columns_are_refused_in_a_line(spark: SparkSession, model: Path) -> None:
    frame = spark.createDataFrame([("2025-03-01", "p", 1.0, 2.0)], "time string, sensor string, cold double, wind double")
    with pytest.raises(InputError, match=r"^the DataFrame: no columns 'heat', 'load'; the columns are time, sensor, cold, wind$"):
        forecast_readings(model, frame)
    frame = spark.createDataFrame(
        [("2025-03-01", "p", 1.0, [2.0])], "time string, sensor string, heat double, load array<double>"
    )
    with pytest.raises(InputError, match="column 'load' is of type array<double>; numbers were expected"):
        forecast_readings(model, frame)


def test_models_that_cannot_forecast_readings_are_refused_in_a_line(spark: SparkSession, model: Path, tmp_path: Path) -> None:
    frame = frame_of(spark, fleet().head(3))

    def changed(name: str, kind: str = "hmm", **data: Any) -> Path:
        shutil.copytree(model, tmp_path / name)
        card = json.loads((tmp_path / name / "model.json").read_text())
        card |= {"kind": kind, "data": card["data"] | data}
        (tmp_path / name / "model.json").write_text(json.dumps(card))
        return tmp_path / name

    card = json.loads((model / "model.json").read_text())
    joined = card["data"]["preparation"] | {"joined": ["wind"]}
    (changed("damaged") / "parameters.json").write_text('{"class": "Hidden')
    (changed("no zip", kind="lstm") / "model.keras").write_bytes(b"PK half")
    for folder, message in (
        (changed("older", preparation=None), "was written by an earlier Hindcast"),
        (tmp_path / "damaged", "damaged/parameters.json: not the parameters of a model, or damaged"),
        (tmp_path / "no zip", "no zip/model.keras: not a Keras model of Hindcast, or damaged"),
        (changed("no network", kind="lstm"), "has a model.json and no network"),
        (tmp_path, "not a Hindcast model"),
        (tmp_path / "nowhere", "no such model"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            forecast_readings(folder, frame)
        assert len(str(refused.value).splitlines()) == 1
    (changed("joined", kind="lstm", covariates=True, preparation=joined) / "model.keras").write_bytes(EMPTY_ZIP)
    with pytest.raises(InputError, match=r"was fitted with covariates of a second table \(wind\)"):
        forecast_readings(tmp_path / "joined", frame)
    assert "wind" not in forecast_readings(changed("no matter", preparation=joined), frame).columns


def test_readings_are_cut_by_their_size(spark: SparkSession, dataset: SequenceDataset, tmp_path: Path) -> None:
    fleet().to_csv(tmp_path / "readings.csv", index=False)
    assert dataset.preparation is not None
    found = readings_by_series(spark, [str(tmp_path / "readings.csv")], dataset.preparation)
    assert found.rdd.getNumPartitions() == 2 * spark.sparkContext.defaultParallelism


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


def test_a_model_is_loaded_once_a_worker_and_another_fit_is_another_model(
    spark: SparkSession, dataset: SequenceDataset, tmp_path: Path
) -> None:
    def loads(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "loads": [load_shipped.cache_info().misses]}, SCHEMA)

    def counted() -> dict[int, int]:
        rows = spark.range(64).repartition(16).mapInArrow(loads, "pid long, loads long").collect()
        return {row["pid"]: row["loads"] for row in rows}

    frame = frame_of(spark, pd.concat([fleet().head(200).assign(sensor=f"s{number}") for number in range(20)]), 4)
    # One that no test before has had loaded: a copy of such a one would be the same model.
    folder = model_of(dataset, tmp_path / "hmm", seed=5, order=1, states=2)
    # It would make one partition of so little.
    few = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "8"}
    for name, value in few.items():
        spark.conf.set(name, value)
    try:
        before = counted()
        assert forecast_readings(folder, frame).where("reason is null").count() == 20 * 2 * HORIZON
        again = forecast_readings(folder, frame)
        assert again.count() == again.count()
        after = counted()
        assert sum(after.values()) > sum(before.values())
        # Of a worker that was not asked before, nobody knows how many models other tests had it load.
        assert all(count - before[pid] <= 1 for pid, count in after.items() if pid in before)
        other = model_of(dataset, folder, seed=1, order=1, states=3)
        means = {
            row["series"]: row["mean"] for row in forecast_readings(other, frame).where("step = 1 and channel = 'heat'").collect()
        }
        assert means != {row["series"]: row["mean"] for row in again.where("step = 1 and channel = 'heat'").collect()}
    finally:
        for name in few:
            spark.conf.unset(name)


SCHEMA = pa.schema([("pid", pa.int64()), ("loads", pa.int64())])
