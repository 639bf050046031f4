"""What is learnt of processes whose noise floor is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.deep.forecaster import LstmForecaster, forecaster_of
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.collective import OneProcess
from hindcast.deep.ways.local import train_on
from hindcast.prep.dataset.windows import Windows

Over = Callable[..., Windows]
CONTEXT, HORIZON, PHI = 24, 4, 0.8
NETWORKS = {
    "plain": LstmSettings(network="plain", units=24, normalise="none", batch=64, epochs=12, learning_rate=1e-2, dropout=0.0),
    "encoder-decoder": LstmSettings(
        network="encoder-decoder", units=24, normalise="none", batch=64, epochs=14, learning_rate=1e-2, dropout=0.0
    ),
    "segment": LstmSettings(
        network="segment", segment=4, units=16, normalise="none", batch=64, epochs=25, learning_rate=2e-2, dropout=0.0
    ),
}
# A segment is embedded as a whole, which takes more windows to learn that only its last reading counts.
ABOVE_THE_FLOOR = {"plain": 1.12, "encoder-decoder": 1.12, "segment": 1.2}


def learnt(dataset: Any, values: np.ndarray, over: Over, settings: LstmSettings) -> LstmForecaster:
    third = len(values) // 3
    parts = dict(zip(("train", "validation", "test"), np.split(values, [third, 2 * third]), strict=True))
    splits = {name: over(part, CONTEXT, HORIZON) for name, part in parts.items()}
    dataset = replace(dataset, splits=splits, channels=tuple(map(str, range(values.shape[1]))))
    return forecaster_of(train_on(dataset, settings.model_copy(update={"schedule": "cosine"}), OneProcess()), dataset)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_sine_is_learnt_to_its_noise_floor(network: str, wave_dataset: Any, over: Over) -> None:
    noise = 0.1
    steps, rng = np.arange(3000), np.random.default_rng(0)
    values = np.sin(2 * np.pi * steps / 12)[:, None] + noise * rng.normal(size=(3000, 1))
    forecaster = learnt(wave_dataset, values, over, NETWORKS[network])
    test = over(values[2000:], CONTEXT, HORIZON)
    batch = test.batch(np.arange(len(test)))
    found = np.square(forecaster.forecast(batch.given).mean - batch.target).mean()
    # 24 noisy readings say where the wave is only so well.
    assert noise**2 * 0.9 < found < noise**2 * 1.35


@pytest.mark.parametrize("network", NETWORKS)
def test_a_linear_process_is_learnt_to_its_noise_floor(network: str, wave_dataset: Any, over: Over) -> None:
    """x_t = φ x_{t-1} + e_t: h steps ahead no forecast errs by less than (1 − φ^2h) / (1 − φ²) of the noise's variance."""
    rng = np.random.default_rng(1)
    values = np.zeros((4500, 1))
    for t in range(1, len(values)):
        values[t] = PHI * values[t - 1] + rng.normal()
    changed = {"epochs": 5, "learning_rate": 5e-3, "normalise": "last"} if network == "segment" else {"epochs": 5}
    forecaster = learnt(wave_dataset, values, over, NETWORKS[network].model_copy(update=changed))
    test = over(values[3000:], CONTEXT, HORIZON)
    batch = test.batch(np.arange(len(test)))
    best = np.square(PHI ** np.arange(1, HORIZON + 1) * batch.context[:, -1] - batch.target[..., 0]).mean(axis=0)
    floor = (1 - PHI ** (2 * np.arange(1, HORIZON + 1))) / (1 - PHI**2)
    np.testing.assert_allclose(best, floor, rtol=0.15)  # the draws are what they should be
    found = np.square(forecaster.forecast(batch.given).mean - batch.target)[..., 0].mean(axis=0)
    assert (found < ABOVE_THE_FLOOR[network] * best).all()


def test_what_comes_after_a_context_changes_no_forecast(wave_dataset: Any, over: Over) -> None:
    forecaster = learnt(
        wave_dataset, np.random.default_rng(0).normal(size=(300, 2)), over, NETWORKS["plain"].model_copy(update={"epochs": 1})
    )
    values = np.random.default_rng(1).normal(size=(60, 2))
    changed = values.copy()
    changed[CONTEXT + 10 :] = 1e6
    before, after = (forecaster.forecast(over(v, CONTEXT, HORIZON).batch(np.arange(11)).given).mean for v in (values, changed))
    np.testing.assert_array_equal(before, after)
