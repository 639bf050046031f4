"""The segment LSTM by Keras's own `fit`, by ours in one process, and by Horovod on Spark: seconds an epoch, and how good it gets.

    python benchmarks/lstm_ranks.py DATASET [--ranks 2] [--epochs 3]

All three take the same network, optimiser and global batch. The first epoch traces graphs: the median is of those after it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from hindcast.deep.forecaster import LstmForecaster, forecaster_of
from hindcast.deep.inputs import inputs_of
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.local import fit_local
from hindcast.deep.ways.spark import fit_on_spark
from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.sequence_dataset import SequenceDataset


@dataclass(frozen=True)
class Result:
    """Seconds of each epoch, of everything from the call to the model, and of all processors; mean squared errors, scaled."""

    name: str
    epochs: list[float]
    wall: float
    cpu: float
    validation: float
    test: float

    @property
    def epoch(self) -> float:
        return float(np.median(self.epochs[1:] or self.epochs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    dataset = SequenceDataset.open(asked.dataset)
    settings = LstmSettings(epochs=asked.epochs, patience=asked.epochs)

    # Spark first: its ranks must not share the cores with a TensorFlow that is already warm in this process.
    began = time.perf_counter()
    with spark_session(f"local[{asked.ranks}]", name="benchmark") as spark:
        ranks = fit_on_spark(spark, asked.dataset, settings, asked.ranks)
    wall = time.perf_counter() - began
    results = [stock_keras(dataset, settings), scored("hindcast, one process", fit_local(dataset, settings), dataset)]
    results.append(scored(f"hindcast, {asked.ranks} ranks of Horovod on Spark", ranks, dataset, wall))
    report(dataset, results)


def scored(name: str, forecaster: LstmForecaster, dataset: SequenceDataset, wall: float | None = None) -> Result:
    card = forecaster.card
    validation = min(record["validation_loss"] for record in card.history)
    epochs = [record["seconds"] for record in card.history]
    return Result(name, epochs, wall or card.fit_seconds, card.fit_cpu_seconds, validation, error_on(forecaster, dataset, "test"))


def stock_keras(dataset: SequenceDataset, settings: LstmSettings) -> Result:
    """The peer: `compile`, `fit` and EarlyStopping as any Keras user writes them, all windows in memory."""
    import keras
    import tensorflow as tf

    from hindcast.deep.networks.building import build

    began, cpu_began = time.perf_counter(), time.process_time()
    layout, channels = dataset.layout, len(dataset.channels)
    settings = settings.for_windows(layout.context, layout.horizon)
    size = settings.windows_a_step(channels)
    inputs = inputs_of(dataset, dataset.windows("train"), settings)
    network = build(settings, inputs)
    network.compile(keras.optimizers.Adam(settings.learning_rate), "mse", jit_compile=False)
    feeds = []
    for split in ("train", "validation"):
        windows = dataset.windows(split)
        batch = windows.batch(np.arange(len(windows)))
        feeds.append(tf.data.Dataset.from_tensor_slices((inputs.arrays(batch.given), batch.target[..., None])))
    clock = Clock()
    best = keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
    network.fit(
        feeds[0].shuffle(10_000, seed=settings.seed).batch(size).prefetch(4), validation_data=feeds[1].batch(512).prefetch(4),
        epochs=settings.epochs, callbacks=[best, clock.callback()], shuffle=False, verbose=0,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    weights, history = tuple(network.get_weights()), tuple(clock.history)
    trained = Trained(settings, inputs, weights, history, 0, "", 1, wall, cpu)
    return scored("Keras's own fit, one process", forecaster_of(trained, dataset), dataset)


class Clock:
    """What Keras's history leaves out: seconds of an epoch."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def callback(self) -> object:
        import keras

        def begin(epoch: int, logs: object) -> None:
            self.began = time.perf_counter()

        def end(epoch: int, logs: dict[str, float]) -> None:
            self.history.append({"validation_loss": logs["val_loss"], "seconds": time.perf_counter() - self.began})

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


def error_on(forecaster: LstmForecaster, dataset: SequenceDataset, split: str) -> float:
    total, count = 0.0, 0.0
    for batch in dataset.windows(split).batches(512):
        forecast = forecaster.forecast(batch.given).mean
        total += float((batch.target_observed * np.square(forecast - batch.target, dtype=np.float64)).sum())
        count += float(batch.target_observed.sum())
    return total / count


def report(dataset: SequenceDataset, results: list[Result]) -> None:
    layout = dataset.layout
    packages = ", ".join(f"{name} {version(name)}" for name in ("keras", "horovod", "pyspark", "numpy"))
    windows, channels = len(dataset.windows("train")), len(dataset.channels)
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}")
    print(f"{windows} training windows of {channels} channels, {layout.context} + {layout.horizon} steps\n")
    print("| | s an epoch | ratio | s in all | CPU s | validation MSE | test MSE |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        ratio = results[0].epoch / result.epoch
        print(
            f"| {result.name} | {result.epoch:.1f} | {ratio:.2f} | {result.wall:.0f} | {result.cpu:.0f} "
            f"| {result.validation:.4f} | {result.test:.4f} |"
        )


if __name__ == "__main__":
    main()
