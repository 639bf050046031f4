"""Hidden Markov models of a prepared dataset: fitted on Spark and locally, saved, described."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from hindcast.classical.hmm import AutoregressiveHMM
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.forecast import HmmForecaster
from hindcast.classical.hmm.from_settings import fit_hmm
from hindcast.classical.hmm.gpu import placing
from hindcast.classical.hmm.saving import PARAMETERS, load, save
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.classical.hmm.states.states import decode_stretch, describe_states
from hindcast.forecasting.card import CARD
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

STEPS, SPLIT = 400, {"train": 280, "validation": 60, "test": 60}


def write_fleet(path: Path) -> Path:
    """Three sensors of two channels with two regimes, units of their own, and a gap in one."""
    truth = AutoregressiveHMM(2, 1)
    truth.startprob_, truth.transmat_ = np.array([0.5, 0.5]), np.array([[0.95, 0.05], [0.05, 0.95]])
    truth.intercepts_, truth.weights_ = np.zeros((2, 2)), np.array([[[0.9], [0.5]], [[-0.9], [0.5]]])
    truth.variances_ = np.array([[0.1, 0.2], [0.1, 1.0]])
    times = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(STEPS), "s")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "sensor", "a", "b"])
        for number, sensor in enumerate("xyz"):
            readings, _ = truth.sample(STEPS, random_state=number)
            for step, (a, b) in enumerate(readings):
                if not (sensor == "y" and 100 <= step < 110):
                    writer.writerow([times[step], sensor, 100 + 10 * number + 5 * a, -3 + b])
    return path


def dataset_of(spark: SparkSession, folder: Path, split: dict[str, int] = SPLIT, **windows: Any) -> SequenceDataset:
    tables = {
        "readings": {"path": str(write_fleet(folder / "fleet.csv")), "timestamp": "time", "series": "sensor"},
        "scaling": {"per": "series"},
        "split": split,
        "windows": {"context": 12, "horizon": 3, "windows_per_row": 20, **windows},
    }
    return prepare(spark, Spec.model_validate(tables), folder / "fleet.seq")


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return dataset_of(spark, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def fitted(dataset: SequenceDataset) -> Estimator:
    return fit_hmm(dataset, HmmSettings(states=2, order=2, iterations=40))


def arrays(fitted: Estimator) -> dict[str, np.ndarray]:
    model = fitted.parameters_
    return {"start": model.start, "transition": model.transition, **model.emission.arrays()}


@pytest.mark.parametrize(
    ("emission", "spreads"), [("autoregressive", (1, 2, 3)), ("full", (3,)), ("tied", (3,)), ("mixture", (3,)), ("student", (3,))]
)
def test_spark_on_k_partitions_is_the_local_fit(
    spark: SparkSession, dataset: SequenceDataset, emission: Any, spreads: tuple[int, ...]
) -> None:
    settings = HmmSettings(emission=emission, states=2, order=2, iterations=4, tolerance=0.0)
    seen: list[int] = []
    local = fit_hmm(dataset, settings, on_iteration=lambda iteration, _: seen.append(iteration))
    assert seen == [1, 2, 3, 4]
    for partitions in spreads:
        spread = fit_hmm(dataset, settings, spark=spark, partitions=partitions)
        np.testing.assert_allclose(spread.history_.log_likelihood, local.history_.log_likelihood, rtol=1e-12)
        for name, array in arrays(local).items():
            np.testing.assert_allclose(arrays(spread)[name], array, rtol=1e-8, atol=1e-10, err_msg=name)
        assert spread.history_.count == local.history_.count
        assert all(seconds > 0 for seconds in spread.history_.cpu_seconds)


def test_gpus_fit_what_processors_fit(spark: SparkSession, tmp_path: Path) -> None:
    dataset = dataset_of(spark, tmp_path, split={"train": 20, "validation": 10, "test": 10})  # simulated GPUs are slow
    settings = HmmSettings(emission="diagonal", states=2, iterations=2, tolerance=0.0)
    expected, found = fit_hmm(dataset, settings), fit_hmm(dataset, settings, spark=spark, gpus=True)
    np.testing.assert_allclose(found.history_.log_likelihood, expected.history_.log_likelihood, rtol=1e-12)
    for name, array in arrays(expected).items():
        np.testing.assert_allclose(arrays(found)[name], array, rtol=1e-8, atol=1e-10, err_msg=name)
    assert found.monitor_.notes == expected.monitor_.notes
    assert not placing._resident.sequences


def test_processors_take_what_gpus_have_no_kernels_for(dataset: SequenceDataset) -> None:
    settings = HmmSettings(emission="student", states=2, iterations=2, tolerance=0.0)
    assert any(
        "taken by processors: GPUs have kernels for" in note for note in fit_hmm(dataset, settings, gpus=True).monitor_.notes
    )


def test_no_gpu_where_one_was_asked_for(dataset: SequenceDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hindcast.classical.hmm.gpu.placing.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="a GPU was asked for, and numba sees none here"):
        fit_hmm(dataset, HmmSettings(emission="diagonal", iterations=2), gpus=True)


def test_a_fit_with_restarts_goes_on_where_it_was_killed(spark: SparkSession, dataset: SequenceDataset, tmp_path: Path) -> None:
    settings = HmmSettings(emission="diagonal", states=3, restarts=3, iterations=12, tolerance=0.0)
    whole = fit_hmm(dataset, settings, spark=spark)
    assert any("the likeliest of 3 restarts" in note for note in whole.monitor_.notes)
    alone = fit_hmm(dataset, settings.model_copy(update={"restarts": 1}), spark=spark)
    assert whole.history_.log_likelihood[-1] >= alone.history_.log_likelihood[-1] - 1e-8

    def killed(iteration: int, _: float) -> None:
        if iteration == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_hmm(dataset, settings, spark=spark, checkpoint=tmp_path / "fit", on_iteration=killed)
    seen: list[int] = []
    again: dict[str, Any] = {"checkpoint": tmp_path / "fit", "resume": True}
    resumed = fit_hmm(dataset, settings, spark=spark, **again, on_iteration=lambda number, _: seen.append(number))
    assert seen[0] == 6
    assert resumed.history_.log_likelihood == whole.history_.log_likelihood
    for name, array in arrays(whole).items():
        np.testing.assert_array_equal(arrays(resumed)[name], array, err_msg=name)
    with pytest.raises(InputError, match="of another fit, whose states is 3; this one's is 2"):
        fit_hmm(dataset, settings.model_copy(update={"states": 2}), checkpoint=tmp_path / "fit", resume=True)


def test_every_kept_training_step_is_scored_once_or_conditioned_on(dataset: SequenceDataset, fitted: Estimator) -> None:
    owned = sum(int((block.own_stop - block.own_start).sum()) for block in dataset.blocks("train"))
    assert owned == 3 * SPLIT["train"] - 10
    assert fitted.history_.count == owned - 4 * 2  # four segments, of which the first two steps have no past


def test_regimes_of_the_fleet_are_found(dataset: SequenceDataset, fitted: Estimator) -> None:
    states = describe_states(fitted.parameters_, dataset, decode_stretch(fitted.parameters_, dataset))
    wild = int(states.deviation[:, 1].argmax())
    np.testing.assert_allclose(states.deviation[:, 1].max() / states.deviation[:, 1].min(), 5**0.5, rtol=0.25)
    assert fitted.parameters_.emission.weights[wild, 0, -1] < 0 < fitted.parameters_.emission.weights[1 - wild, 0, -1]
    np.testing.assert_allclose(states.share.sum(), 1.0)
    assert fitted.variances_[0, 0] <= fitted.variances_[1, 0], "states are numbered by level"
    assert (states.duration > 8).all()
    assert (states.duration < 60).all()


def test_descriptions_are_in_units_of_the_sensor(dataset: SequenceDataset, fitted: Estimator) -> None:
    states = describe_states(fitted.parameters_, dataset)
    mean = (states.share[:, None] * states.mean).sum(axis=0)
    np.testing.assert_allclose(mean, [110, -3], atol=2)
    stretch = decode_stretch(fitted.parameters_, dataset, series="z", steps=20, channels=["b"])
    assert (stretch.series, stretch.channels, stretch.values.shape, stretch.state.shape) == ("z", ("b",), (20, 1), (20,))
    assert set(stretch.state) <= {0, 1}
    truth = {}
    with Path(dataset.manifest.spec.readings.path[0]).open() as file:
        for line in csv.DictReader(file):
            truth[np.datetime64(line["time"]), line["sensor"]] = float(line["b"])
    expected = [truth[time.astype("datetime64[s]"), "z"] for time in stretch.times]
    np.testing.assert_allclose(stretch.values[:, 0], expected, rtol=1e-5)
    with pytest.raises(InputError, match="no channel 'q'"):
        decode_stretch(fitted.parameters_, dataset, channels=["q"])
    with pytest.raises(InputError, match="no stretch of series 'w'"):
        decode_stretch(fitted.parameters_, dataset, series="w")


def test_a_saved_model_forecasts_the_same(dataset: SequenceDataset, fitted: Estimator, tmp_path: Path) -> None:
    forecaster = fitted.forecaster(dataset)
    save(forecaster, tmp_path / "hmm")
    again = load(tmp_path / "hmm")
    batch = next(dataset.windows("test").batches(16))
    a, b = (one.forecast(batch.given) for one in (forecaster, again))
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.deviation, b.deviation)
    assert again.card == forecaster.card
    assert again.card is not None
    again.card.sequences(tmp_path).check(dataset, tmp_path)
    assert again.parameters == fitted.parameters_.parameters
    assert sorted(path.name for path in (tmp_path / "hmm").iterdir()) == [CARD, PARAMETERS]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hmm"]
    with pytest.raises(InputError, match="is there already"):
        save(forecaster, tmp_path / "hmm")
    save(forecaster, tmp_path / "hmm", overwrite=True)


def test_folders_that_are_not_models_are_refused(dataset: SequenceDataset, fitted: Estimator, tmp_path: Path) -> None:
    forecaster, folder = fitted.forecaster(dataset), tmp_path / "hmm"
    with pytest.raises(InputError, match="no such model"):
        load(folder)
    save(forecaster, folder)
    good = json.loads((folder / PARAMETERS).read_text())
    emission = good["emission"]
    for damage, message in (
        ({"start": [0.5, float("nan")]}, "start: expected probabilities"),
        ({"transition": [[2.0, 0.0], [0.0, 2.0]]}, "transition, row 0: expected probabilities"),
        ({"transition": [[1.0]]}, r"transition: found shape \(1, 1\)"),
        ({"emission": {**emission, "variances": [[0.0, 0.0], [0.0, 0.0]]}}, "above 0"),
        ({"emission": {**emission, "more": 1}}, "Autoregressive: found fields"),
        ({"emission": {**emission, "class": "Path"}}, "found class 'Path'"),
        ({"emission": 3}, "expected a hidden Markov model"),
    ):
        (folder / PARAMETERS).write_text(json.dumps({**good, **damage}))
        with pytest.raises(InputError, match=message):
            load(folder)
    (folder / PARAMETERS).write_text(json.dumps(good)[:-20])
    with pytest.raises(InputError, match="not the parameters of a model"):
        load(folder)
    (folder / PARAMETERS).unlink()
    with pytest.raises(InputError, match="is missing"):
        load(folder)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "kind": "lstm"}))
    with pytest.raises(InputError, match="kind 'lstm'"):
        load(folder)
    other = tmp_path / "precious"
    other.mkdir()
    with pytest.raises(InputError, match="not a Hindcast model"):
        save(forecaster, other, overwrite=True)
    with pytest.raises(ValueError, match="the `forecaster` of an estimator has one"):
        save(HmmForecaster(fitted.parameters_, 3), tmp_path / "new")


def test_a_fleet_is_forecast_after_the_lead(dataset: SequenceDataset, spark: SparkSession, tmp_path: Path) -> None:
    ahead = dataset_of(spark, tmp_path, lead=4)
    settings = HmmSettings(states=2, order=2, iterations=5)
    forecasters = [fit_hmm(one, settings).forecaster(one) for one in (dataset, ahead)]
    save(forecasters[1], tmp_path / "hmm")
    again = load(tmp_path / "hmm")
    assert again.card is not None
    assert (again.lead, again.card.sequences("").lead, again.card.sequences("").horizon) == (4, 4, 3)
    with pytest.raises(InputError, match="the model's lead: 4; those of"):
        again.card.sequences(tmp_path).check(dataset, tmp_path / "hmm")
    batch = next(ahead.windows("test").batches(16))
    np.testing.assert_array_equal(
        again.forecast(batch.given).mean, HmmForecaster(again.model, 7).forecast(batch.given).mean[:, 4:]
    )


def test_an_order_beyond_half_the_context_is_lowered_and_said(dataset: SequenceDataset) -> None:
    fitted = fit_hmm(dataset, HmmSettings(states=2, order=50, iterations=1))
    assert fitted.order == fitted.parameters_.emission.order == 6
    assert any("order 50 was lowered to 6" in note for note in fitted.monitor_.notes)


def test_plain_rows_are_taken_whole_and_it_is_said(spark: SparkSession, tmp_path: Path) -> None:
    dataset = dataset_of(spark, tmp_path, windows_per_row=1)
    fitted = fit_hmm(dataset, HmmSettings(states=2, order=2, iterations=2), spark=spark)
    assert any("plain layout" in note for note in fitted.monitor_.notes)
    rows = sum(len(block.windows) for block in dataset.blocks("train"))
    assert fitted.history_.count == rows * (12 + 3 - 2)
