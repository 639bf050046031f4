from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from deep.networks import build
from deep.settings import LstmSettings

KINDS = [
    LstmSettings(units=8, segment=4),
    LstmSettings(units=8, segment=4, channel_embedding=True),
    LstmSettings(units=8, network="plain"),
    LstmSettings(units=8, network="plain", layers=2),
]
CONTEXT = np.random.default_rng(0).normal(size=(5, 16, 3)).astype(np.float32)


@pytest.fixture(params=KINDS, ids=["segment", "segment with channels", "plain", "plain of two layers"])
def network(request: pytest.FixtureRequest) -> keras.Model:
    return build(request.param, 16, 8, 3)


def test_windows_go_in_and_horizons_of_all_channels_come_out(network: keras.Model) -> None:
    assert network(CONTEXT).shape == (5, 8, 3)


def test_a_shifted_context_gives_the_shifted_forecast(network: keras.Model) -> None:
    shift = np.array([10.0, -5.0, 1.0], np.float32)
    np.testing.assert_allclose(network(CONTEXT + shift), network(CONTEXT) + shift, atol=1e-5)


def test_windows_of_a_batch_do_not_touch_each_other(network: keras.Model) -> None:
    np.testing.assert_allclose(network(CONTEXT)[1:2], network(CONTEXT[1:2]), atol=1e-6)


def test_dropout_acts_in_training_alone(network: keras.Model) -> None:
    np.testing.assert_array_equal(network(CONTEXT, training=False), network(CONTEXT, training=False))
    assert np.abs(network(CONTEXT, training=True) - network(CONTEXT, training=True)).max() > 0


def test_a_network_loads_in_safe_mode_and_forecasts_the_same(network: keras.Model, tmp_path: Path) -> None:
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(CONTEXT), network(CONTEXT))


def test_channels_share_weights_unless_they_are_embedded() -> None:
    alike = np.repeat(CONTEXT[:, :, :1], 3, axis=2)
    shared, embedded = (np.asarray(build(kind, 16, 8, 3)(alike)) for kind in KINDS[:2])
    np.testing.assert_allclose(shared[..., 0], shared[..., 2], atol=1e-6)
    assert np.abs(embedded[..., 0] - embedded[..., 2]).max() > 1e-4


def test_weights_follow_the_seed_and_not_the_dropouts() -> None:
    first, same = build(KINDS[0], 16, 8, 3), build(KINDS[0], 16, 8, 3, seed=99)
    other = build(KINDS[0].model_copy(update={"seed": 1}), 16, 8, 3)
    assert all((a == b).all() for a, b in zip(first.get_weights(), same.get_weights(), strict=True))
    assert any((a != b).any() for a, b in zip(first.get_weights(), other.get_weights(), strict=True))
