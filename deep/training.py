"""The one training function, for all ways to run.

Keras 3 never calls the hooks of Horovod's DistributedOptimizer. Here a step takes the tape's gradients of a SUM of squared
errors, sums them and the count of targets over ranks in one collective, and applies their ratio: the gradient of the mean over
the step's whole global batch, whatever the ranks' shares of it. All that decides anything (loss, stop) is such a sum too, so it
is equal on all ranks, bit for bit, and Keras's own callbacks decide equally everywhere.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deep.collective import Collective
from deep.feed import Share, training_feed, validation_feed
from deep.networks import build
from deep.settings import LstmSettings
from deep.trained import Trained
from prep.errors import InputError
from prep.windows import Windows

VALIDATION_SEQUENCES = 4096

OnEpoch = Callable[[dict[str, float]], None]
OnStep = Callable[[int, int], None]


def train(
    training: Windows,
    validation: Windows,
    settings: LstmSettings,
    collective: Collective,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Fits a network to all training windows; keeps the weights of the epoch with the least validation loss.

    Called by every rank with the same windows and settings. `on_epoch(record)` is called on rank 0 after each epoch,
    `on_step(epoch, step)` on every rank before each step (validation too). Without validation windows the last epoch's weights
    are kept. Raises InputError where there are no training windows or the loss ceases to be finite, RuntimeError where ranks end
    with unequal weights.
    """
    if not len(training):
        raise InputError("no training windows: the training split is shorter than a window, or all of it is broken by gaps")
    began, cpu_began = time.perf_counter(), time.process_time()
    layout, channels = training.layout, training.blocks[0].values.shape[2]
    settings = settings.for_windows(layout.context, layout.horizon)
    network = build(settings, layout.context, layout.horizon, channels, seed=settings.seed + 1000 * collective.rank)
    network.set_weights(collective.broadcast(network.get_weights()))

    share = Share(len(training), settings.windows_a_step(channels), collective.rank, collective.size)
    learner = Learner(network, collective)
    learner.compile(_optimiser(settings, share.steps), jit_compile=False)
    recorder = Recorder(settings, collective, on_epoch, on_step)
    learner.fit(
        training_feed(training, share, settings.seed),
        epochs=settings.epochs,
        steps_per_epoch=share.steps,
        validation_data=_validation(validation, channels, collective),
        callbacks=[*_early_stopping(validation, settings), recorder],
        shuffle=False,  # the feed is in its order already
        verbose=0,
    )
    digest = _equal_weights(network, collective)
    cpu_seconds = sum(collective.gather(time.process_time() - cpu_began))
    return Trained(
        settings, layout.context, layout.horizon, channels, tuple(network.get_weights()), tuple(recorder.history),
        recorder.best_epoch, digest, collective.size, time.perf_counter() - began, cpu_seconds,
    )  # fmt: skip


class Learner(keras.Model):
    """A network under training: `fit` as ever, each step over the global batch."""

    def __init__(self, network: keras.Model, collective: Collective) -> None:
        super().__init__()
        self.network, self.collective = network, collective
        self.mean_loss = keras.metrics.Mean("loss", dtype="float64")
        self.late = tf.Variable(0.0, trainable=False, name="late")  # 1 on a rank whose time is up

    def call(self, context: Any, training: bool | None = None) -> Any:
        return self.network(context, training=training)

    def train_step(self, data: tuple[Any, Any, Any]) -> dict[str, Any]:
        context, target, weight = data
        with tf.GradientTape() as tape:
            total, count = squared_error(target, self.network(context, training=True), weight)
        gradients = tape.gradient(total, self.network.trainable_variables)
        *gradients, total, count, late = self.collective.sum([*gradients, total, count, tf.convert_to_tensor(self.late)])
        self.optimizer.apply([gradient / tf.maximum(count, 1) for gradient in gradients], self.network.trainable_variables)
        self.mean_loss.update_state(total / tf.maximum(count, 1), sample_weight=count)
        return {"loss": self.mean_loss.result(), "step_loss": total / tf.maximum(count, 1), "late": late}

    def test_step(self, data: tuple[Any, Any, Any]) -> dict[str, Any]:
        context, target, weight = data
        total, count = self.collective.sum(list(squared_error(target, self.network(context, training=False), weight)))
        self.mean_loss.update_state(total / tf.maximum(count, 1), sample_weight=count)
        return {"loss": self.mean_loss.result()}


