"""Multinomial emissions: each step is a vector of counts, how often each symbol came among the step's trials.

    log p(x | k) = log n! − sum of log x[c]! + sum of x[c] log probability[k, c],  n = sum of x[c]

How many trials a step has says nothing of the state, and may differ from step to step. A step that was not measured at all has
density 1 and is left out of the sums. Where some of a step's counts are missing, they are marginalised if `trials` tells their
total: together they are one symbol, with the probability of all of them, and the M-step takes their expected counts. Without
`trials` such a step is refused: the counts that are there are then not multinomial. Probabilities of 0 stay 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, lgamma
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from scipy.special import gammaln, xlogy

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.categorical import RUN, shares
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.emissions.shared.probabilities import estimated, log_dirichlet, not_a_dirichlet, not_probabilities
from hindcast.classical.hmm.kernels.lanes import Group, Spans, stacked
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.vector import LANES, load, splat, store
from hindcast.forecasting.distributions.marginals import Binomials, Components
from hindcast.prep.errors import InputError

TILE = 16
LOG_FACTORIALS = gammaln(np.arange(1.0, 1025.0))  # of 0, 1, ...


@dataclass(frozen=True)
class MultinomialStatistics(Additive):
    """`counts` (states, symbols): how often each was expected."""

    counts: np.ndarray


@dataclass(frozen=True)
class Multinomial(Emission):
    """What each state says; the channels are the symbols.

    probabilities   (states, symbols): each row adds up to 1
    trials          how many each step has, where all have as many: what readings are checked against, what marginalises missing
                    counts, and what is sampled; None where it differs
    prior           concentrations of a Dirichlet prior, 1 or more: a number, (symbols,) or (states, symbols); 1 is no prior

    Readings that cannot be raise InputError: they name the sequence, counted from 0, and its step.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("probabilities",)
    probabilities: np.ndarray
    trials: int | None = None
    prior: float | np.ndarray = 1.0

    @classmethod
    def begin(
        cls, readings: np.ndarray, seen: np.ndarray | None, *, trials: int | None = None, prior: float | np.ndarray = 1.0
    ) -> Multinomial:
        """One state: as often as each symbol is there, and once more, so that none begins as impossible.

        readings    (steps, symbols)
        prior       the same for all states: a number or (symbols,)
        """
        counts = np.where(True if seen is None else seen, readings, 0).sum(axis=0, dtype=np.float64) + 1.0
        return cls((counts / counts.sum())[None], trials, prior)

    @property
    def states(self) -> int:
        return self.probabilities.shape[0]

    @property
    def channels(self) -> int:
        return self.probabilities.shape[1]

    @property
    def parameters(self) -> int:
        return self.states * (self.channels - 1)

    @property
    def fault(self) -> str | None:
        if self.trials is not None and self.trials < 0:
            return f"trials: expected 0 or more, found {self.trials}"
        return not_probabilities(self.probabilities) or not_a_dirichlet(self.prior, self.probabilities.shape)

    @property
    def log_prior(self) -> float:
        return log_dirichlet(self.probabilities, self.prior)

    @property
    def landmarks(self) -> np.ndarray:
        return self.probabilities

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of the square roots of shares, which spread alike whatever the share, over steps enough for a few trials."""
        counts, lengths = stacked(spans.values, spans).astype(np.float64), spans.lengths
        if spans.observed is not None:
            counts = np.where((stacked(spans.observed, spans) > 0).all(axis=1, keepdims=True), counts, 0.0)
        totals = counts.sum(axis=1)
        usual = totals[totals > 0].mean() if totals.any() else 1.0
        roots = np.sqrt(shares(counts, totals, lengths, max(1, ceil(RUN / usual))))
        return np.split(clusters(roots, states, rng), np.cumsum(lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        self._must_add_up(group)
        p = self.probabilities
        _density(group.values, group.observed, np.log(np.where(p > 0, p, 1.0)), LOG_FACTORIALS, out)
        seen = group.values if group.observed is None else group.values * group.observed
        for k, c in np.argwhere(p == 0):
            out[:, k][seen[:, c] > 0] = -np.inf
        step, lane, counts, unseen, rest = self._incomplete(group)
        if len(step):
            factorials = gammaln(counts.sum(axis=1) + rest + 1) - gammaln(counts + 1).sum(axis=1) - gammaln(rest + 1)
            density = xlogy(counts[:, None], p).sum(axis=-1) + xlogy(rest[:, None], unseen @ p.T)
            out[step, :, lane] = factorials[:, None] + density

    def no_sums(self) -> np.ndarray:
        """(states, symbols, LANES)"""
        return np.zeros((self.states, self.channels, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        _sums(group.values, group.observed, gamma, sums)
        step, lane, _, unseen, rest = self._incomplete(group)
        if len(step):
            possible = unseen @ self.probabilities.T
            share = gamma[step, :, lane] * rest[:, None] / np.where(possible > 0, possible, 1.0)
            sums[:, :, 0] += (share.T @ unseen) * self.probabilities

    def statistics(self, sums: np.ndarray) -> MultinomialStatistics:
        return MultinomialStatistics(sums.sum(axis=-1))

    def m_step(self, statistics: MultinomialStatistics) -> Multinomial:
        return self.moved(probabilities=estimated(statistics.counts, self.probabilities, self.prior))

    def permuted(self, order: np.ndarray) -> Self:
        prior = np.asarray(self.prior)[order] if np.ndim(self.prior) == 2 else self.prior
        return replace(super().permuted(order), prior=prior)

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        """Raises InputError without `trials`."""
        if self.trials is None:
            raise InputError("trials: how many a step ahead has is not told")
        p = self.probabilities.T
        return np.eye(self.states), (Binomials(np.full(p.shape, self.trials), p),)

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises InputError without `trials`."""
        if self.trials is None:
            raise InputError("trials: how many a sampled step has is not told")
        return rng.multinomial(self.trials, self.probabilities[states])

    def _must_add_up(self, group: Group) -> None:
        if self.trials is None:
            return
        total = group.values.sum(axis=1)
        whole = group.inside
        if group.observed is not None:
            whole &= group.observed.all(axis=1)
        wrong = whole & (total != self.trials)
        if wrong.any():
            t, lane = np.argwhere(wrong)[0]
            total_in_words = f"the counts add up to {total[t, lane]:g}"
            raise InputError(f"{group.label(t, lane)}: {total_in_words}, expected {self.trials} trials")

    def _incomplete(self, group: Group) -> tuple[np.ndarray, ...]:
        """Of each step of which some counts are missing, not all: step, lane, counts, which are missing, and their total."""
        empty = np.empty(0, np.int64)
        if group.observed is None:
            return empty, empty, empty, empty, empty
        measured = group.observed.sum(axis=1)
        step, lane = np.nonzero((measured > 0) & (measured < self.channels))
        seen = group.observed[step, :, lane]
        counts = group.values[step, :, lane] * seen
        if self.trials is None and len(step):
            raise InputError(
                f"{group.label(step[0], lane[0])}: {int((1 - seen[0]).sum())} of {self.channels} counts are "
                "missing: tell the number of trials, or leave out the whole step"
            )
        rest = (self.trials or 0) - counts.sum(axis=1)
        if (rest < 0).any():
            first = int(np.argmax(rest < 0))
            raise InputError(
                f"{group.label(step[first], lane[first])}: the counts that are there add up to "
                f"{counts[first].sum():g}, expected at most {self.trials} trials"
            )
        return step, lane, counts, 1.0 - seen, rest


