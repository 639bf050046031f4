"""Gaussian emissions, with covariances that are spherical, diag, full or tied (Rabiner 1989, equations 52-54, one component).

A channel that was not measured is marginalised: it says nothing of the state. Where channels are independent it adds nothing to
the statistics; where they are not, what is expected of it given the others of its step is added (`emissions.incomplete`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.shared import covariances
from hindcast.classical.hmm.emissions.shared.covariances import Covariance, moments, raised
from hindcast.classical.hmm.emissions.shared.gaussian_prior import BroadcastPrior, GaussianPrior
from hindcast.classical.hmm.emissions.shared.incomplete_clusters import incomplete_clusters, readings_of
from hindcast.classical.hmm.kernels.gaussian import diagonal_density, diagonal_sums, full_density, full_sums
from hindcast.classical.hmm.kernels.incomplete import LOG_2PI, incomplete_density, incomplete_sums, is_complete
from hindcast.classical.hmm.kernels.lanes import Group, Spans
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.forecasting.distributions.marginals import Components, Normals


@dataclass(frozen=True)
class GaussianStatistics(Additive):
    """Weighted sums of readings less the centre.

    weight, first   (states, channels)
    second          the same where channels are independent, else (states, channels, channels)
    """

    weight: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Gaussian(Emission):
    """Means and covariances of all states.

    means       (states, channels)
    covars      (states,), (states, channels), (states, channels, channels) or (channels, channels): see `emissions.covariances`
    floor       (channels,): the least variance that an M-step estimates, above 0
    covariance  "spherical", "diag", "full" or "tied"
    ties        of tied covariances (states,) int64: which of `covars` (groups, channels, channels) each state has; None where all
                states share one
    prior       of means and covariances; None for maximum likelihood
    floored     how many variances of each state, where tied of each of `covars`, the last M-step raised to the floor; () for none
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("means", "covars")
    means: np.ndarray
    covars: np.ndarray
    floor: np.ndarray
    covariance: Covariance = "diag"
    ties: np.ndarray | None = None
    prior: GaussianPrior | None = None
    floored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.covariance == "diag" and self.covars.ndim == 3:
            object.__setattr__(self, "covariance", "full")

    @classmethod
    def begin(
        cls,
        readings: np.ndarray,
        seen: np.ndarray | None,
        *,
        variance_floor: float,
        covariance: Covariance = "diag",
    ) -> Gaussian:
        """One state: all readings (steps, channels). `variance_floor` is relative to the variance of each channel."""
        mean, variance, floor = moments(readings, seen, variance_floor)
        covars = {
            "spherical": lambda: np.maximum(variance.mean(keepdims=True), floor.max()),
            "diag": lambda: variance[None],
            "full": lambda: np.diag(variance)[None],
            "tied": lambda: np.diag(variance),
        }[covariance]()
        return cls(mean[None], covars, floor, covariance)

    @property
    def full(self) -> bool:
        return self.covariance == "full"

    @property
    def states(self) -> int:
        return self.means.shape[0]

    @property
    def channels(self) -> int:
        return self.means.shape[1]

    @property
    def parameters(self) -> int:
        return self.means.size + covariances.free(self.covariance, self.covars)

    @cached_property
    def middle(self) -> np.ndarray:
        return self.means.mean(axis=0)

    @cached_property
    def expanded(self) -> np.ndarray:
        """The covariances of each state: (states, channels) where channels are independent, else (states, channels, channels)."""
        return covariances.expanded(self.covariance, self.covars, self.states, self.channels, self.ties)

    @property
    def variances(self) -> np.ndarray:
        """(states, channels)"""
        return self.expanded if self._independent else np.diagonal(self.expanded, axis1=1, axis2=2)

    @property
    def repairs(self) -> tuple[str, ...]:
        return raised(sum(self.floored), [self._whose(n) for n, count in enumerate(self.floored) if count])

    @property
    def fault(self) -> str | None:
        return self.fault_of(lambda state: f"state {state}", self._whose)

    def fault_of(self, name: Callable[[int], str], whose: Callable[[int], str]) -> str | None:
        """What is wrong with the parameters, where these say what the n-th state is called, and whose the n-th covariance is."""
        if self.means.ndim != 2:
            return f"means: found shape {self.means.shape}, expected (states, channels)"
        K, C = self.means.shape
        if self.covariance not in covariances.KINDS:
            return f"covariance: found {self.covariance!r}, expected one of {', '.join(covariances.KINDS)}"
        if self.floor.shape != (C,) or not (self.floor >= 0).all():
            return f"floor: expected {C} variances of 0 or more, found {self.floor.tolist()}"
        for state, mean in enumerate(self.means):
            if not np.isfinite(mean).all():
                return f"means of {name(state)}: expected finite numbers, found {mean.tolist()}"
        groups = None if self.ties is None or self.covars.ndim != 3 else len(self.covars)
        if self.ties is not None and not (
            self.ties.shape == (K,) and (self.ties >= 0).all() and (self.ties < (groups or 0)).all()
        ):
            return f"ties: expected {K} numbers of one of {groups or 0} covariances, found {self.ties.tolist()}"
        shape = covariances.shape_of(self.covariance, K, C, groups)
        return covariances.fault(self.covariance, self.covars, shape, whose) or self._fault_of_prior

    @property
    def log_prior(self) -> float:
        if self.prior is None:
            return 0.0
        prior, off = self._prior, self.means - self._prior.means
        if self._independent:
            squares = prior.scatter + prior.means_weight[:, None] * off**2
            return float(-0.5 * (prior.count * np.log(self.expanded) + squares / self.expanded).sum())
        matrices = self.expanded if self.covariance == "full" else self.covars.reshape(-1, self.channels, self.channels)
        scatter = self._by_covariance(prior.means_weight[:, None, None] * _outer(off)) + prior.scatter
        W = covariances.whitening(matrices)
        log_determinant = -2 * np.log(np.diagonal(W, axis1=1, axis2=2)).sum(axis=1)
        return float(-0.5 * (prior.count * log_determinant + (W @ scatter * W).sum(axis=(1, 2))).sum())

    @property
    def landmarks(self) -> np.ndarray:
        return self.means

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of readings."""
        labels = incomplete_clusters(*readings_of(spans), states, rng)
        return np.split(labels, np.cumsum(spans.lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        if self._independent:
            diagonal_density(group.values, group.observed, *self.standardising, out)
        elif group.observed is None or is_complete(group.observed, group.lengths):
            full_density(group.values, *self.whitening, out)
        else:
            incomplete_density(group.values, group.observed, self.means - self.centre, self.expanded, out)

    def no_sums(self) -> np.ndarray:
        """(3, states, channels, LANES) where channels are independent, else (states, channels + 1, channels + 1, LANES)."""
        K, C = self.states, self.channels
        return np.zeros((3, K, C, LANES) if self._independent else (K, C + 1, C + 1, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        if self._independent:
            diagonal_sums(group.values, group.observed, gamma, sums)
        elif group.observed is None or is_complete(group.observed, group.lengths):
            full_sums(group.values, gamma, sums)
        else:
            incomplete_sums(group.values, group.observed, self.means - self.centre, self.expanded, gamma, sums)

    def statistics(self, sums: np.ndarray) -> GaussianStatistics:
        sums = sums.sum(axis=-1)
        if self._independent:
            return GaussianStatistics(*sums)
        second = sums[:, 1:, 1:] + np.tril(sums[:, 1:, 1:], -1).swapaxes(1, 2)
        return GaussianStatistics(np.repeat(sums[:, :1, 0], self.channels, axis=1), sums[:, 1:, 0], second)

    def m_step(self, statistics: GaussianStatistics) -> Gaussian:
        """The covariances are about the new means, or about those that are fixed."""
        weight, prior = statistics.weight, self._prior
        seen, pull = weight > EMPTY, prior.means_weight[:, None]
        shift = statistics.first / np.where(seen, weight, 1.0)
        toward = (pull * (prior.means - self.centre) + statistics.first) / np.where(seen, pull + weight, 1.0)
        means = self.means if "means" in self.fixed else np.where(seen, self.centre + toward, self.means)
        off, surplus = means - self.centre - shift, means - prior.means
        if self._independent:
            scatter = statistics.second - weight * shift**2 + weight * off**2 + pull * surplus**2 + prior.scatter
            total = weight
        else:
            moved = weight[:, :, None] * (_outer(off) - _outer(shift))
            scatter = self._by_covariance(statistics.second + moved + pull[:, :, None] * _outer(surplus)) + prior.scatter
            total = self._by_covariance(weight[:, 0])
        covars, floored = covariances.estimated(
            self.covariance, scatter, total + prior.count, total > EMPTY, self.covars, self.floor
        )
        reported = floored.any() and "covars" not in self.fixed
        return self.moved(means=means, covars=covars, floored=tuple(floored.tolist()) if reported else ())

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        return np.eye(self.states), (Normals(self.means.T, np.sqrt(self.variances).T),)

    def above_floor(self) -> Gaussian:
        return replace(self, covars=covariances.above(self.covariance, self.covars, self.floor))

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((len(states), self.channels))
        if self._independent:
            return self.means[states] + np.sqrt(self.expanded)[states] * noise
        return self.means[states] + np.einsum("tij,tj->ti", np.linalg.cholesky(self.expanded)[states], noise)

    def permuted(self, order: np.ndarray) -> Self:
        tied = self.covariance == "tied"
        return replace(
            self,
            means=self.means[order],
            covars=self.covars if tied else self.covars[order],
            ties=None if self.ties is None else self.ties[order],
            prior=None if self.prior is None else self._prior.permuted(order, tied),
            floored=self.floored if tied or not self.floored else tuple(self.floored[state] for state in order),
        )

    @property
    def _independent(self) -> bool:
        return covariances.independent(self.covariance)

    @cached_property
    def _prior(self) -> BroadcastPrior:
        groups = None if self.ties is None else len(self.covars)
        return (self.prior or GaussianPrior()).broadcast(self.covariance, self.states, self.channels, groups)

    @property
    def _fault_of_prior(self) -> str | None:
        try:
            return self._prior.fault
        except ValueError as error:
            return f"prior: does not fit {self.states} states and {self.channels} channels: {error}"

    def _whose(self, n: int) -> str:
        """Which states have the n-th of `covars`."""
        if self.covariance != "tied":
            return f"state {n}"
        if self.ties is None:
            return "all states"
        return ", ".join(f"state {state}" for state in np.flatnonzero(self.ties == n))

    def _by_covariance(self, of_states: np.ndarray) -> np.ndarray:
        """Summed over the states that share a covariance, where they are tied."""
        if self.covariance != "tied":
            return of_states
        if self.ties is None:
            return of_states.sum(axis=0, keepdims=True)
        sums = np.zeros((len(self.covars), *of_states.shape[1:]))
        np.add.at(sums, self.ties, of_states)
        return sums

    @cached_property
    def standardising(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y = x / deviation - shift, and log N = constant - y² / 2 for each channel."""
        deviation = np.sqrt(self.expanded)
        return 1 / deviation, (self.means - self.centre) / deviation, -np.log(deviation) - 0.5 * LOG_2PI

    @cached_property
    def whitening(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y = W x - shift with W the inverse Cholesky factor, and log N = constant - y·y / 2."""
        W = covariances.whitening(self.expanded)
        shift = np.einsum("kij,kj->ki", W, self.means - self.centre)
        constant = np.log(np.diagonal(W, axis1=1, axis2=2)).sum(axis=1) - 0.5 * self.channels * LOG_2PI
        return W, shift, constant


def _outer(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, :, None] * vectors[:, None, :]
