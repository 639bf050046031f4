from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hindcast.deep.inputs import Feature, Inputs
from hindcast.deep.networks.building import build, members_of
from hindcast.deep.networks.ends import Standardise
from hindcast.deep.networks.linear_path import LinearPath
from hindcast.deep.networks.segment_lstm import SegmentLstm
from hindcast.deep.settings import LstmSettings

INPUTS = Inputs(context=16, horizon=8, lead=2, channels=3)
EVERYTHING = INPUTS.model_copy(
    update={
        "mask": True,
        "covariates": (Feature(), Feature(words=3)),
        "known": (Feature(),),
        "attributes": (Feature(), Feature(words=2)),
        "series": ("a", "b"),
    }
)
KINDS = {
    "segment": LstmSettings(units=8, segment=4, embedding="dense", line=0.0),
    "segment with channels": LstmSettings(units=8, segment=4, embedding="dense", channel_embedding=True),
    "segment without embeddings": LstmSettings(units=8, segment=4, channel_embedding=True),
    "segment beside a line": LstmSettings(units=8, segment=4, skip="linear"),
    "three segment networks": LstmSettings(units=8, segment=4, embedding="dense", line=0.0, members=3),
    "segment and a share of the line": LstmSettings(units=8, segment=4, line=0.25),
    "plain": LstmSettings(units=8, network="plain"),
    "plain of two layers": LstmSettings(units=8, network="plain", layers=2),
    "encoder-decoder": LstmSettings(units=8, network="encoder-decoder"),
    "encoder-decoder of two layers": LstmSettings(units=8, network="encoder-decoder", layers=2),
}
HEADS = ("point", "gaussian", "student", "quantiles")