@njit(cache=True, nogil=True, fastmath=FAST)
def _density(x: Any, observed: Any, logs: Any, log_factorials: Any, out: Any) -> None:
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    counts, constant = np.empty((channels, LANES)), np.empty((1, LANES))
    for t in range(steps):
        trials = splat(0.0)
        for c in range(channels):
            count = load(x, (t, c)) if observed is None else load(x, (t, c)) * load(observed, (t, c))
            store(counts, (c,), count)
            trials = trials + count
        store(constant, (0,), trials)
        for v in range(LANES):
            constant[0, v] = _log_factorial(constant[0, v], log_factorials)
            for c in range(channels):
                constant[0, v] -= _log_factorial(counts[c, v], log_factorials)
        for k in range(K):
            total = load(constant, (0,))
            for c in range(channels):
                total = total + load(counts, (c,)) * logs[k, c]
            store(out, (t, k), total)


@njit(cache=True, nogil=True, inline="always")
def _log_factorial(count: Any, log_factorials: Any) -> Any:
    return log_factorials[int(count)] if 0 <= count < len(log_factorials) else lgamma(count + 1.0)


@njit(cache=True, nogil=True, fastmath=FAST)
def _sums(x: Any, observed: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (states, symbols, LANES), a tile of steps at a time that the nearest cache holds."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            for c in range(channels):
                total = load(sums, (k, c))
                for t in range(tile, end):
                    g = load(gamma, (t, k)) if observed is None else load(gamma, (t, k)) * load(observed, (t, c))
                    total = total + g * load(x, (t, c))
                store(sums, (k, c), total)
