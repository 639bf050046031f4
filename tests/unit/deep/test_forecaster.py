from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.deep.forecaster import LstmForecaster, load
from hindcast.deep.settings import LstmSettings
from hindcast.deep.ways.local import fit, fit_local, fit_rank
from hindcast.forecasting.forecast import Forecaster
from hindcast.prep.dataset.windows import Given, Windows
from hindcast.prep.errors import InputError


@pytest.fixture(scope="module")
def forecaster(wave_dataset: Any) -> LstmForecaster:
    fitted = fit(wave_dataset, LstmSettings(units=8, batch=64, epochs=1, segment=12))
    assert fitted is not None
    return fitted


def test_what_is_fitted_is_a_forecaster(forecaster: LstmForecaster, wave_dataset: Any) -> None:
    answering: Forecaster = forecaster
    batch = wave_dataset.windows("test").batch(np.arange(5))
    forecast = answering.forecast(batch.given)
    assert (forecast.mean.shape, forecast.mean.dtype, forecast.deviation) == ((5, 12, 2), np.float32, None)
    assert answering.forecast(batch.given.subset(slice(0))).mean.shape == (0, 12, 2)
    assert forecaster.parameters == sum(weight.size for weight in forecaster.network.get_weights())


def test_after_a_lead_the_horizon_is_what_is_learnt(wave_dataset: Any, over: Callable[..., Windows]) -> None:
    """The last readings of a wave of period 12 are, half a period later, as far on its other side."""
    wave = np.sin(2 * np.pi * np.arange(400) / 12)[:, None]
    splits = {name: over(wave, 12, 6, lead=6) for name in ("train", "validation", "test")}
    dataset = replace(wave_dataset, splits=splits, channels=("wave",))
    settings = LstmSettings(units=16, batch=32, epochs=12, segment=6, dropout=0.0, learning_rate=1e-2)
    fitted = fit(dataset, settings)
    assert fitted is not None
    data = fitted.card.sequences("m")
    assert (data.lead, data.context, data.horizon) == (6, 12, 6)
    batch = splits["test"].batch(np.arange(24))
    forecast = fitted.forecast(batch.given).mean
    assert forecast.shape == (24, 6, 1)
    assert np.square(forecast - batch.context[:, 6:]).mean() < 0.05  # a period after the last half of the context
    with pytest.raises(InputError, match=r"the model's lead: 6; those of memory: 0\."):
        data.check(replace(dataset, splits={"train": over(wave, 12, 6)}), Path("m"))


def test_a_category_is_refused_before_anything_is_trained(wave_dataset: Any) -> None:
    for dataset_fit in (fit_local, fit_rank):
        with pytest.raises(InputError, match=r"memory: channels 'left', 'right' are categories.*readings\.values"):
            dataset_fit(replace(wave_dataset, kind="category"), LstmSettings())


def test_a_context_of_another_length_is_refused(forecaster: LstmForecaster) -> None:
    with pytest.raises(InputError, match=r"shape \(1, 20, 2\): expected \(windows, 24 steps, 2 channels\)"):
        forecaster.forecast(Given.of(np.zeros((1, 20, 2), np.float32)))


def test_a_saved_forecaster_forecasts_the_same(forecaster: LstmForecaster, wave_dataset: Any, tmp_path: Path) -> None:
    forecaster.save(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    loaded = load(tmp_path / "model")
    batch = wave_dataset.windows("test").batch(np.arange(50))
    before, after = (one.forecast(batch.given).mean for one in (forecaster, loaded))
    np.testing.assert_array_equal(before, after)
    assert loaded.card == forecaster.card
    loaded.card.sequences(tmp_path).check(wave_dataset, tmp_path / "model")


def test_the_card_says_what_was_done(forecaster: LstmForecaster) -> None:
    card = forecaster.card
    data = card.sequences("model")
    assert (card.kind, data.context, data.horizon) == ("lstm", 24, 12)
    assert (card.part.settings.segment, card.part.ranks) == (12, 1)
    assert card.fit_seconds > 0 < card.fit_cpu_seconds
    assert len(card.history) == 1
    assert {"keras", "python"} <= set(card.versions)


def test_a_model_is_replaced_only_when_told(forecaster: LstmForecaster, tmp_path: Path) -> None:
    forecaster.save(tmp_path / "model")
    with pytest.raises(InputError, match="is there already"):
        forecaster.save(tmp_path / "model")
    forecaster.save(tmp_path / "model", overwrite=True)
    foreign = tmp_path / "photographs"
    foreign.mkdir()
    with pytest.raises(InputError, match="not a Hindcast model"):
        forecaster.save(foreign, overwrite=True)


def test_missing_foreign_and_damaged_folders_are_named(forecaster: LstmForecaster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"model\.json"):
        load(tmp_path)
    folder = tmp_path / "model"
    forecaster.save(folder)
    whole = (folder / "model.keras").read_bytes()
    (folder / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"model\.keras: not a Keras model"):
        load(folder)
    (folder / "model.keras").unlink()
    with pytest.raises(InputError, match=r"model\.keras: is missing"):
        load(folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "kind": "hmm"}))
    with pytest.raises(InputError, match=r"kind 'hmm', not 'lstm'"):
        load(folder)


def test_a_card_of_another_shape_is_noticed(forecaster: LstmForecaster, tmp_path: Path) -> None:
    forecaster.save(tmp_path / "model")
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(card | {"data": card["data"] | {"horizon": 6}}))
    with pytest.raises(InputError, match=r"model\.keras: takes"):
        load(tmp_path / "model")


def test_code_in_a_model_file_is_not_run(forecaster: LstmForecaster, tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((24, 2)), keras.layers.Lambda(lambda x: x[:, :12])])
    forecaster.save(tmp_path / "model")
    network.save(tmp_path / "model" / "model.keras")
    with pytest.raises(InputError, match=r"model\.keras: not a Keras model"):
        load(tmp_path / "model")
