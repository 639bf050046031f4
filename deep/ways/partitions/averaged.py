"""One model in all partitions: in each round, every partition trains an epoch on its own windows, and weights are averaged.

McMahan et al. 2017 (arXiv:1602.05629, Algorithm 1, with one local epoch), where also the optimiser's state is averaged. With one
partition it is training in one process, step for step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from pyspark import Broadcast
from pyspark.sql import SparkSession

from hindcast.deep.digests import digest_of
from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.partitions.tasks import opened, prepare_worker
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described

DROPOUT_APART = 1000

OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Share:
    """The windows of partition `number`: [start, stop) of training, and of validation."""

    number: int
    training: tuple[int, int]
    validation: tuple[int, int]


@dataclass(frozen=True)
class PartitionEpoch:
    """The result of an epoch in one partition.

    windows             how many it has
    weights, smooth     the last weights, and their moving average
    total, count        sums of losses, and of the targets that they are of
    cpu_seconds         of the task
    """

    windows: int
    weights: list[np.ndarray]
    smooth: list[np.ndarray]
    optimiser: list[np.ndarray]
    dropout: list[list[int]]
    total: float
    count: float
    learning_rate: float
    cpu_seconds: float


@dataclass(frozen=True)
class Job:
    """Arguments of a task that are the same in every round."""

    location: str
    digest: str
    inputs: Inputs
    settings: LstmSettings


def train_averaged(
    spark: SparkSession,
    dataset: SequenceDataset,
    inputs: Inputs,
    settings: LstmSettings,
    count: int,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """As `train` (deep/training/training.py), by rounds of `count` partitions; `settings` with the segment decided. A partition
    without windows takes no part. `max_seconds` is looked at after each round.

    Raises InputError where there are no training windows, or the loss ceases to be finite in a partition.
    """
    began, cpu_seconds = time.perf_counter(), 0.0
    shares = shares_of(dataset, count)
    # The key of the traced network is its settings: a limit on time is the driver's business.
    job = Job(dataset.location, dataset.digest, inputs, settings.model_copy(update={"max_seconds": None}))
    state, dropout = State(), dict[int, list[list[int]]]()
    while state.goes_on(settings):
        round_began = time.perf_counter()
        arguments = (job, replace(state, best=[], history=[]), dropout)
        results = _on_all(spark, shares, arguments, train_share, f"epoch {state.epoch}: training")
        by_partition = {share.number: result for share, result in zip(shares, results, strict=True) if result is not None}
        if not by_partition:
            raise InputError("no training windows: the training split is shorter than a window, or all of it is broken by gaps")
        for name in ("weights", "optimiser"):
            setattr(state, name, averaged([(result.windows, getattr(result, name)) for result in by_partition.values()]))
        dropout = {number: result.dropout for number, result in by_partition.items()}
        record = _record(state.epoch, list(by_partition.values()))
        smooth = averaged([(result.windows, result.smooth) for result in by_partition.values()])
        sums = _on_all(spark, shares, (job, smooth), validate_share, f"epoch {state.epoch}: validation")
        if any(targets for _, targets, _ in sums):
            record["validation_loss"] = sum(total for total, _, _ in sums) / max(sum(targets for _, targets, _ in sums), 1.0)
        state.end_epoch({**record, "seconds": time.perf_counter() - round_began}, smooth)
        cpu_seconds += sum(result.cpu_seconds for result in by_partition.values()) + sum(cpu for _, _, cpu in sums)
        if on_epoch is not None:
            on_epoch(state.history[-1])
        if settings.max_seconds is not None and time.perf_counter() - began > settings.max_seconds:
            break
    return Trained(
        settings, inputs, tuple(state.best), tuple(state.history), state.best_epoch, digest_of(state.best), count,
        time.perf_counter() - began, cpu_seconds,
    )  # fmt: skip


def shares_of(dataset: SequenceDataset, count: int) -> list[Share]:
    """Even shares of the windows, in the order of the files: a partition reads few of the row groups."""
    borders = {
        split: np.linspace(0, sum(sum(part.windows) for part in dataset.manifest.parts if part.split == split), count + 1)
        .round()
        .astype(int)
        .tolist()
        for split in ("train", "validation")
    }
    cuts: dict[str, Any] = {split: list(pairwise(ends)) for split, ends in borders.items()}
    return [Share(number, cuts["train"][number], cuts["validation"][number]) for number in range(count)]


def averaged(parts: Sequence[tuple[int, Sequence[np.ndarray]]]) -> list[np.ndarray]:
    """(windows, arrays) of each partition -> the mean of each array, weighted by windows. Arrays of whole numbers, which are
    counters, are those of the first partition."""
    windows = sum(count for count, _ in parts)

    def mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
        if not np.issubdtype(arrays[0].dtype, np.floating):
            return arrays[0]
        total = sum(count * array.astype(np.float64) for (count, _), array in zip(parts, arrays, strict=True))
        return np.asarray(total / windows).astype(arrays[0].dtype)

    return [mean(arrays) for arrays in zip(*(arrays for _, arrays in parts), strict=True)]


def train_share(share: Share, job: Job, state: State, dropout: dict[int, list[list[int]]]) -> PartitionEpoch | None:
    """An epoch on a partition's windows, from the weights and the optimiser of `state`; None where there are no windows."""
    from hindcast.deep.training.collective import OneProcess
    from hindcast.deep.training.training import Trainer, straighten
    from hindcast.deep.ways.partitions.reused_learner import reused_learner

    cpu_began = time.process_time()
    training = opened(job.location, job.digest).windows_between("train", *share.training)
    if not len(training):
        return None
    trainer = Trainer(training, training.between(0, 0), job.inputs, job.settings, OneProcess(), make=reused_learner)
    learner, steps = trainer.learner, trainer.share.steps
    own = dropout.get(share.number) or [
        [numbers[0] + DROPOUT_APART * share.number, *numbers[1:]] for numbers in learner.dropout()
    ]
    if not state.weights:
        straighten(learner.network, training, job.settings)
    first = learner.arrays()
    learner.restore(
        State(weights=state.weights or first["weights"], optimiser=state.optimiser or first["optimiser"], dropout=[own])
    )
    # Partitions may take a step more or less than others: each counts its own.
    learner.optimiser.iterations.assign((state.epoch - 1) * steps)
    mine = State(epoch=state.epoch)
    trainer.epoch(mine, None)
    with learner.averaged():
        smooth = learner.network.get_weights()
    return PartitionEpoch(
        len(training), **learner.arrays(), smooth=smooth, dropout=learner.dropout(), total=mine.total, count=mine.count,
        learning_rate=float(learner.optimiser.learning_rate), cpu_seconds=time.process_time() - cpu_began,
    )  # fmt: skip


