"""One pass over all data: each part is mapped to additive statistics where it lies, and these are summed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, runtime_checkable

from hindcast.classical.additive import pairwise_sum
from hindcast.prep.dataset.blocks import Address, Block, read
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described
from hindcast.prep.spark.workers import settle

Source = Any  # an Address, or what `e_step` takes: a Block
Reader = Callable[[Address], Block]
# (models, description) -> (statistics of all data, one a model; processor seconds spent in other processes)
Pass = Callable[[Sequence[Any], str], tuple[list[Any], float]]
# What is done with the blocks of one task, and what it yields.
Task = Callable[[Iterator[Any]], Iterator[Any]]


@runtime_checkable
class Spread(Protocol):
    """Data that lie on the nodes of a cluster, and know how to take a task there."""

    def through(self, task: Task, description: str) -> list[Any]:
        """All that `task` yields, in tasks that each have some of the blocks, in an order that stays."""


def passes(
    data: Sequence[Source] | Spread,
    *,
    spark: Any = None,
    partitions: int | None = None,
    threads: int = 1,
    reader: Reader = read,
) -> Pass:
    """What takes the E-steps of some models on all of `data`: addresses of rows, rows in memory, or what is spread already.

    spark       a session: tasks read the addresses, in `partitions` (default: as many as run at once)
    threads     how many E-steps are taken at once where nothing runs on Spark

    Raises InputError where there are no data.
    """
    if isinstance(data, Spread):
        return _on_spark(data)
    if not data:
        raise InputError("there is nothing to fit: the training split has no rows")
    if spark is not None:
        context = spark.sparkContext
        return _on_spark(_Read(context.parallelize(data, min(len(data), partitions or context.defaultParallelism)), reader))
    return lambda models, _: (_summed(_mapped(models, data, reader, threads)), 0.0)


@dataclass(frozen=True)
class _Read:
    """An RDD of sources, each read by the task that has it."""

    rdd: Any
    reader: Reader

    def through(self, task: Task, description: str) -> list[Any]:
        reader = self.reader
        with described(self.rdd.context, description):
            found: list[Any] = self.rdd.mapPartitions(lambda sources: task(_block(one, reader) for one in sources)).collect()
        return found


def _on_spark(data: Spread) -> Pass:
    def gather(models: Sequence[Any], description: str) -> tuple[list[Any], float]:
        # The models go with the task's function; what is large, pyspark broadcasts of itself.
        def task(blocks: Iterator[Block]) -> Iterator[tuple[list[Any], float]]:
            settle()
            cpu = time.process_time()
            for first in blocks:
                rest = (_e_steps(models, block) for block in blocks)
                yield _summed(chain([_e_steps(models, first)], rest)), time.process_time() - cpu

        results = data.through(task, description)
        if not results:
            raise InputError("there is nothing to fit: no partition has rows")
        return _summed(statistics for statistics, _ in results), sum(cpu for _, cpu in results)

    return gather


def _mapped(models: Sequence[Any], data: Sequence[Source], reader: Reader, threads: int) -> Iterator[list[Any]]:
    if threads == 1 or len(data) == 1:
        yield from (_e_steps(models, _block(source, reader)) for source in data)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="hindcast-e-step") as pool:
        yield from pool.map(lambda source: _e_steps(models, _block(source, reader)), data)


def _block(source: Source, reader: Reader) -> Any:
    return reader(source) if isinstance(source, Address) else source


def _e_steps(models: Sequence[Any], block: Any) -> list[Any]:
    return [model.e_step(block) for model in models]


def _summed(parts: Iterable[list[Any]]) -> list[Any]:
    """Of each model."""
    total: list[Any] = pairwise_sum(parts, lambda a, b: [one + other for one, other in zip(a, b, strict=True)])
    return total
