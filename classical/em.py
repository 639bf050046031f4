"""Expectation-maximisation by additive statistics: one driver, on one machine or on Spark.

Every iteration hands out the model, maps data to sufficient statistics, sums them, and re-estimates (Dempster, Laird and Rubin
1977). On Spark a task carries addresses of rows, never data. Parts are summed pairwise in a fixed order, so a fit on k partitions
equals a fit on one to rounding. Several models (restarts, other numbers of states) share every pass over the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from hindcast.classical.passing import Reader, Source, Spread, passes
from hindcast.prep.dataset.blocks import read
from hindcast.prep.errors import InputError

ROUNDING = 1e-10
StoppedBy = Literal["tolerance", "iterations", "falling"]


class Statistics(Protocol):
    """Additive sufficient statistics (`hindcast.classical.additive`). `count`: how many steps they describe."""

    @property
    def count(self) -> float: ...

    def __add__(self, other: Self) -> Self: ...


class Model(Protocol):
    """What can be fitted: immutable parameters and their verbs. It is made by an `initialise` of its own.

    log_prior   of the parameters, up to a constant; 0 for maximum likelihood
    """

    @property
    def log_prior(self) -> float: ...

    def e_step(self, block: Any) -> Any: ...

    def m_step(self, statistics: Any) -> Self: ...

    def log_likelihood(self, statistics: Any) -> float: ...


AnyModel = TypeVar("AnyModel", bound=Model)
OnIteration = Callable[[int, float], None]


@dataclass(frozen=True)
class History:
    """How a fit went.

    log_likelihood  one a iteration, of the parameters that the iteration began with
    log_prior       the same, of their prior
    seconds, cpu_seconds    one a iteration: wall time, and processor time of the driver and all tasks together, whichever other
                    models shared the pass
    count           steps that were scored
    stopped_by      "tolerance": the last iteration gained less; "iterations": they ran out first; "falling": an error
    """

    log_likelihood: tuple[float, ...]
    log_prior: tuple[float, ...]
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    count: float
    stopped_by: StoppedBy


class FallingLikelihoodError(ArithmeticError):
    """The log-likelihood (with the prior, where there is one) fell by more than rounding. `history` ends with the fall."""

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class Checkpoint(Protocol):
    """Where a fit is saved every few iterations. See `hindcast.classical.checkpoints`."""

    def save(self, iteration: int, fits: Sequence[Fit[Any]]) -> None: ...

    def restore(self, models: int) -> tuple[int, list[Fit[Any]]] | None: ...


@dataclass
class Fit(Generic[AnyModel]):
    """One model on its way: what a checkpoint holds."""

    model: AnyModel
    log_likelihood: list[float] = field(default_factory=list)
    log_prior: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    count: float = 0.0
    stopped_by: StoppedBy | None = None

    def advance(self, statistics: Any, tolerance: float) -> None:
        """One M-step; decides whether it was the last: the iteration before gained less than `tolerance`."""
        self.count = statistics.count
        self.log_likelihood.append(self.model.log_likelihood(statistics))
        self.log_prior.append(self.model.log_prior)
        self._must_not_fall()
        self.model = self.model.m_step(statistics)
        if len(self.log_likelihood) > 1:
            now, before = (self.log_likelihood[i] + self.log_prior[i] for i in (-1, -2))
            if now - before < tolerance:
                self.stopped_by = "tolerance"

    @property
    def history(self) -> History:
        return History(
            tuple(self.log_likelihood),
            tuple(self.log_prior),
            tuple(self.seconds),
            tuple(self.cpu_seconds),
            self.count,
            self.stopped_by or "iterations",
        )

    def _must_not_fall(self) -> None:
        if len(self.log_likelihood) < 2:
            return
        now, before = (self.log_likelihood[i] + self.log_prior[i] for i in (-1, -2))
        if not now >= before - ROUNDING * (abs(before) + self.count):
            self.stopped_by = "falling"
            raise FallingLikelihoodError(
                f"EM iteration {len(self.log_likelihood)}: the log-likelihood fell from {before!r} to {now!r}, and it never "
                "should: either the data changed between iterations, or a step of the model is wrong",
                self.history,
            )


def fit(
    model: AnyModel, data: Sequence[Source] | Spread, *, on_iteration: OnIteration | None = None, **how: Any
) -> tuple[AnyModel, History]:
    """One model: see `fit_several`. `on_iteration` is told the iteration and its log-likelihood."""
    on_each = None if on_iteration is None else lambda iteration, likelihoods: on_iteration(iteration, likelihoods[0])
    return fit_several([model], data, on_iteration=on_each, **how)[0]


def fit_several(
    models: Sequence[AnyModel],
    data: Sequence[Source] | Spread,
    *,
    iterations: int,
    tolerance: float,
    tolerance_of: Literal["step", "total"] = "step",
    spark: Any = None,
    partitions: int | None = None,
    threads: int = 1,
    reader: Reader = read,
    checkpoint: Checkpoint | None = None,
    on_iteration: Callable[[int, dict[int, float]], None] | None = None,
) -> list[tuple[AnyModel, History]]:
    """Each model after at most `iterations` EM iterations on all of `data`, of which every pass serves all that go on.

    data            addresses of rows, rows in memory, or what is spread over a cluster: see `passing.Spread`
    tolerance       a model stops after an iteration that gains less than this in log-likelihood
    tolerance_of    "step": that is meant for every counted step; "total": of all together
    spark           a session: tasks read the addresses and take the E-steps, in `partitions` (default: as many as run at once)
    threads         without Spark: how many E-steps are taken at once; the result is the same for any number
    reader          what makes rows of an address
    checkpoint      saves the state, and hands back what was saved: then the fit goes on from there
    on_iteration    is told the iteration, and the log-likelihood of each model that went through it

    Raises InputError where there are no data, FallingLikelihoodError where a log-likelihood falls by more than rounding: the EM
    theorem says that it cannot, so a step is wrong, or files changed between iterations.
    """
    if iterations < 1:
        raise InputError(f"iterations: found {iterations}, and at least 1 is needed")
    gather = passes(data, spark=spark, partitions=partitions, threads=threads, reader=reader)
    done, fits = (checkpoint and checkpoint.restore(len(models))) or (0, [Fit(model) for model in models])
    for iteration in range(done + 1, iterations + 1):
        going = [which for which, one in enumerate(fits) if one.stopped_by is None]
        if not going:
            break
        wall, cpu = time.perf_counter(), time.process_time()
        sums, task_cpu = gather([fits[which].model for which in going], f"EM iteration {iteration}")
        for which, statistics in zip(going, sums, strict=True):
            fits[which].advance(statistics, tolerance * (statistics.count if tolerance_of == "step" else 1.0))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu + task_cpu
        for which in going:
            fits[which].seconds.append(wall)
            fits[which].cpu_seconds.append(cpu)
        if on_iteration is not None:
            on_iteration(iteration, {which: fits[which].log_likelihood[-1] for which in going})
        if checkpoint is not None:
            checkpoint.save(iteration, fits)
    return [(one.model, one.history) for one in fits]


def score_several(
    models: Sequence[Any],
    data: Sequence[Source] | Spread,
    *,
    spark: Any = None,
    partitions: int | None = None,
    threads: int = 1,
    reader: Reader = read,
) -> list[tuple[float, float]]:
    """Of each model, its log-likelihood and how many steps were counted, by one pass over all of `data`: see `fit_several`."""
    gather = passes(data, spark=spark, partitions=partitions, threads=threads, reader=reader)
    sums, _ = gather(models, "scoring")
    return [(model.log_likelihood(statistics), statistics.count) for model, statistics in zip(models, sums, strict=True)]
