"""LSTMs in Spark's partitions: one model a series or group, and one whose weights are averaged."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pytest
from pyspark.sql import SparkSession

from hindcast.deep.inputs import inputs_of
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.training.checkpoints import State
from hindcast.deep.ways.local import train_on
from hindcast.deep.ways.partitions.averaged import Job, Share, shares_of, train_averaged, train_share
from hindcast.deep.ways.partitions.in_partitions import fit_in_partitions
from hindcast.launch.models import load
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.running import Run

STEPS = 120
GOOD = ("a/b", "../up", "ünï.cödé")
SITES = {"a/b": "north", "../up": "north", "ünï.cödé": "south", "wild": "south", "short": "north"}
QUICK = LstmSettings(units=6, batch=16, epochs=3, dropout=0.3, learning_rate=1e-2, patience=3)


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """Three good series of different levels; one of values that no loss can hold; one that is shorter than a window."""
    folder, rng = tmp_path_factory.mktemp("partitions"), np.random.default_rng(0)
    hours = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(STEPS), "s")
    with (folder / "readings.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["time", "sensor", "site", "heat"])
        for number, (name, site) in enumerate(SITES.items()):
            values = np.sin(np.arange(STEPS) / (1 + number)) + rng.normal(0, 0.1, STEPS)
            values *= 1e30 if name == "wild" else 1
            steps = 10 if name == "short" else STEPS
            out.writerows([hours[i], name, site, f"{values[i]:.4f}"] for i in range(steps))
    spec = {
        "readings": {"path": str(folder / "readings.csv"), "timestamp": "time", "series": "sensor", "values": "heat"},
        "attributes": {"values": "site"},
        "split": {"train": 80, "validation": 20, "test": 20},
        "scaling": {"method": "none"},
        "windows": {"context": 8, "horizon": 4},
    }
    return prepare(spark, Spec.model_validate(spec), folder / "data.seq")


def mean_of(forecaster: Any, dataset: SequenceDataset, name: str) -> np.ndarray:
    windows = dataset.windows("test").of_series([name])
    return forecaster.forecast(windows.batch(np.arange(len(windows))).given).mean


def test_each_series_gets_its_own_model_and_a_bad_one_is_reported(
    spark: SparkSession, dataset: SequenceDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, int]] = []
    fitted = fit_in_partitions(
        spark, dataset.location, QUICK, PartitionSettings(), on_models=lambda done, of: told.append((done, of))
    )
    assert "2 of 5 have no model: 'short': 0 training windows" in caplog.text
    assert "'wild': epoch 1, step 1: the loss is" in caplog.text
    assert told
    assert told[-1][1] == 4
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model", dataset)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {"model.json", "model.keras", "models.json", *(f"weights-{number:06d}.npz" for number in range(3))}
    index = json.loads((tmp_path / "model" / "models.json").read_text())
    assert set(index["models"]) == set(GOOD)
    assert set(index["without"]) == {"wild", "short"}

    # Each is what training on that series alone gives, and it is that one which forecasts the series.
    training = dataset.windows("train")
    for name in GOOD:
        alone = fitted_alone(dataset, name, inputs=fitted.inputs)
        np.testing.assert_allclose(mean_of(loaded, dataset, name), alone(dataset, name), atol=1e-5)
        np.testing.assert_array_equal(mean_of(loaded, dataset, name), mean_of(fitted, dataset, name))
    assert index["models"]["a/b"]["windows"] == len(training.of_series(["a/b"]))
    every = dataset.windows("test").of_series(GOOD)
    numbers = np.random.default_rng(0).permutation(len(every))
    mixed = every.batch(numbers)
    together = loaded.forecast(mixed.given).mean
    for name in GOOD:
        own = np.concatenate([mean_of(loaded, dataset, name)])
        np.testing.assert_allclose(np.sort(together[mixed.series == name], 0), np.sort(own, 0), atol=1e-6)
    with pytest.raises(InputError, match=r"series 'wild': there is no model of it: epoch 1, step \d+: the loss is"):
        mean_of(loaded, dataset, "wild")
    assert loaded.card.part.partitioned.fitted == 3
    assert loaded.parameters == 3 * sum(weight.size for weight in fitted.network.get_weights())


def fitted_alone(dataset: SequenceDataset, name: str, inputs: Any) -> Callable[[SequenceDataset, str], np.ndarray]:
    from hindcast.deep.forecaster import forecaster_of
    from hindcast.deep.training.collective import OneProcess
    from hindcast.deep.training.training import train

    training, validation = (dataset.windows(split).of_series([name]) for split in ("train", "validation"))
    forecaster = forecaster_of(train(training, validation, inputs, QUICK, OneProcess()), dataset)
    return lambda dataset, name: mean_of(forecaster, dataset, name)


def test_series_of_a_group_share_a_model(spark: SparkSession, dataset: SequenceDataset) -> None:
    quick = QUICK.model_copy(update={"epochs": 1})
    by_site = PartitionSettings(models="group", group_by="site")
    fitted: Any = fit_in_partitions(spark, dataset.location, quick, by_site)
    index = fitted.models.index
    assert set(index.models) == {"north"}
    assert set(index.without) == {"south"}
    assert index.key_of == SITES
    assert index.models["north"].windows == len(dataset.windows("train").of_series(["a/b", "../up"]))
    assert mean_of(fitted, dataset, "../up").shape[1:] == (4, 1)
    with pytest.raises(InputError, match=r"series 'ünï\.cödé': there is no model of its group 'south'"):
        mean_of(fitted, dataset, "ünï.cödé")
    with pytest.raises(InputError, match=r"partitions\.group_by: .* has no attribute 'town'; they are site"):
        fit_in_partitions(spark, dataset.location, quick, PartitionSettings(models="group", group_by="town"))


@pytest.fixture(scope="module")
def tame(spark: SparkSession, dataset: SequenceDataset) -> SequenceDataset:
    """The same without the wild series, whose loss no partition survives."""
    lines = (dataset.path.parent / "readings.csv").read_text().splitlines()
    path = dataset.path.parent / "tame.csv"
    path.write_text("\n".join(line for line in lines if ",wild," not in line) + "\n")
    readings = dataset.manifest.spec.readings.model_copy(update={"path": (str(path),)})
    return prepare(spark, dataset.manifest.spec.model_copy(update={"readings": readings}), path.with_suffix(".seq"))


def test_averaged_over_one_partition_is_training_in_one_process(spark: SparkSession, tame: SequenceDataset) -> None:
    from hindcast.deep.training.collective import OneProcess

    records: list[dict[str, float]] = []
    one = PartitionSettings(models="averaged", count=1)
    fitted = fit_in_partitions(spark, tame.location, QUICK, one, on_epoch=records.append)
    local = train_on(tame, QUICK, OneProcess())
    for got, expected in zip(fitted.network.get_weights(), local.weights, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    for got, expected in zip(records, local.history, strict=True):
        assert {**got, "seconds": 0.0} == pytest.approx({**expected, "seconds": 0.0}, rel=1e-5)
    assert fitted.card.part.best_epoch == local.best_epoch


def test_a_round_of_two_partitions_is_their_weighted_mean_and_an_empty_one_takes_no_part(
    spark: SparkSession, tame: SequenceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = QUICK.model_copy(update={"epochs": 1, "dropout": 0.0}).for_windows(8, 4)
    inputs = inputs_of(tame, tame.windows("train"), settings)
    windows = len(tame.windows("train"))
    shares = [Share(0, (0, 40), (0, 5)), Share(1, (40, 40), (5, 5)), Share(2, (40, windows), (5, 100))]
    monkeypatch.setattr("hindcast.deep.ways.partitions.averaged.shares_of", lambda dataset, count: shares)
    trained = train_averaged(spark, tame, inputs, settings, 3)
    job = Job(tame.location, tame.digest, inputs, settings)
    assert train_share(shares[1], job, State(), {}) is None
    first, second = (train_share(share, job, State(), {}) for share in (shares[0], shares[2]))
    assert first is not None
    assert second is not None
    assert (first.windows, second.windows) == (40, windows - 40)
    for got, a, b in zip(trained.weights, first.smooth, second.smooth, strict=True):
        np.testing.assert_allclose(got, (40 * a + (windows - 40) * b) / windows, atol=1e-6)
    loss = (first.total + second.total) / (first.count + second.count)
    assert trained.history[0]["loss"] == pytest.approx(loss, rel=1e-5)


def test_shares_hold_every_window_once_and_may_be_empty(tame: SequenceDataset) -> None:
    windows = len(tame.windows("train"))
    for count in (1, 2, 7, windows + 3):
        taken = [np.arange(*share.training) for share in shares_of(tame, count)]
        np.testing.assert_array_equal(np.concatenate(taken), np.arange(windows))
    whole = tame.windows("train").batch(np.arange(windows))
    part = tame.windows_between("train", 3, windows - 2)
    np.testing.assert_array_equal(part.batch(np.arange(len(part))).context, whole.context[3:-2])


def test_a_loss_that_is_no_number_names_the_partition(spark: SparkSession, dataset: SequenceDataset) -> None:
    with pytest.raises(InputError, match=r"partition \d: epoch 1, step \d+: the loss is .* series 'wild'"):
        fit_in_partitions(spark, dataset.location, QUICK, PartitionSettings(models="averaged", count=2))


def test_the_commands_fit_forecast_and_compare_one_model_a_series(run: Run, tame: SequenceDataset, tmp_path: Path) -> None:
    quick = ["--lstm.units", 4, "--lstm.epochs", 1, "--hmm.states", 2, "--hmm.iterations", 2]
    model = tmp_path / "lstm"
    status, printed = run("fit", "lstm", tame.location, "--out", model, "--cluster.on", "partitions", *quick)
    assert status == 0, printed
    status, printed = run("forecast", model, tame.location, "--out", tmp_path / "f.csv")
    assert status == 0, printed
    assert set(pa_csv.read_csv(tmp_path / "f.csv")["series"].to_pylist()) == set(GOOD)
    status, printed = run(
        "compare",
        tame.location,
        "--model",
        f"lstm={model}",
        "--fit",
        "hmm",
        "--out",
        tmp_path / "report",
        *quick[4:],
        "--compare.season",
        6,
    )
    assert status == 0, printed
    status, printed = run(
        "fit", "lstm", tame.location, "--out", model, "--cluster.on", "partitions", "--partitions.models", "group"
    )
    assert status == 2
    assert "group_by" in printed
