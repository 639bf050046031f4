"""Models and datasets that version 0.2 wrote are read, and say what they said then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.launch.models import load_any
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given

FOLDER = Path(__file__).resolve().parents[1] / "data" / "v0_2"


@pytest.fixture(scope="module")
def expected() -> Mapping[str, np.ndarray]:
    """What the models gave for 12 windows when they were written, and what they were given."""
    with np.load(FOLDER / "expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["hmm", "lstm", "lstm_series"])
def test_a_model_of_version_0_2_forecasts_as_it_did(name: str, expected: Mapping[str, np.ndarray]) -> None:
    given = replace(Given.of(expected["context"], expected["observed"]), series=expected["series"])
    forecast = load_any(FOLDER / name).forecast(given)
    np.testing.assert_allclose(forecast.mean, expected[f"{name}_mean"], rtol=0, atol=1e-6)
    if f"{name}_deviation" in expected:
        assert forecast.deviation is not None
        np.testing.assert_allclose(forecast.deviation, expected[f"{name}_deviation"], rtol=0, atol=1e-6)
    if f"{name}_quantiles" in expected:
        assert forecast.quantiles is not None
        np.testing.assert_allclose(forecast.quantiles.values, expected[f"{name}_quantiles"], rtol=0, atol=1e-6)


def test_a_folder_of_version_0_2_is_an_estimator_too(expected: Mapping[str, np.ndarray], tmp_path: Path) -> None:
    model = hmm.load(FOLDER / "hmm")
    assert (type(model).__name__, model.order, model.tol_of) == ("AutoregressiveHMM", 4, "step")
    assert (model.monitor_.reason, model.monitor_.iter, model.history_.count) == ("tolerance", 17, 618.0)
    model.save(tmp_path / "hmm")
    forecaster = load_any(tmp_path / "hmm")
    given = replace(Given.of(expected["context"], expected["observed"]), series=expected["series"])
    np.testing.assert_allclose(forecaster.forecast(given).mean, expected["hmm_mean"], rtol=0, atol=1e-6)
    assert hmm.load(tmp_path / "hmm").fitted_on_ == model.fitted_on_


def test_an_estimator_of_version_0_2_scores_and_decodes_as_it_did(expected: Mapping[str, np.ndarray]) -> None:
    model, X = hmm.load(FOLDER / "estimator.json"), expected["X"].astype(float)
    assert model.score(X) == pytest.approx(float(expected["estimator_score"]), abs=1e-6)
    np.testing.assert_array_equal(model.predict(X), expected["estimator_states"])


def test_a_dataset_of_version_0_2_is_read_as_it_was() -> None:
    dataset = SequenceDataset.open(FOLDER / "fleet.seq")
    assert dataset.digest == "95d51be16c017084d1f4affd27a344b1532e32e6281a88654e26422ea299cf1b"
    windows = {split: dataset.windows(split) for split in ("train", "validation", "test")}
    assert {split: len(of_split) for split, of_split in windows.items()} == {"train": 62, "validation": 6, "test": 18}
    batch = windows["train"].batch([0, 1])
    assert batch.context.sum() == pytest.approx(13.996799, abs=1e-5)
    assert not dataset.preparation.joined
