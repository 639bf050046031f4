"""Expectation-maximisation by additive statistics: one driver, on one machine or on Spark.

Every iteration broadcasts the model, maps data to sufficient statistics, sums them, and re-estimates (Dempster, Laird and Rubin
1977). On Spark a task carries addresses of rows, never data. Parts are summed pairwise in a fixed order, so a fit on k partitions
equals a fit on one to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar

from prep.blocks import Address, Block, read
from prep.errors import InputError

ROUNDING = 1e-10

Source = Any  # an Address, or what `e_step` takes: a Block
Reader = Callable[[Address], Block]


class Statistics(Protocol):
    """Additive sufficient statistics. `count`: how many steps they describe."""

    @property
    def count(self) -> float: ...

    def __add__(self, other: Self) -> Self: ...


class Model(Protocol):
    """What can be fitted: immutable parameters and their verbs. It is made by an `initialise` of its own."""

    def e_step(self, block: Any) -> Any: ...

    def m_step(self, statistics: Any) -> Self: ...

    def log_likelihood(self, statistics: Any) -> float: ...


AnyModel = TypeVar("AnyModel", bound=Model)
OnIteration = Callable[[int, float], None]


@dataclass(frozen=True)
class History:
    """How a fit went.

    log_likelihood  one a iteration, of the parameters that the iteration began with
    seconds, cpu_seconds    one a iteration: wall time, and processor time of the driver and all tasks together
    count           steps that were scored
    stopped_by      "tolerance": the last iteration gained less; "iterations": they ran out first
    """

    log_likelihood: tuple[float, ...]
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    count: float
    stopped_by: Literal["tolerance", "iterations"]


def fit(
    model: AnyModel,
    data: Sequence[Source],
    *,
    iterations: int,
    tolerance: float,
    spark: Any = None,
    partitions: int | None = None,
    reader: Reader = read,
    on_iteration: OnIteration | None = None,
) -> tuple[AnyModel, History]:
    """The model after at most `iterations` EM iterations on all of `data` (addresses of rows, or rows in memory).

    tolerance   stops after an iteration that gains less than this in log-likelihood per counted step
    spark       a session: tasks read the addresses and take the E-steps, in `partitions` (default: as many as run at once)
    reader      what makes rows of an address

    Raises InputError where there are no data, ArithmeticError where the log-likelihood falls by more than rounding: the EM
    theorem says that it cannot, so a step is wrong, or files changed between iterations.
    """
    if not data:
        raise InputError("there is nothing to fit: the training split has no rows")
    if iterations < 1:
        raise InputError(f"iterations: found {iterations}, and at least 1 is needed")
    gather = _gatherer(data, spark, partitions, reader)
    likelihoods: list[float] = []
    walls: list[float] = []
    cpus: list[float] = []
    stopped_by: Literal["tolerance", "iterations"] = "iterations"
    for iteration in range(1, iterations + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        statistics, task_cpu = gather(model, f"EM iteration {iteration}")
        likelihoods.append(model.log_likelihood(statistics))
        _must_not_fall(likelihoods, statistics.count)
        model = model.m_step(statistics)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu + task_cpu)
        if on_iteration is not None:
            on_iteration(iteration, likelihoods[-1])
        if len(likelihoods) > 1 and likelihoods[-1] - likelihoods[-2] < tolerance * statistics.count:
            stopped_by = "tolerance"
            break
    return model, History(tuple(likelihoods), tuple(walls), tuple(cpus), statistics.count, stopped_by)


def pairwise_sum(parts: Sequence[Any]) -> Any:
    """The sum of some statistics, always in the same order, with rounding errors that grow with the logarithm of their number."""
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _gatherer(
    data: Sequence[Source], spark: Any, partitions: int | None, reader: Reader
) -> Callable[[Any, str], tuple[Any, float]]:
    """A function (model, description) -> (statistics of all data, processor seconds spent in other processes)."""
    if spark is None:
        return lambda model, _: (pairwise_sum([_e_step(model, source, reader) for source in data]), 0.0)
    context = spark.sparkContext
    rdd = context.parallelize(data, min(len(data), partitions or context.defaultParallelism))

    def gather(model: Any, description: str) -> tuple[Any, float]:
        broadcast = context.broadcast(model)

        def task(sources: Iterator[Source]) -> Iterator[tuple[Any, float]]:
            cpu = time.process_time()
            parts = [_e_step(broadcast.value, source, reader) for source in sources]
            if parts:
                yield pairwise_sum(parts), time.process_time() - cpu

        context.setJobDescription(description)
        try:
            results = rdd.mapPartitions(task).collect()
        finally:
            context.setJobDescription(None)
            broadcast.destroy()
        return pairwise_sum([statistics for statistics, _ in results]), sum(cpu for _, cpu in results)

    return gather


def _e_step(model: Any, source: Source, reader: Reader) -> Any:
    return model.e_step(reader(source) if isinstance(source, Address) else source)


def _must_not_fall(likelihoods: list[float], count: float) -> None:
    if len(likelihoods) < 2:
        return
    before, now = likelihoods[-2:]
    if not now >= before - ROUNDING * (abs(before) + count):
        raise ArithmeticError(
            f"EM iteration {len(likelihoods)}: the log-likelihood fell from {before!r} to {now!r}, and it never should: "
            "either the data changed between iterations, or a step of the model is wrong"
        )
