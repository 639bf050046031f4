from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deep.collective import Collective, OneProcess
from deep.feed import Share, take
from deep.networks import build
from deep.settings import LstmSettings
from deep.trained import Trained
from deep.training import Learner, digest_of, squared_error, train
from prep.errors import InputError
from prep.windows import Windows

Over = Callable[..., Windows]
QUICK = LstmSettings(units=16, segment=12, batch=64, epochs=2, dropout=0.0, learning_rate=5e-3)


def fitted(dataset: Any, settings: LstmSettings, collective: Collective | None = None, **progress: Any) -> Trained:
    return train(dataset.windows("train"), dataset.windows("validation"), settings, collective or OneProcess(), **progress)


class Captured(OneProcess):
    """Keeps what a rank gives to the sum, and hands back what it is told the sum over ranks is."""

    def __init__(self, answer: list[np.ndarray] | None = None) -> None:
        self.answer, self.given = answer, []

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.given = [tensor.numpy() for tensor in tensors]
        return tensors if self.answer is None else [tf.constant(array) for array in self.answer]


def stepped(batch: tuple[Any, Any, Any], collective: Captured) -> list[np.ndarray]:
    """Weights after one step of plain gradient descent from the same start."""
    learner = Learner(build(LstmSettings(units=8, segment=4, dropout=0.0), 8, 4, 2), collective)
    learner.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    learner.train_step(tuple(map(tf.constant, batch)))
    return learner.network.get_weights()


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_a_step_of_several_ranks_is_the_step_of_one_over_the_global_batch(over: Over, ranks: int) -> None:
    generator = np.random.default_rng(1)
    windows = over(generator.normal(size=(40, 2)), 8, 4, generator.random((40, 2)) < 0.7)
    numbers = np.arange(5)  # fewer than 7 ranks: two of them hold nothing
    alone = Share(len(numbers), 5, 0, 1)
    expected = stepped(take(windows, numbers, alone.size), Captured())

    shares = [Share(len(numbers), 5, rank, ranks) for rank in range(ranks)]
    batches = [take(windows, numbers[slice(*share.places(0))], share.size) for share in shares]
    given = []
    for batch in batches:
        stepped(batch, collective := Captured())
        given.append(collective.given)
    total = [np.sum(parts, axis=0) for parts in zip(*given, strict=True)]
    for got, want in zip(stepped(batches[-1], Captured(total)), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_filled_target_does_not_count() -> None:
    generator = np.random.default_rng(0)
    target, forecast = generator.normal(size=(2, 3, 4, 2)).astype(np.float32)
    weight = np.ones((3, 4, 2), np.uint8)
    weight[1] = 0
    total, count = squared_error(target, forecast, weight)
    assert count == 16
    np.testing.assert_allclose(total, np.square(target - forecast)[[0, 2]].sum(), rtol=1e-6)
    wild = np.where(weight == 0, 1e9, target).astype(np.float32)
    assert squared_error(wild, forecast, weight)[0] == total


def test_waves_are_learnt_to_near_their_noise(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"epochs": 5, "units": 32})
    trained = fitted(wave_dataset, settings)
    losses = [record["validation_loss"] for record in trained.history]
    # The noise's variance is 0.01 on the target; the last value, which is subtracted, carries it too and must be seen through.
    assert 0.01 < min(losses) < 0.018
    assert trained.best_epoch == 1 + int(np.argmin(losses))


def test_training_repeats_exactly(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"dropout": 0.3})
    first, second = (fitted(wave_dataset, settings) for _ in range(2))
    assert first.weights_digest == second.weights_digest == digest_of(list(first.weights))


def test_validation_loss_is_of_the_weights_that_were_kept(wave_dataset: Any) -> None:
    validation = wave_dataset.windows("validation")
    trained = fitted(wave_dataset, QUICK)
    network = build(trained.settings, 24, 12, 2)
    network.set_weights(list(trained.weights))
    batch = validation.batch(np.arange(len(validation)))
    loss = np.square(network.predict(batch.context, verbose=0) - batch.target).mean()
    np.testing.assert_allclose(loss, trained.history[trained.best_epoch - 1]["validation_loss"], rtol=1e-5)


def test_progress_is_told_and_steps_are_counted(wave_dataset: Any) -> None:
    epochs: list[dict[str, float]] = []
    steps: list[tuple[int, int]] = []
    fitted(wave_dataset, QUICK, on_epoch=epochs.append, on_step=lambda *at: steps.append(at))
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert set(epochs[0]) == {"epoch", "loss", "validation_loss", "seconds"}
    assert {step for epoch, step in steps if epoch == 1} == set(range(1, -(-len(wave_dataset.windows("train")) // 32) + 1))


def test_time_that_is_up_ends_training_within_the_epoch(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"epochs": 1000, "max_seconds": 1e-6})
    steps: list[tuple[int, int]] = []
    trained = fitted(wave_dataset, settings, on_step=lambda *at: steps.append(at))
    assert len(trained.history) == 1
    assert max(steps) == (1, 1)
    assert "validation_loss" in trained.history[0]


def test_without_validation_windows_the_last_epoch_is_kept(wave_dataset: Any, over: Over) -> None:
    trained = train(wave_dataset.windows("train"), over(np.zeros((3, 2)), 24, 12), QUICK, OneProcess())
    assert trained.best_epoch == len(trained.history) == 2


def test_no_training_window_is_said(over: Over) -> None:
    nothing = over(np.zeros((3, 2)), 24, 12)
    with pytest.raises(InputError, match="no training windows"):
        train(nothing, nothing, QUICK, OneProcess())


def test_a_loss_that_is_no_number_names_epoch_and_step(wave_dataset: Any) -> None:
    settings = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(InputError, match=r"epoch 1, step \d+: the loss is (nan|inf).*learning_rate"):
        fitted(wave_dataset, settings)


class Astray(OneProcess):
    def gather(self, value: Any) -> list[Any]:
        return [value, "0" * 64]


def test_unequal_weights_are_an_error(wave_dataset: Any) -> None:
    with pytest.raises(RuntimeError, match="unequal weights"):
        fitted(wave_dataset, QUICK, Astray())
