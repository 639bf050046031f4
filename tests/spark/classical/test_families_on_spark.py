"""Every family on Spark: as in memory, of DataFrames and of datasets, whatever kind their channels are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from hindcast.classical import hmm
from hindcast.classical.hmm.data.training import training
from hindcast.classical.hmm.from_settings import fit_hmm
from hindcast.classical.hmm.saving import load, save
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.classical.passing import passes
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.unit.classical.families import FAMILIES, LENGTHS

Statistics = dict[str, tuple[Any, Any]]


@pytest.fixture(scope="module")
def both(spark: SparkSession) -> Statistics:
    """Of each family, the statistics of its readings as a DataFrame, and in memory. Those of the same readings share a pass."""
    found: Statistics = {}
    sharing = defaultdict(list)
    for name, case in FAMILIES.items():
        sharing[case.drawn].append(name)
    for names in sharing.values():
        case = FAMILIES[names[0]]
        pieces = np.split(case.readings, np.cumsum(LENGTHS)[:-1])
        rows = [(one.astype(float).tolist(), 1.0 + number) for number, one in enumerate(pieces)]
        frame = spark.createDataFrame(rows, "x array<array<double>>, often double").repartition(3)
        models = [FAMILIES[name].begun().parameters_ for name in names]
        with training(frame, None, "often", check=case.make()._check) as there:
            spread, _ = passes(there.data)(models, "statistics")
        with training(case.readings, LENGTHS, [1.0, 2.0, 3.0, 4.0], check=case.make()._check) as here:
            alone, _ = passes(here.data)(models, "statistics")
        found |= dict(zip(names, zip(spread, alone, strict=True), strict=True))
    return found


def numbers(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple):
        return [array for one in value for array in numbers(one)]
    if hasattr(value, "__dataclass_fields__"):
        return [array for name in value.__dataclass_fields__ for array in numbers(getattr(value, name))]
    return [np.asarray(value)]


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_of_a_dataframe_are_those_of_its_rows(family: str, both: Statistics) -> None:
    spread, alone = both[family]
    for found, expected in zip(numbers(spread), numbers(alone), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_dataframes_have_no_checkpoints_and_processors_take_their_e_steps(spark: SparkSession, tmp_path: Path) -> None:
    X = FAMILIES["gaussian"].readings
    frame = spark.createDataFrame([(X[:60].tolist(),), (X[60:].tolist(),)], "x array<array<double>>").repartition(2)
    with pytest.raises(InputError, match="checkpoint: rows of a DataFrame may come in another order"):
        hmm.GaussianHMM(2).fit(frame, checkpoint=tmp_path / "fit")
    model = hmm.GaussianHMM(2, n_iter=2, tol=-np.inf, random_state=0).fit(frame, gpus=True)
    assert model.monitor_.notes == ("E-steps were taken by processors: GPUs take those of datasets and of arrays",)
    assert model.monitor_.cpu_seconds > sum(model.history_.cpu_seconds) > 0
    with training(frame, check=model._check) as given:
        assert given.cpu_seconds > 0


def prepared(spark: SparkSession, folder: Path, *values: str) -> SequenceDataset:
    """Of two regimes, hourly: `heat` is real, `starts` and `stops` are counts, `mode` is a category; those of `values`."""
    rng = np.random.default_rng(0)
    regime = np.repeat(rng.integers(0, 2, 60), 10)
    times = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(600), "s")
    columns = {
        "heat": np.char.mod("%.4f", 4 * regime + rng.normal(size=600)),
        "starts": rng.poisson(2 + 8 * regime).astype(str),
        "stops": rng.poisson(9 - 6 * regime).astype(str),
        "mode": np.where(rng.random(600) < 0.1, "idle", np.where(regime == 1, "hot", "cold")),
    }
    lines = [",".join(["time", *columns]), *map(",".join, zip(times, *columns.values(), strict=True))]
    (folder / "r.csv").write_text("\n".join(lines) + "\n")
    kinds = {"counts": ["starts", "stops"], "categories": ["mode"]}
    chosen = {kind: [name for name in names if name in values] for kind, names in kinds.items()}
    tables = {
        "readings": {"path": str(folder / "r.csv"), "timestamp": "time", "values": values, **chosen},
        "split": {"train": 400, "validation": 100, "test": 100},
        "windows": {"context": 24, "horizon": 4},
    }
    return prepare(spark, Spec.model_validate(tables), folder / "d.seq")


@pytest.fixture(scope="module")
def counted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return prepared(spark, tmp_path_factory.mktemp("counted"), "starts", "stops")


@pytest.fixture(scope="module")
def heat(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return prepared(spark, tmp_path_factory.mktemp("heat"), "heat")


def otherwise(dataset: SequenceDataset, **fields: Any) -> SequenceDataset:
    """The same, with another manifest."""
    return replace(dataset, manifest=dataset.manifest.model_copy(update=fields))


@pytest.mark.parametrize("emission", ["poisson", "diagonal", "multinomial"])
def test_counts_of_a_dataset_are_fitted_and_forecast_as_counts(
    emission: Any, spark: SparkSession, counted: SequenceDataset, tmp_path: Path
) -> None:
    settings = HmmSettings(emission=emission, states=2, iterations=20)
    model, local = fit_hmm(counted, settings, spark=spark), fit_hmm(counted, settings)
    with training(counted, check=model._check, spark=spark) as given:
        assert given.cpu_seconds > 0
    np.testing.assert_allclose(model.monitor_.history, local.monitor_.history, rtol=1e-10)
    if emission == "poisson":
        np.testing.assert_allclose(model.lambdas_, [[2, 9], [10, 3]], rtol=0.15)
    if emission == "multinomial":
        with pytest.raises(
            InputError, match=r"MultinomialHMM: how many trials a step ahead has is not known: say it with n_trials"
        ):
            model.forecaster(counted)
        model.save(tmp_path / "hmm")
        with pytest.raises(InputError, match="forecasts no numbers"):
            load(tmp_path / "hmm")
        return
    batch = next(counted.windows("test").batches(64))
    forecast = model.forecaster(counted).forecast(batch.given)
    assert 2 < forecast.mean[..., 0].min() < forecast.mean[..., 0].max() < 10
    np.testing.assert_array_equal(counted.scaling.overall.scale, [1, 1])


def test_a_category_is_fitted_decoded_and_saved_and_not_forecast(
    spark: SparkSession, counted: SequenceDataset, tmp_path: Path
) -> None:
    words = prepared(spark, tmp_path, "mode")
    model = fit_hmm(words, HmmSettings(emission="categorical", states=2, iterations=30), spark=spark)
    assert model.emissionprob_.shape == (2, 3)
    model.save(tmp_path / "hmm")
    again = hmm.load(tmp_path / "hmm")
    np.testing.assert_array_equal(again.predict([[0], [0], [1]]), model.predict([[0], [0], [1]]))
    assert again.fitted_on_ == model.fitted_on_
    with pytest.raises(InputError, match="CategoricalHMM: symbols are labels, which cannot be forecast as numbers"):
        again.forecaster(words)
    with pytest.raises(InputError, match="hmm: forecasts no numbers"):
        load(tmp_path / "hmm")
    for emission in ("poisson", "autoregressive"):
        with pytest.raises(InputError, match="channel 'mode' is a category, and"):
            fit_hmm(words, HmmSettings(emission=emission))
    with pytest.raises(InputError, match="channel 'starts' is a count, and CategoricalHMM emits category channels"):
        fit_hmm(counted, HmmSettings(emission="categorical"))
    with pytest.raises(InputError, match=r"channel 'mode': found 2, expected a symbol of 0 … 1"):
        fit_hmm(words, HmmSettings(emission="categorical", symbols=2))


def test_means_of_counts_are_no_counts(heat: SequenceDataset) -> None:
    counts = [channel.model_copy(update={"kind": "count"}) for channel in heat.manifest.channels]
    with pytest.raises(InputError, match=r"d\.seq: channel 'heat': found .*, expected a count, whole .* see grid\.aggregate"):
        fit_hmm(otherwise(heat, channels=tuple(counts)), HmmSettings(emission="poisson"))


def test_an_estimator_forecasts_what_is_scaled_as_its_readings_were(heat: SequenceDataset, tmp_path: Path) -> None:
    longer = otherwise(heat, layout=heat.layout.model_copy(update={"context": 30, "horizon": 6, "lead": 2}))
    wider = heat.scaling.overall.model_copy(update={"scale": (3.0,)})
    fitted = hmm.GaussianHMM(2, "full", n_iter=20, random_state=0).fit(heat)
    forecaster = fitted.forecaster(longer)
    assert forecaster.card is not None
    data = forecaster.card.sequences("")
    assert (data.digest, data.context, forecaster.horizon, forecaster.lead) == (heat.digest, 30, 6, 2)
    with pytest.raises(InputError, match="GaussianHMM: the model's scaling: "):
        fitted.forecaster(otherwise(heat, scaling=heat.scaling.model_copy(update={"overall": wider})))
    whole = list(heat.blocks("train"))
    X = [row[own:stop] for one in whole for row, own, stop in zip(one.values, one.own_start, one.own_stop, strict=True)]
    alone = hmm.GaussianHMM(2, "full", n_iter=20, random_state=0).fit(X)
    with pytest.raises(InputError, match=r"was not fitted on a dataset, .*scaled=True"):
        alone.forecaster(heat)
    said = alone.forecaster(heat, scaled=True)
    assert said.card is not None
    assert "scaled as those of" in said.card.notes[0]
    given = next(heat.windows("test").batches(16)).given
    np.testing.assert_allclose(said.forecast(given).mean, fitted.forecaster(heat).forecast(given).mean, atol=1e-6)
    for one in (said, forecaster):
        save(one, tmp_path / "hmm", overwrite=True)
        again = load(tmp_path / "hmm")
        assert again.card == one.card
        np.testing.assert_array_equal(again.forecast(given).mean, one.forecast(given).mean)
        np.testing.assert_array_equal(hmm.load(tmp_path / "hmm").means_, one.model.emission.means)


def test_an_estimator_that_cannot_forecast_a_dataset_is_refused(heat: SequenceDataset) -> None:
    wide = hmm.GaussianHMM(2, n_iter=1, random_state=0).fit(FAMILIES["gaussian"].readings)
    with pytest.raises(InputError, match=r"has 2 channels, and .* has 1"):
        wide.forecaster(heat, scaled=True)
    with pytest.raises(InputError, match=r"goes on from the last 40 steps, and the context of .* has 24"):
        hmm.AutoregressiveHMM(2, 40, n_iter=1, random_state=0).fit(heat).forecaster(heat)
    with pytest.raises(InputError, match="channel 'heat' is a real, and PoissonHMM emits count channels"):
        hmm.PoissonHMM(1, n_iter=1).fit([[1], [2]]).forecaster(heat, scaled=True)
    for part, message in (
        (hmm.CategoricalHMM(), "columns 1, CategoricalHMM: symbols are labels"),
        (hmm.AutoregressiveHMM(order=2), "parts that are regressions on their past are not forecast together"),
    ):
        both = hmm.ProductHMM(2, [(hmm.GaussianHMM(), [0]), (part, [1])], n_iter=1, random_state=0)
        with pytest.raises(InputError, match=f"ProductHMM: {message}"):
            both.fit(FAMILIES["multinomial"].readings[:, :2]).forecaster(heat, scaled=True)


def test_a_model_of_one_pass_forecasts_too(heat: SequenceDataset, tmp_path: Path) -> None:
    once = hmm.GaussianHMM(2, random_state=0).fit_online(heat, batches=4)
    forecaster = once.forecaster(heat)
    assert forecaster.card is not None
    assert (forecaster.card.part.stopped_by, forecaster.card.part.steps, forecaster.card.history) == (None, 400.0, ())
    once.save(tmp_path / "hmm")
    again = hmm.load(tmp_path / "hmm")
    assert again.fitted_on_ == once.fitted_on_
    assert not hasattr(again, "monitor_")


def test_gaps_that_were_filled_are_regressed_on_by_estimators_too(heat: SequenceDataset, tmp_path: Path) -> None:
    plain = hmm.AutoregressiveHMM(2, 3, tol_of="step", n_iter=4, tol=0.0, random_state=0).fit(heat)
    asked = fit_hmm(heat, HmmSettings(order=3, iterations=4, tolerance=0.0))
    assert plain.filled_
    assert plain.parameters_.emission.filled
    assert plain.monitor_.history == asked.monitor_.history
    plain.save(tmp_path / "hmm")
    assert hmm.load(tmp_path / "hmm").parameters_.emission.filled
