"""Online EM: one pass over data too large to visit twenty times.

Statistics of a mini-batch are averaged into those of all batches before, with weights that fall, and every batch is followed by
an M-step (Cappé and Moulines 2009, equations 8 and 9):

    s_n = (1 − η_n) s_{n−1} + η_n ŝ_n,    η_n = n^−κ,    1/2 < κ ≤ 1

ŝ_n is what the E-step of the present model says of a step of the batch, on average. In the end the statistics of the later half
of the batches are averaged evenly (Polyak and Ruppert; section 3.1 there), which takes away most of the noise of the last ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from hindcast.classical.em import Model as EmModel
from hindcast.classical.passing import Reader, Source, passes
from hindcast.prep.dataset.blocks import read
from hindcast.prep.errors import InputError


class Model(EmModel, Protocol):
    """Statistics of models that M-steps make of an anchored one add up, though they were taken under different parameters."""

    def anchored(self) -> Self: ...

    def released(self) -> Self: ...


AnyModel = TypeVar("AnyModel", bound=Model)
KAPPA = 0.6  # as in the paper's experiments: noisier than 1 / n, and sooner free of the beginning


@dataclass(frozen=True)
class OnlineHistory:
    """The course of an online fit.

    log_likelihood  of a step, one number a batch, under the model before that batch
    count           how many steps there were
    """

    log_likelihood: tuple[float, ...]
    count: float


def fit_online(
    model: AnyModel,
    data: Sequence[Source],
    *,
    batches: int = 100,
    warm_up: int = 2,
    kappa: float = KAPPA,
    seed: int = 0,
    spark: Any = None,
    threads: int = 1,
    reader: Reader = read,
    on_batch: Callable[[int, float], None] | None = None,
) -> tuple[AnyModel, OnlineHistory]:
    """The model after one pass over `data`, each part seen once.

    data        addresses of rows, or rows in memory; drawn in an order of `seed`, so that a batch is of all of them
    batches     mini-batches, at most as many as there are parts of data
    warm_up     batches before the first M-step, whose statistics are averaged evenly
    kappa       above 1/2, at most 1: the larger, the longer the first batches are remembered
    spark       a session: the parts of a batch are read and mapped by its tasks

    Raises InputError where there are no data, or a number is out of its range. Repeats exactly for one seed.
    """
    if not data:
        raise InputError("there is nothing to fit: the training split has no rows")
    if not 0.5 < kappa <= 1:
        raise InputError(f"kappa: found {kappa}, expected more than 1/2 and at most 1: otherwise the averages do not converge")
    if batches < 1 or warm_up < 1:
        raise InputError(f"batches, warm_up: found {batches} and {warm_up}, and at least 1 of each is needed")
    model = model.anchored()
    order = np.random.default_rng(seed).permutation(len(data))
    batches = min(batches, len(data))
    averaged, count, likelihoods = None, 0.0, []
    later: list[Any] = []
    for number, batch in enumerate(np.array_split(order, batches), 1):
        gather = passes([data[index] for index in batch], spark=spark, threads=threads, reader=reader)
        (statistics,), _ = gather([model], f"online EM, batch {number}")
        if not statistics.count:
            continue
        likelihoods.append(model.log_likelihood(statistics) / statistics.count)
        count += statistics.count
        rate = 1.0 / number if number <= warm_up else number**-kappa
        of_a_step = statistics * (1.0 / statistics.count)
        averaged = of_a_step if averaged is None else averaged * (1.0 - rate) + of_a_step * rate
        if number > batches // 2:
            later = [averaged] if not later else [later[0] + averaged]
        if number >= warm_up:
            # Scaled to as many steps as were seen: priors count as readings, and a state is empty below an expected count.
            model = model.m_step(averaged * count)
        if on_batch is not None:
            on_batch(number, likelihoods[-1])
    if later:
        halves = batches - batches // 2
        model = model.m_step(later[0] * (count / halves))
    return model.released(), OnlineHistory(tuple(likelihoods), count)