def squared_error(target: Any, forecast: Any, weight: Any) -> tuple[Any, Any]:
    """(sum of weighted squared errors, sum of weights), scalars float32; all three arrays (batch, horizon, channels)."""
    weight = tf.cast(weight, tf.float32)
    return tf.reduce_sum(weight * tf.square(target - forecast)), tf.reduce_sum(weight)


class Recorder(keras.callbacks.Callback):
    """History, progress, the time limit, and the check that the loss is a number."""

    def __init__(self, settings: LstmSettings, collective: Collective, on_epoch: OnEpoch | None, on_step: OnStep | None) -> None:
        super().__init__()
        self.settings, self.rank, self.on_step = settings, collective.rank, on_step or (lambda epoch, step: None)
        self.on_epoch = on_epoch if on_epoch and collective.rank == 0 else lambda record: None
        self.history: list[dict[str, float]] = []
        self.epoch, self.step, self.began = 1, 0, time.perf_counter()

    @property
    def best_epoch(self) -> int:
        if "validation_loss" not in self.history[-1]:
            return len(self.history)
        return 1 + int(np.argmin([record["validation_loss"] for record in self.history]))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch, self.step, self.epoch_began = epoch + 1, 0, time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1
        self.on_step(self.epoch, self.step)
        # Rank 0's clock decides for all: ranks learn of it in the sum of this very step.
        limit = self.settings.max_seconds
        if self.rank == 0 and limit is not None and time.perf_counter() - self.began > limit:
            self.model.late.assign(1.0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        loss = float(logs["step_loss"])
        if not math.isfinite(loss):
            raise InputError(
                f"epoch {self.epoch}, step {self.step}: the loss is {loss}. Lower learning_rate (now "
                f"{self.settings.learning_rate:g}), or look for values in the dataset that are far out of range"
            )
        if float(logs["late"]) > 0:
            self.model.optimizer.finalize_variable_values(self.model.network.trainable_variables)  # the average of a part
            self.model.stop_training = True

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.on_step(self.epoch, self.step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        record = {"epoch": float(self.epoch), "loss": float(logs["loss"])}
        if "val_loss" in logs:
            record["validation_loss"] = float(logs["val_loss"])
        self.history.append({**record, "seconds": time.perf_counter() - self.epoch_began})
        self.on_epoch(self.history[-1])


def _optimiser(settings: LstmSettings, steps: int) -> keras.optimizers.Optimizer:
    """Adam. The moving average takes the weights' place after every epoch's last step: it is what is validated and goes on."""
    averaged = settings.averaging * steps
    if averaged <= 1:
        return keras.optimizers.Adam(settings.learning_rate)
    momentum = 1 - 1 / averaged
    return keras.optimizers.Adam(settings.learning_rate, use_ema=True, ema_momentum=momentum, ema_overwrite_frequency=steps)


def _validation(validation: Windows, channels: int, collective: Collective) -> tf.data.Dataset | None:
    if not len(validation):
        return None
    step = max(1, VALIDATION_SEQUENCES // channels)
    return validation_feed(validation, Share(len(validation), step, collective.rank, collective.size))


def _early_stopping(validation: Windows, settings: LstmSettings) -> list[keras.callbacks.Callback]:
    if not len(validation):
        return []
    return [keras.callbacks.EarlyStopping("val_loss", mode="min", patience=settings.patience, restore_best_weights=True)]


def digest_of(weights: list[np.ndarray]) -> str:
    """SHA-256 of the weights' shapes and bytes."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _equal_weights(network: keras.Model, collective: Collective) -> str:
    digests = collective.gather(digest_of(network.get_weights()))
    if len(set(digests)) > 1:
        raise RuntimeError(
            f"ranks ended with unequal weights (SHA-256 by rank: {', '.join(digest[:12] for digest in digests)}): "
            "they did not run the same steps, so the model is worth nothing"
        )
    return digests[0]
