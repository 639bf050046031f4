"""Preparation of a Spark task that trains, and the driver's wait for such tasks."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from pyspark import InheritableThread, TaskContext

from hindcast.deep.lean import import_lean
from hindcast.prep.dataset.blocks import Address
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.spark.gpus import see_gpus_of_task
from hindcast.prep.spark.workers import settle

POLL_SECONDS = 0.2
T = TypeVar("T")


def prepare_worker() -> None:
    """Called first by every task: TensorFlow, imported once in a worker's life, gets as many threads as a task has cores.

    It sees no GPU but those that Spark gives the task.
    """
    _import_tensorflow(TaskContext.get().cpus())


@lru_cache(1)
def _import_tensorflow(threads: int) -> None:
    settle()
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    see_gpus_of_task()
    import_lean()
    import hindcast.deep.ways.partitions.reused_learner  # noqa: F401

    # A worker looks for garbage after every task: not among TensorFlow's million objects.
    gc.collect()
    gc.freeze()


@lru_cache(2)
def opened(location: str, digest: str) -> SequenceDataset:
    """The dataset at a location, opened once in a worker's life; anew where another one, of another digest, lies there."""
    return SequenceDataset.open(location)


@lru_cache(8)
def windows_at(location: str, digest: str, split: str, addresses: tuple[Address, ...]) -> Windows:
    """The windows of some row groups: the next series may well lie in the same ones."""
    return opened(location, digest).windows(split, addresses)


def watched(job: Callable[[], T], tell: Callable[[], None]) -> T:
    """What a Spark job gives. It runs in a thread of its own; meanwhile `tell` is called in this one, several times a second."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(job())
        except BaseException as error:  # carried to the caller's thread
            failures.append(error)

    thread = InheritableThread(target=run, daemon=True, name="job on spark")
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        tell()
    if failures:
        raise failures[0]
    return results[0]