def validate_share(share: Share, job: Job, weights: list[np.ndarray]) -> tuple[float, float, float]:
    """Sums over a partition's validation windows: of losses and of targets; and CPU seconds."""
    from hindcast.deep.training.collective import OneProcess
    from hindcast.deep.training.training import Trainer
    from hindcast.deep.ways.partitions.reused_learner import reused_learner

    cpu_began = time.process_time()
    validation = opened(job.location, job.digest).windows_between("validation", *share.validation)
    if not len(validation):
        return 0.0, 0.0, 0.0
    trainer = Trainer(validation.between(0, 0), validation, job.inputs, job.settings, OneProcess(), make=reused_learner)
    trainer.learner.network.set_weights(weights)
    return *trainer.validate(State()), time.process_time() - cpu_began


def _record(epoch: int, results: Sequence[PartitionEpoch]) -> dict[str, float]:
    loss = sum(result.total for result in results) / max(sum(result.count for result in results), 1.0)
    return {"epoch": float(epoch), "loss": loss, "learning_rate": results[0].learning_rate}


def _on_all(
    spark: SparkSession, shares: Sequence[Share], arguments: tuple[Any, ...], function: Callable[..., Any], description: str
) -> list[Any]:
    """`function(share, *given)` of each share, a task each, in a job of this description. Raises InputError with the partition's
    number where one does."""
    broadcast: Broadcast[tuple[Any, ...]] = spark.sparkContext.broadcast(arguments)

    def run(share: Share) -> tuple[Any, str]:
        prepare_worker()
        try:
            return function(share, *broadcast.value), ""
        except InputError as error:  # would be the same, however often Spark tried again
            return None, str(error)
        except Exception as error:
            raise RuntimeError(f"partition {share.number}: {type(error).__name__}: {error}") from error

    try:
        with described(spark.sparkContext, description):
            results = spark.sparkContext.parallelize(shares, len(shares)).map(run).collect()
    finally:
        broadcast.destroy()
    for share, (_, why) in zip(shares, results, strict=True):
        if why:
            raise InputError(f"partition {share.number}: {why}")
    return [result for result, _ in results]
