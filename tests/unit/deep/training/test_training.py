from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hindcast.deep.digests import digest_of
from hindcast.deep.inputs import Inputs
from hindcast.deep.networks.building import build
from hindcast.deep.networks.linear_path import LinearPath, closed_form
from hindcast.deep.networks.segment_lstm import SegmentLstm
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State, TrainingFile
from hindcast.deep.training.collective import Collective, OneProcess
from hindcast.deep.training.feed import Rows, Share, take
from hindcast.deep.training.learner import Learner
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.local import train_on
from hindcast.forecasting.baselines.linear import least_squares
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.errors import InputError

Over = Callable[..., Windows]
EIGHT = Inputs(context=8, horizon=4, lead=0, channels=2)
QUICK = LstmSettings(units=16, segment=12, batch=64, epochs=2, dropout=0.0, learning_rate=5e-3)


def fitted(dataset: Any, settings: LstmSettings, collective: Collective | None = None, **progress: Any) -> Trained:
    return train_on(dataset, settings, collective or OneProcess(), **progress)


class Captured(OneProcess):
    """Keeps what a rank gives to the sum, and hands back what it is told the sum over ranks is."""

    def __init__(self, answer: list[np.ndarray] | None = None) -> None:
        self.answer, self.given = answer, []

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.given = [tensor.numpy() for tensor in tensors]
        return tensors if self.answer is None else [tf.constant(array) for array in self.answer]


SMALL = LstmSettings(units=8, segment=4, dropout=0.0, averaging=0.0, line=0.0)


def stepped(batch: tuple[Any, Any, Any], collective: Captured, settings: LstmSettings = SMALL) -> list[np.ndarray]:
    """Weights after one step of plain gradient descent from the same start."""
    learner = Learner(build(settings, EIGHT), settings, collective, steps=10)
    learner.optimiser = keras.optimizers.SGD(1.0)
    given, target, weight = batch
    learner._train_step({name: tf.constant(array) for name, array in given.items()}, *map(tf.constant, (target, weight, 0.0)))
    return learner.network.get_weights()


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_a_step_of_several_ranks_is_the_step_of_one_over_the_global_batch(over: Over, ranks: int) -> None:
    generator = np.random.default_rng(1)
    windows = over(generator.normal(size=(40, 2)), 8, 4, generator.random((40, 2)) < 0.7)
    numbers = np.arange(5)  # fewer than 7 ranks: two of them hold nothing
    alone = Share(len(numbers), 5, 0, 1)
    expected = stepped(take(windows, EIGHT, Rows.of(numbers, alone.size)), Captured())

    shares = [Share(len(numbers), 5, rank, ranks) for rank in range(ranks)]
    batches = [take(windows, EIGHT, Rows.of(numbers[slice(*share.places(0))], share.size)) for share in shares]
    given = []
    for batch in batches:
        stepped(batch, collective := Captured())
        given.append(collective.given)
    total = [np.sum(parts, axis=0) for parts in zip(*given, strict=True)]
    for got, want in zip(stepped(batches[-1], Captured(total)), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_filled_target_does_not_count(over: Over) -> None:
    generator = np.random.default_rng(0)
    windows = over(generator.normal(size=(30, 2)), 8, 4)
    given, target, weight = take(windows, EIGHT, Rows.of(np.arange(6), 6))
    weight[1], weight[:, 2] = 0, 0
    wild = np.where(weight == 0, np.nan, target).astype(np.float32)
    tame, collective = stepped((given, target, weight), Captured()), Captured()
    for got, want in zip(stepped((given, wild, weight), collective), tame, strict=True):
        np.testing.assert_array_equal(got, want)
    assert collective.given[-2] == 5 * 3 * 2


def test_gradients_are_cut_to_their_norm(over: Over) -> None:
    batch = take(over(np.random.default_rng(0).normal(size=(30, 2)), 8, 4), EIGHT, Rows.of(np.arange(6), 6))
    before = build(SMALL, EIGHT).get_weights()
    for limit in (0.01, 1e9):
        after = stepped(batch, Captured(), SMALL.model_copy(update={"clip_norm": limit}))
        moved = np.sqrt(sum(np.square(a - b).sum() for a, b in zip(after, before, strict=True)))
        if limit < 1:
            np.testing.assert_allclose(moved, limit, rtol=1e-4)
        else:
            assert moved > 0.01


def test_waves_are_learnt_to_near_their_noise(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"epochs": 5, "units": 32})
    trained = fitted(wave_dataset, settings)
    losses = [record["validation_loss"] for record in trained.history]
    # The noise's variance is 0.01 on the target; the last value, which is subtracted, carries it too and must be seen through.
    assert 0.01 < min(losses) < 0.018
    assert trained.best_epoch == 1 + int(np.argmin(losses))


