"""One pass over all data: each part is mapped to additive statistics where it lies, and these are summed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from classical.additive import pairwise_sum
from prep.blocks import Address, Block, read
from prep.errors import InputError
from prep.workers import settle

Source = Any  # an Address, or what `e_step` takes: a Block
Reader = Callable[[Address], Block]
# (models, description) -> (statistics of all data, one a model; processor seconds spent in other processes)
Pass = Callable[[Sequence[Any], str], tuple[list[Any], float]]


def passes(
    data: Sequence[Source] | Any,
    *,
    spark: Any = None,
    partitions: int | None = None,
    threads: int = 1,
    reader: Reader = read,
) -> Pass:
    """What takes the E-steps of some models on all of `data`: addresses of rows, rows in memory, or an RDD of either.

    spark       a session, for data that are no RDD: tasks read the addresses, in `partitions` (default: as many as run at once)
    threads     how many E-steps are taken at once where neither is given

    Raises InputError where there are no data.
    """
    if hasattr(data, "mapPartitions"):
        return _on_spark(data, reader)
    if not data:
        raise InputError("there is nothing to fit: the training split has no rows")
    if spark is not None:
        context = spark.sparkContext
        return _on_spark(context.parallelize(data, min(len(data), partitions or context.defaultParallelism)), reader)
    return lambda models, _: (_summed(list(_mapped(models, data, reader, threads))), 0.0)


def _on_spark(rdd: Any, reader: Reader) -> Pass:
    context = rdd.context

    def gather(models: Sequence[Any], description: str) -> tuple[list[Any], float]:
        broadcast = context.broadcast(models)

        def task(sources: Iterator[Source]) -> Iterator[tuple[list[Any], float]]:
            settle()
            cpu = time.process_time()
            parts = [_e_steps(broadcast.value, source, reader) for source in sources]
            if parts:
                yield _summed(parts), time.process_time() - cpu

        context.setJobDescription(description)
        try:
            results = rdd.mapPartitions(task).collect()
        finally:
            context.setJobDescription(None)
            broadcast.destroy()
        if not results:
            raise InputError("there is nothing to fit: no partition has rows")
        return _summed([statistics for statistics, _ in results]), sum(cpu for _, cpu in results)

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


def _summed(parts: Sequence[list[Any]]) -> list[Any]:
    return [pairwise_sum(of_model) for of_model in zip(*parts, strict=True)]