def drawn(inputs: Inputs, windows: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng, arrays = np.random.default_rng(seed), {}
    for name, (shape, dtype) in inputs.shapes().items():
        values = rng.integers(0, 2, (windows, *shape)) if name in ("observed", "series") else rng.normal(size=(windows, *shape))
        arrays[name] = values.astype(dtype)
    return arrays


CONTEXT = drawn(INPUTS)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def settings(request: pytest.FixtureRequest) -> LstmSettings:
    chosen: LstmSettings = request.param
    return chosen


@pytest.fixture
def network(settings: LstmSettings) -> keras.Model:
    return build(settings, INPUTS)


def test_windows_go_in_and_horizons_of_all_channels_come_out(network: keras.Model) -> None:
    assert network(CONTEXT).shape == (5, 8, 3, 1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("normalise", ["last", "mean"])
def test_a_window_in_other_units_gives_the_forecast_in_other_units(head: Any, normalise: Any) -> None:
    chosen = KINDS["segment"].model_copy(update={"head": head, "normalise": normalise})
    network, shift, scale = build(chosen, INPUTS), np.array([10.0, -5.0, 1.0], np.float32), 7.0 if normalise == "mean" else 1.0
    before, after = (np.asarray(network({"context": c})) for c in (CONTEXT["context"], scale * CONTEXT["context"] + shift))
    moves = {"point": [1], "gaussian": [1, 0], "student": [1, 0, 0], "quantiles": [1] * 5}[head]
    grows = np.array({"point": [scale], "gaussian": [scale] * 2, "student": [scale, scale, 1], "quantiles": [scale] * 5}[head])
    np.testing.assert_allclose(after, grows * before + shift[:, None] * np.array(moves), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("normalise", ["none", "last", "mean"])
def test_a_window_that_stands_still_is_finite(normalise: Any) -> None:
    network = build(KINDS["plain"].model_copy(update={"normalise": normalise, "head": "gaussian"}), INPUTS)
    assert np.isfinite(network({"context": np.full((2, 16, 3), 3.0, np.float32)})).all()


def test_what_was_filled_says_nothing_of_a_windows_mean_and_deviation() -> None:
    inputs = INPUTS.model_copy(update={"mask": True})
    standardise = layer_of(build(KINDS["plain"].model_copy(update={"normalise": "mean"}), inputs), Standardise)
    _, centre, scale = standardise(*_with_gap(1e6))
    _, same, as_well = standardise(*_with_gap(-3.0))
    np.testing.assert_array_equal(centre, same)
    np.testing.assert_array_equal(scale, as_well)


def layer_of(network: keras.Model, kind: type) -> Any:
    return next(layer for layer in network.layers if isinstance(layer, kind))


def _with_gap(filled: float) -> tuple[np.ndarray, np.ndarray]:
    observed = np.ones((5, 16, 3), np.float32)
    observed[:, 4:7] = 0
    return np.where(observed > 0, CONTEXT["context"], np.float32(filled)), observed


def test_windows_of_a_batch_do_not_touch_each_other(network: keras.Model) -> None:
    np.testing.assert_allclose(network(CONTEXT)[1:2], network({"context": CONTEXT["context"][1:2]}), atol=1e-6)


def test_dropout_acts_in_training_alone(network: keras.Model) -> None:
    np.testing.assert_array_equal(network(CONTEXT, training=False), network(CONTEXT, training=False))
    assert np.abs(network(CONTEXT, training=True) - network(CONTEXT, training=True)).max() > 0


def test_every_input_is_listened_to(settings: LstmSettings) -> None:
    network = build(settings.model_copy(update={"series_embedding": 2, "dropout": 0.0}), EVERYTHING)
    given, other = drawn(EVERYTHING), drawn(EVERYTHING, seed=1)
    other |= {name: 1 - given[name] for name in ("observed", "series")}
    before = np.asarray(network(given))
    for name in EVERYTHING.shapes():
        assert np.abs(np.asarray(network({**given, name: other[name]})) - before).max() > 1e-5, name


@pytest.mark.parametrize("head", HEADS)
def test_a_network_loads_in_safe_mode_and_forecasts_the_same(settings: LstmSettings, head: Any, tmp_path: Path) -> None:
    network = build(settings.model_copy(update={"head": head, "series_embedding": 2}), EVERYTHING)
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    given = drawn(EVERYTHING)
    np.testing.assert_array_equal(loaded(given), network(given))


def test_channels_share_weights_unless_they_are_embedded() -> None:
    alike = {"context": np.repeat(CONTEXT["context"][:, :, :1], 3, axis=2)}
    shared, embedded = (np.asarray(build(KINDS[kind], INPUTS)(alike)) for kind in ("segment", "segment with channels"))
    np.testing.assert_allclose(shared[:, :, 0], shared[:, :, 2], atol=1e-6)
    assert np.abs(embedded[:, :, 0] - embedded[:, :, 2]).max() > 1e-4


def test_future_segments_are_steps_of_the_cell_itself() -> None:
    """What is computed once for all futures is what Keras' own cell computes for each."""
    network = build(KINDS["segment"], EVERYTHING.model_copy(update={"series": ()}))
    layer, given = layer_of(network, SegmentLstm), drawn(EVERYTHING.model_copy(update={"series": ()}))
    queries = layer._queries(given, 3)
    _, hidden, carry = layer.lstm(layer.embed(layer._segments(given)))
    decoded = layer._decoded(queries, hidden, carry)
    queries = np.broadcast_to(queries, (5, 3, 2, 8))
    for future in range(2):
        expected, _ = layer.lstm.cell(queries[:, :, future].reshape(-1, 8), [hidden, carry])
        np.testing.assert_allclose(np.reshape(decoded[:, :, future], (-1, 8)), expected, atol=1e-6)


def test_weights_follow_the_seed_and_not_the_dropouts(settings: LstmSettings) -> None:
    first, same = build(settings, INPUTS), build(settings, INPUTS, seed=99)
    other = build(settings.model_copy(update={"seed": 1}), INPUTS)
    assert all((a == b).all() for a, b in zip(first.get_weights(), same.get_weights(), strict=True))
    assert any((a != b).any() for a, b in zip(first.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("kind", ["segment", "three segment networks"])
def test_what_members_say_is_what_the_network_says_together(kind: str) -> None:
    network = build(KINDS[kind], INPUTS)
    each = [np.asarray(member(CONTEXT)) for member in members_of(network, KINDS[kind].members)]
    assert {one.shape for one in each} == {(5, 8, 3, 1)}
    np.testing.assert_allclose(np.asarray(network(CONTEXT)), np.mean(each, axis=0), rtol=1e-6, atol=1e-6)


def test_members_begin_apart_and_the_first_is_the_network_alone() -> None:
    alone, three = build(KINDS["segment"], INPUTS), build(KINDS["three segment networks"], INPUTS)
    first, second, _ = (np.asarray(member(CONTEXT)) for member in members_of(three, 3))
    np.testing.assert_allclose(first, np.asarray(alone(CONTEXT)), rtol=1e-5, atol=1e-6)
    assert np.abs(first - second).max() > 0.01
    assert three.count_params() == 3 * alone.count_params()


@pytest.mark.parametrize("head", HEADS)
def test_a_share_of_the_line_moves_what_members_say_towards_it(head: Any) -> None:
    chosen = KINDS["segment and a share of the line"].model_copy(update={"head": head})
    network = build(chosen, INPUTS)
    path = next(layer for layer in network.layers if isinstance(layer, LinearPath))
    path.set_weights([np.random.default_rng(0).normal(size=(17, 8)).astype(np.float32)])
    context = CONTEXT["context"]
    line = np.asarray(path(context - context[:, -1:])) + context[:, -1:]
    said, before = np.asarray(network(CONTEXT)), np.asarray(members_of(network, 1)[0](CONTEXT))
    where = {"quantiles": 2}.get(head, 0)
    np.testing.assert_allclose(said[..., where], 0.75 * before[..., where] + 0.25 * line, rtol=1e-4, atol=1e-5)
    if head == "quantiles":
        np.testing.assert_allclose(np.diff(said), np.diff(before), rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(said[..., 1:], before[..., 1:], rtol=1e-5)