def test_beside_a_line_an_lstm_that_says_nothing_leaves_the_lines_forecast(wave_dataset: Any) -> None:
    windows = wave_dataset.windows("train")
    settings = QUICK.model_copy(update={"skip": "linear", "ridge": 0.0, "epochs": 1, "learning_rate": 1e-12})
    trained = fitted(wave_dataset, settings)
    network = build(trained.settings, trained.inputs)
    network.set_weights(list(trained.weights))
    silent = next(layer for layer in network.layers if isinstance(layer, SegmentLstm))
    silent.project.set_weights([np.zeros_like(weight) for weight in silent.project.get_weights()])
    batch = wave_dataset.windows("test").batch(np.arange(20))
    found = np.asarray(network({"context": batch.context}))[..., 0]
    np.testing.assert_allclose(found, least_squares(windows.blocks, windows.layout).forecast(batch.given).mean, atol=1e-5)


def test_training_repeats_exactly(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"dropout": 0.3})
    first, second = (fitted(wave_dataset, settings) for _ in range(2))
    assert first.weights_digest == second.weights_digest == digest_of(list(first.weights))


def test_validation_loss_is_of_the_weights_that_were_kept(wave_dataset: Any) -> None:
    validation = wave_dataset.windows("validation")
    trained = fitted(wave_dataset, QUICK)
    network = build(trained.settings, trained.inputs)
    network.set_weights(list(trained.weights))
    batch = validation.batch(np.arange(len(validation)))
    loss = np.square(network.predict({"context": batch.context}, verbose=0)[..., 0] - batch.target).mean()
    np.testing.assert_allclose(loss, trained.history[trained.best_epoch - 1]["validation_loss"], rtol=1e-5)


