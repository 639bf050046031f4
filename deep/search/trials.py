"""A search over settings: one training for each, side by side as Spark tasks, the hopeless ones stopped early.

A trial is trained in a task by one process with one TensorFlow thread, on the training split, and judged by its validation loss.
Tasks get the dataset without its test split, whose files they cannot find.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import SparkSession

from hindcast.deep.lean import import_lean
from hindcast.deep.search.median import Race
from hindcast.deep.search.questions import Desk, ask
from hindcast.deep.settings import LstmSettings
from hindcast.deep.ways.listening import PORTS, Address, ports_of
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described
from hindcast.prep.spark.gpus import see_gpus_of_task

# Before TensorFlow is imported, which looks once.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

LOOPBACK = "127.0.0.1"
COMPLETE = ("epochs", "patience", "time")

OnReport = Callable[[int, Sequence[float]], None]


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    losses   validation losses of the epochs that count
    epochs   how many were trained: of a trial that was stopped, some may not count
    seconds  that its training took
    ended    why: "epochs" (all of them), "patience", "time", "median" (stopped) or "failed", and then `error` says how
    """

    trial: int
    losses: tuple[float, ...]
    epochs: int
    seconds: float
    ended: str
    error: str = ""

    @property
    def loss(self) -> float:
        """The smallest loss; infinite where the trial failed."""
        return math.inf if self.ended == "failed" else min(self.losses, default=math.inf)


def search(
    spark: SparkSession,
    dataset: SequenceDataset,
    trials: Sequence[LstmSettings],
    grace: int = 1,
    on_report: OnReport | None = None,
) -> list[Outcome]:
    """Trains each of `trials` in a Spark task of its own. Returns their outcomes, in the same order.

    After `grace` epochs or later a trial may be stopped as search/median.py says. Which ones are, and after which epoch, is a
    function of the losses: not of how many run at once, nor of which is quicker. `on_report(trial, losses)` is called after each
    epoch, in another thread. A trial has failed where it raises InputError (a loss that is no number) or has no memory left, and
    the others go on.

    Raises InputError as `must_be_searchable` does.
    """
    must_be_searchable(dataset, trials)
    race, visible = Race([settings.epochs for settings in trials], grace), dataset.without("test")

    def decide(trial: int, losses: tuple[float, ...], end: str) -> bool:
        if end:
            race.end(trial, losses, end == "complete")
            return False
        if on_report is not None:
            on_report(trial, losses)
        return race.report(trial, losses)

    conf = spark.sparkContext.getConf()
    host = LOOPBACK if spark.sparkContext.master.startswith("local") else conf.get("spark.driver.host")
    bind = LOOPBACK if host == LOOPBACK else conf.get("spark.driver.bindAddress", host)
    with Desk(bind, host, decide, ports_of(conf.get(PORTS))) as desk:
        address = desk.address
        tasks = spark.sparkContext.parallelize(list(enumerate(trials)), len(trials))
        with described(spark.sparkContext, f"{len(trials)} trials"):
            outcomes = tasks.map(lambda numbered: run_trial(numbered[0], numbered[1], visible, address)).collect()
    return judged(outcomes, trials, grace)


def must_be_searchable(dataset: SequenceDataset, trials: Sequence[LstmSettings]) -> None:
    """Raises InputError where a channel is a category, there are no windows to train or choose by, or a segment does not fit."""
    must_be_numbers(dataset)
    for split, use in (("train", "trials learn from it"), ("validation", "trials are judged by it, never by the test split")):
        if not dataset.manifest.windows(split):
            raise InputError(
                f"{dataset.location}: the {split} split has no windows: {use}. Prepare the dataset again with a longer one "
                f"(split.{split})"
            )
    for settings in trials:
        if settings.segment is not None:
            settings.for_windows(dataset.layout.context, dataset.layout.horizon)


def run_trial(trial: int, settings: LstmSettings, dataset: SequenceDataset, address: Address) -> Outcome:
    """One trial, in a Spark task. An exception is the failure of the task, not of the trial: Spark repeats the task."""
    outcome = _trained(trial, settings, dataset, address)
    if outcome.ended != "median":  # of that the driver knows
        ask(address, trial, outcome.losses, "complete" if outcome.ended in COMPLETE else "failed")
    return outcome


def _trained(trial: int, settings: LstmSettings, dataset: SequenceDataset, address: Address) -> Outcome:
    os.environ.update(ONE_THREAD)
    see_gpus_of_task()
    import_lean()
    # TensorFlow: only now.
    import tensorflow as tf

    from hindcast.deep.training.collective import OneProcess
    from hindcast.deep.ways.local import train_on

    losses: list[float] = []
    stopped = False

    def enough(record: dict[str, float]) -> bool:
        nonlocal stopped
        loss = record["validation_loss"]
        if not math.isfinite(loss):
            raise InputError(f"epoch {record['epoch']:.0f}: the validation loss is {loss}. Lower learning_rate, or set clip_norm")
        losses.append(loss)
        answer = ask(address, trial, losses)
        if answer is None:
            sys.stderr.write(f"hindcast: trial {trial}, epoch {len(losses)}: the driver did not answer; it goes on\n")
        stopped = answer is True
        return stopped

    began = time.perf_counter()
    try:
        trained = train_on(dataset, settings, OneProcess(), on_epoch=enough)
    except (InputError, MemoryError, tf.errors.ResourceExhaustedError) as error:
        why = str(error) if isinstance(error, InputError) else "out of memory: try smaller ones of units, layers and batch"
        return Outcome(trial, tuple(losses), len(losses), time.perf_counter() - began, "failed", why)
    if stopped:
        ended = "median"
    elif len(losses) == settings.epochs:
        ended = "epochs"
    else:
        ended = "patience" if len(losses) - trained.best_epoch >= settings.patience else "time"
    return Outcome(trial, tuple(losses), len(losses), trained.seconds, ended)


def judged(outcomes: Sequence[Outcome], trials: Sequence[LstmSettings], grace: int) -> list[Outcome]:
    """The outcomes with the final verdicts: of each trial, only the epochs before it would have been stopped."""
    race = Race([settings.epochs for settings in trials], grace)
    for outcome in outcomes:
        race.end(outcome.trial, outcome.losses, outcome.ended in COMPLETE)
    stopped = [course.stopped for course in race.courses]
    return [
        outcome if epoch is None else replace(outcome, losses=outcome.losses[:epoch], ended="median", error="")
        for outcome, epoch in zip(outcomes, stopped, strict=True)
    ]
