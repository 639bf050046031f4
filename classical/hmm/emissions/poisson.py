"""Poisson emissions: in each state, each channel is a count with a rate of its own, independent of the others.

    log p(x | k) = sum over channels of x[c] log rate[k, c] − rate[k, c] − log x[c]!

A count that was not measured is left out of both the density and the sums.

The prior of a rate is a Gamma density, proportional to rate ** prior_counts · exp(−prior_steps · rate): as if so many counts had
been seen in so many steps before. The most probable rate is then (prior_counts + counts) / (prior_steps + steps), of the counts
and the steps that are expected in the state. (hmmlearn 0.3.3 takes the steps of all states together, which is the same for one.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lgamma
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from scipy.special import xlogy

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.kernels.lanes import Group, Spans, stacked
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.vector import LANES, load, splat, store
from hindcast.forecasting.distributions.marginals import Components, Poissons

LOG_FACTORIALS = np.array([lgamma(count + 1.0) for count in range(1024)])
TILE = 16
# Stands for the logarithm of a rate of 0: any count above 0 is then as good as impossible, and 0 is certain.
LOG_OF_NOTHING = -1e6


@dataclass(frozen=True)
class PoissonStatistics(Additive):
    """Weights, and weighted sums of counts: (states, channels) each."""

    weight: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class Poisson(Emission):
    """The mean count of each state.

    rates                       (states, channels)
    prior_counts, prior_steps   of the prior, 0 or more: a number, (channels,) or (states, channels); 0 and 0 are no prior
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("rates",)

    rates: np.ndarray
    prior_counts: float | np.ndarray = 0.0
    prior_steps: float | np.ndarray = 0.0

    @classmethod
    def begin(
        cls,
        readings: np.ndarray,
        seen: np.ndarray | None,
        *,
        prior_counts: float | np.ndarray = 0.0,
        prior_steps: float | np.ndarray = 0.0,
    ) -> Poisson:
        """One state: all readings (steps, channels). The prior is the same for all states: numbers or (channels,)."""
        seen = np.ones(readings.shape, bool) if seen is None else seen
        rates = np.where(seen, readings, 0).sum(axis=0, dtype=np.float64) / np.maximum(seen.sum(axis=0), 1)
        return cls(rates[None], prior_counts, prior_steps)

    @property
    def states(self) -> int:
        return self.rates.shape[0]

    @property
    def channels(self) -> int:
        return self.rates.shape[1]

    @property
    def parameters(self) -> int:
        return self.rates.size

    @property
    def fault(self) -> str | None:
        if self.rates.ndim != 2:
            return f"expected rates of shape (states, channels), found shape {self.rates.shape}"
        wrong = np.flatnonzero(~(np.isfinite(self.rates) & (self.rates >= 0)).all(axis=1))
        if len(wrong):
            return f"state {wrong[0]}: expected rates of 0 or more, found {self.rates[wrong[0]].tolist()}"
        fault = self._not_a_gamma("prior_counts") or self._not_a_gamma("prior_steps")
        if fault is None and (np.asarray(self.prior_counts > 0) & np.asarray(self.prior_steps <= 0)).any():
            return "prior: expected prior_steps above 0 where prior_counts are: otherwise an unseen rate has no end"
        return fault

    @property
    def log_prior(self) -> float:
        return float((xlogy(self.prior_counts, self.rates) - self.prior_steps * self.rates).sum())

    @property
    def landmarks(self) -> np.ndarray:
        return self.rates

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of the counts' square roots, which spread alike whatever the rate (Anscombe 1948)."""
        roots = np.sqrt(stacked(spans.values, spans), dtype=np.float64)
        if spans.observed is not None:
            seen = stacked(spans.observed, spans) > 0
            usual = np.where(seen, roots, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
            roots = np.where(seen, roots, usual)
        return np.split(clusters(roots, states, rng), np.cumsum(spans.lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            log_rates = np.maximum(np.log(self.rates), LOG_OF_NOTHING)
        _density(group.values, group.observed, self.rates, log_rates, LOG_FACTORIALS, out)

    def no_sums(self) -> np.ndarray:
        """(2, states, channels, LANES)"""
        return np.zeros((2, self.states, self.channels, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        _sums(group.values, group.observed, gamma, sums)

    def statistics(self, sums: np.ndarray) -> PoissonStatistics:
        return PoissonStatistics(*sums.sum(axis=-1))

    def m_step(self, statistics: PoissonStatistics) -> Poisson:
        steps = statistics.weight + self.prior_steps
        seen = steps > EMPTY
        estimate = (statistics.first + self.prior_counts) / np.where(seen, steps, 1.0)
        return self.moved(rates=np.where(seen, estimate, self.rates))

    def permuted(self, order: np.ndarray) -> Self:
        priors = {name: np.asarray(getattr(self, name)) for name in ("prior_counts", "prior_steps")}
        per_state = {name: prior[order] for name, prior in priors.items() if prior.ndim == 2}
        return replace(super().permuted(order), **per_state)

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        return np.eye(self.states), (Poissons(self.rates.T),)

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.poisson(self.rates[states])

    def _not_a_gamma(self, name: str) -> str | None:
        prior, shape = np.asarray(getattr(self, name)), self.rates.shape
        if prior.shape not in ((), shape[1:], shape):
            return f"{name}: expected a number, or shape {shape[1:]} or {shape}, found shape {prior.shape}"
        fine = np.isfinite(prior).all() and (prior >= 0).all()
        return None if fine else f"{name}: expected 0 or more, found {prior.tolist()}"


@njit(cache=True, nogil=True, fastmath=FAST)
def _density(x: Any, observed: Any, rates: Any, log_rates: Any, log_factorials: Any, out: Any) -> None:
    steps, K, channels, tabulated = out.shape[0], out.shape[1], x.shape[1], len(log_factorials)
    factorials = np.empty((1, LANES))
    for t in range(steps):
        for v in range(LANES):
            factorials[0, v] = 0.0
            for c in range(channels):
                if observed is None or observed[t, c, v] > 0:
                    count = x[t, c, v]
                    whole = count == np.floor(count) and 0 <= count < tabulated
                    factorials[0, v] += log_factorials[np.uint32(count)] if whole else lgamma(count + 1.0)
        constant = load(factorials, (0,))
        for k in range(K):
            total = splat(0.0) - constant
            for c in range(channels):
                density = load(x, (t, c)) * log_rates[k, c] - rates[k, c]
                total = total + (density if observed is None else density * load(observed, (t, c)))
            store(out, (t, k), total)


@njit(cache=True, nogil=True, fastmath=FAST)
def _sums(x: Any, observed: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (2, states, channels, LANES), a tile of steps at a time that the nearest cache holds."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            for c in range(channels):
                weight, first = load(sums, (0, k, c)), load(sums, (1, k, c))
                for t in range(tile, end):
                    g = load(gamma, (t, k)) if observed is None else load(gamma, (t, k)) * load(observed, (t, c))
                    weight = weight + g
                    first = first + g * load(x, (t, c))
                store(sums, (0, k, c), weight)
                store(sums, (1, k, c), first)