def test_progress_is_told_and_steps_are_counted(wave_dataset: Any) -> None:
    epochs: list[dict[str, float]] = []
    steps: list[tuple[int, int]] = []
    fitted(wave_dataset, QUICK, on_epoch=epochs.append, on_step=lambda *at: steps.append(at))
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert set(epochs[0]) == {"epoch", "loss", "validation_loss", "learning_rate", "seconds"}
    assert {step for epoch, step in steps if epoch == 1} == set(range(1, -(-len(wave_dataset.windows("train")) // 32) + 1))


def test_training_ends_after_the_epoch_that_is_said_to_be_enough(wave_dataset: Any) -> None:
    whole = fitted(wave_dataset, QUICK.model_copy(update={"epochs": 3}))
    told: list[float] = []

    def enough(record: dict[str, float]) -> bool:
        told.append(record["epoch"])
        return len(told) == 2

    cut = fitted(wave_dataset, QUICK.model_copy(update={"epochs": 3}), on_epoch=enough)
    assert told == [1, 2]
    assert [record["validation_loss"] for record in cut.history] == [record["validation_loss"] for record in whole.history[:2]]


class SecondOfTwo(OneProcess):
    """A rank that only hears what the first one says is enough."""

    rank, size = 1, 2

    def gather(self, value: Any) -> list[Any]:
        return [True if value is False else value, value]


def test_all_ranks_end_at_the_word_of_the_first(wave_dataset: Any) -> None:
    asked: list[dict[str, float]] = []
    trained = fitted(wave_dataset, QUICK, SecondOfTwo(), on_epoch=asked.append)
    assert len(trained.history) == 1
    assert asked == []


def test_time_that_is_up_ends_training_within_the_epoch(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"epochs": 1000, "max_seconds": 1e-6})
    steps: list[tuple[int, int]] = []
    trained = fitted(wave_dataset, settings, on_step=lambda *at: steps.append(at))
    assert len(trained.history) == 1
    assert max(steps) == (1, 1)
    assert "validation_loss" in trained.history[0]


def test_without_validation_windows_the_last_epoch_is_kept(wave_dataset: Any, over: Over) -> None:
    splits = {**wave_dataset.splits, "validation": over(np.zeros((3, 2)), 24, 12)}
    trained = fitted(replace(wave_dataset, splits=splits), QUICK)
    assert trained.best_epoch == len(trained.history) == 2


def test_no_training_window_is_said(wave_dataset: Any, over: Over) -> None:
    nothing = over(np.zeros((3, 2)), 24, 12)
    with pytest.raises(InputError, match="no training windows"):
        fitted(replace(wave_dataset, splits={"train": nothing, "validation": nothing}), QUICK)


def test_a_loss_that_is_no_number_names_epoch_and_step(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(InputError, match=r"epoch 1, step \d+: the loss is (nan|inf).*series 'a'.*learning_rate"):
        fitted(wave_dataset, settings)


@pytest.mark.parametrize("mixing", [False, True])
def test_the_window_that_breaks_the_loss_is_named(wave_dataset: Any, over: Over, mixing: bool) -> None:
    values = np.random.default_rng(0).normal(size=(400, 2))
    values[210, 1] = 1e30
    settings = QUICK.model_copy(update={"normalise": "last" if mixing else "none", "mixing": mixing, "line": 0.0})
    with pytest.raises(InputError) as raised:
        fitted(replace(wave_dataset, splits={**wave_dataset.splits, "train": over(values, 24, 12)}), settings)
    found = re.search(r"series 'a', the one that begins at (\S+) \(values up to 1e\+30", str(raised.value))
    assert found
    begins = (np.datetime64(found[1]) - np.datetime64("2020-01-01")) // np.timedelta64(1, "h")
    assert begins <= 210 < begins + 36


@pytest.mark.parametrize("stop", [3, 20, 25], ids=["in the first epoch", "in the second", "after it"])
def test_a_training_that_goes_on_from_a_checkpoint_ends_as_one_that_was_not_cut(wave_dataset: Any, stop: int) -> None:
    settings = QUICK.model_copy(update={"dropout": 0.3, "epochs": 3, "checkpoint_steps": 1, "schedule": "cosine", "warmup": 0.5})
    whole = fitted(wave_dataset, settings)
    saved: list[bytes] = []
    fitted(wave_dataset, settings, on_checkpoint=lambda state: saved.append(state.to_bytes({"seed": 0})))
    state = State.from_bytes(saved[stop], {"seed": 0}, "file")
    told: list[tuple[int, int]] = []
    resumed = fitted(wave_dataset, settings, resume=state, on_step=lambda *at: told.append(at))
    assert told[0] == (state.epoch, state.step + 1)
    assert resumed.weights_digest == whole.weights_digest
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    data = State(weights=[np.ones(3)]).to_bytes({"seed": 0, "dataset": "a"})
    for damaged in (b"", data[: len(data) // 2], b"no archive"):
        with pytest.raises(InputError, match="file: not a checkpoint of a training, or damaged"):
            State.from_bytes(damaged, {}, "file")
    with pytest.raises(InputError, match="file: the checkpoint is of another training: dataset was 'a', and is 'b'"):
        State.from_bytes(data, {"seed": 0, "dataset": "b"}, "file")
    with pytest.raises(InputError, match="there is no checkpoint to go on from"):
        TrainingFile(tmp_path / "none", {}, resume=True).restore()


class Astray(OneProcess):
    def gather(self, value: Any) -> list[Any]:
        return [value, "0" * 64]


def test_unequal_weights_are_an_error(wave_dataset: Any) -> None:
    with pytest.raises(RuntimeError, match="unequal weights"):
        fitted(wave_dataset, QUICK, Astray())


def test_each_member_learns_as_if_it_were_alone_with_a_seed_of_its_own(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"epochs": 1, "members": 2, "line": 0.0, "mixing": True})
    together, epochs = fitted(wave_dataset, settings), list[dict[str, float]]()
    expected: list[np.ndarray] = []
    for seed in settings.member_seeds:
        alone = fitted(wave_dataset, settings.model_copy(update={"members": 1, "seed": seed}), on_epoch=epochs.append)
        expected += alone.weights
    for got, want in zip(together.weights, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    assert together.history[0]["loss"] == pytest.approx(np.mean([record["loss"] for record in epochs]), rel=1e-4)
    assert together.history[0]["validation_loss"] < np.mean([record["validation_loss"] for record in epochs])


def test_windows_of_more_than_channels_are_not_mixed(wave_dataset: Any) -> None:
    beside = replace(wave_dataset, attributes=(Column(name="site"),))
    with pytest.raises(InputError, match="'site' is one"):
        fitted(beside, QUICK.model_copy(update={"mixing": True}))


def test_the_average_is_kept_and_training_goes_on_from_the_last_weights(wave_dataset: Any) -> None:
    def after_each_epoch(averaging: float) -> list[tuple[str, str]]:
        kept: list[tuple[str, str]] = []
        fitted(
            wave_dataset,
            QUICK.model_copy(update={"averaging": averaging}),
            on_checkpoint=lambda state: kept.append((digest_of(state.weights), digest_of(state.best))),
        )
        return kept

    bare, smoothed = after_each_epoch(0.0), after_each_epoch(0.9)
    assert len(bare) == QUICK.epochs
    assert [weights for weights, _ in bare] == [weights for weights, _ in smoothed]
    assert bare[0][0] == bare[0][1]
    assert smoothed[0][0] != smoothed[0][1]


@pytest.mark.parametrize(("changed", "there"), [({}, True), ({"skip": "linear"}, True), ({"normalise": "mean"}, False)])
def test_the_line_in_a_network_is_the_closed_form(wave_dataset: Any, changed: dict[str, Any], there: bool) -> None:
    trained = fitted(wave_dataset, QUICK.model_copy(update={"epochs": 1, **changed}))
    network = build(trained.settings, trained.inputs)
    network.set_weights(list(trained.weights))
    paths = [layer for layer in network.layers if isinstance(layer, LinearPath)]
    assert bool(paths) == there
    for path in paths:
        np.testing.assert_array_equal(path.kernel, closed_form(wave_dataset.windows("train"), trained.settings.ridge))


def test_a_hole_in_every_window_leaves_the_line_in_a_network(over: Over) -> None:
    values, observed = np.sin(2 * np.pi * np.arange(300) / 12)[:, None], np.ones((300, 1))
    observed[::6] = 0
    training = over(values, 24, 12, observed)
    assert not training.batch(np.arange(len(training))).target_observed.all(axis=(1, 2)).any()
    kernel = closed_form(training, 1e-6)
    batch = training.batch(np.arange(20))
    last = batch.context[:, -1:]
    found = np.asarray(_path_of(kernel)(batch.context - last)) + last
    np.testing.assert_allclose(found, batch.target, atol=1e-3)


def _path_of(kernel: np.ndarray) -> LinearPath:
    path = LinearPath(kernel.shape[1])
    path.build((None, kernel.shape[0] - 1, 1))
    path.set_weights([kernel])
    return path
