"""One pass over all data: each part is mapped to additive statistics where it lies, and these are summed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from classical.additive import pairwise_sum
from prep.blocks import Address, Block, read
from prep.errors import InputError
from prep.workers import settle

Source = Any  # an Address, or what `e_step` takes: a Block
Reader = Callable[[Address], Block]
# (models, description) -> (statistics of all data, one a model; processor seconds spent in other processes)
Pass = Callable[[Sequence[Any], str], tuple[list[Any], float]]
# Spark needs about 10 milliseconds for a task beside its work, in which a core goes through some 100 thousand steps.
STEPS_A_TASK = 2_000_000


def passes(
    data: Sequence[Source] | Any,
    *,
    spark: Any = None,
    partitions: int | None = None,
    threads: int = 1,
    reader: Reader = read,
    steps: int | None = None,
) -> Pass:
    """What takes the E-steps of some models on all of `data`: addresses of rows, rows in memory, or an RDD of either.

    spark       a session, for data that are no RDD: tasks read the addresses, in `partitions` (default: as many as run at once)
    threads     how many E-steps are taken at once where neither is given
    steps       of an RDD, together, if they are known: small partitions then share tasks, as far as that leaves no core idle

    Raises InputError where there are no data.
    """
    if hasattr(data, "mapPartitions"):
        return _on_spark(data if steps is None else _in_fewer_tasks(data, steps), reader)
    if not data:
        raise InputError("there is nothing to fit: the training split has no rows")
    if spark is not None:
        context = spark.sparkContext
        return _on_spark(context.parallelize(data, min(len(data), partitions or context.defaultParallelism)), reader)
    return lambda models, _: (_summed(_mapped(models, data, reader, threads)), 0.0)


def _in_fewer_tasks(rdd: Any, steps: int) -> Any:
    # By size, not by the time that an iteration took: the order of sums is the same in every run.
    tasks = max(rdd.context.defaultParallelism, -(-steps // STEPS_A_TASK))
    return rdd.coalesce(tasks) if tasks < rdd.getNumPartitions() else rdd


def _on_spark(rdd: Any, reader: Reader) -> Pass:
    context = rdd.context

    def gather(models: Sequence[Any], description: str) -> tuple[list[Any], float]:
        # The models go with the task's function; what is large, pyspark broadcasts of itself.
        def task(sources: Iterator[Source]) -> Iterator[tuple[list[Any], float]]:
            settle()
            cpu = time.process_time()
            for first in sources:
                rest = (_e_steps(models, source, reader) for source in sources)
                yield _summed(chain([_e_steps(models, first, reader)], rest)), time.process_time() - cpu

        context.setJobDescription(description)
        try:
            results = rdd.mapPartitions(task).collect()
        finally:
            context.setJobDescription(None)
        if not results:
            raise InputError("there is nothing to fit: no partition has rows")
        return _summed(statistics for statistics, _ in results), sum(cpu for _, cpu in results)

    return gather


def _mapped(models: Sequence[Any], data: Sequence[Source], reader: Reader, threads: int) -> Iterator[list[Any]]:
    if threads == 1 or len(data) == 1:
        yield from (_e_steps(models, source, reader) for source in data)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="hindcast-e-step") as pool:
        yield from pool.map(lambda source: _e_steps(models, source, reader), data)


def _e_steps(models: Sequence[Any], source: Source, reader: Reader) -> list[Any]:
    block = reader(source) if isinstance(source, Address) else source
    return [model.e_step(block) for model in models]


def _summed(parts: Iterable[list[Any]]) -> list[Any]:
    """Of each model."""
    total: list[Any] = pairwise_sum(parts, lambda a, b: [one + other for one, other in zip(a, b, strict=True)])
    return total
