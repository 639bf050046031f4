"""Gaussian mixtures: in each state a reading comes of one of some Gaussian components (Rabiner 1989, equations 49-54).

    p(x | k) = sum over components m of weights[k, m] · N(x; means[k, m], covariance of k, m)

The components of all states are the states of one `Gaussian`, of whose densities and sums these are made: covariances of every
kind, missing channels and priors are its own. A covariance that is tied is shared by the components of one state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.gaussian import Gaussian, GaussianStatistics
from hindcast.classical.hmm.emissions.shared.covariances import KINDS, Covariance, independent, raised, shape_of
from hindcast.classical.hmm.emissions.shared.incomplete_clusters import filled, incomplete_clusters, readings_of
from hindcast.classical.hmm.emissions.shared.mixture_prior import MixturePrior
from hindcast.classical.hmm.kernels.lanes import Group, Spans
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.logarithm import log1p_of_positive
from hindcast.classical.hmm.kernels.vector import LANES, exp_of_negative, larger, load, splat, store
from hindcast.forecasting.distributions.marginals import Components


@dataclass(frozen=True)
class MixtureStatistics(Additive):
    """`counts` (states, components): of steps of which anything was observed. `components`: what their Gaussian sums."""

    counts: np.ndarray
    components: GaussianStatistics


@dataclass(frozen=True)
class Mixture(Emission):
    """Weights, means and covariances of the components of all states. A weight of 0 stays 0.

    weights     (states, components): of each state they add up to 1
    means       (states, components, channels)
    covars      spherical: (states, components); diag: (states, components, channels); full: (states, components, channels,
                channels); tied: (states, channels, channels)
    floor       (channels,): the least variance that an M-step estimates, above 0
    covariance  "spherical", "diag", "full" or "tied"
    prior       None for maximum likelihood
    floored     how many variances of each component, where tied of each state, the last M-step raised to the floor; () for none
    empty       components, as state · components + component, that nothing was assigned to in the last E-step though their state
                had some; they keep means and covariances
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("weights", "means", "covars")
    weights: np.ndarray
    means: np.ndarray
    covars: np.ndarray
    floor: np.ndarray
    covariance: Covariance = "diag"
    prior: MixturePrior | None = None
    floored: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()

    @classmethod
    def begin(
        cls,
        readings: np.ndarray,
        seen: np.ndarray | None,
        *,
        components: int,
        variance_floor: float,
        covariance: Covariance = "diag",
    ) -> Mixture:
        """One state of equal components: all readings (steps, channels). `separated` tells them apart.

        `variance_floor` is relative to the variance of each channel.
        """
        single = Gaussian.begin(readings, seen, variance_floor=variance_floor, covariance=covariance)
        many = single.permuted(np.zeros(components, np.int64))
        return cls(np.full((1, components), 1 / components), many.means[None], many.covars[None], single.floor, covariance)

    @property
    def states(self) -> int:
        return self.weights.shape[0]

    @property
    def components(self) -> int:
        """How many there are in each state."""
        return self.weights.shape[1]

    @property
    def channels(self) -> int:
        return self.means.shape[2]

    @property
    def parameters(self) -> int:
        return self.states * (self.components - 1) + self.gaussian.parameters

    @property
    def middle(self) -> np.ndarray:
        return self.gaussian.middle

    @cached_property
    def gaussian(self) -> Gaussian:
        """The components of all states, one after the other, as the states of a Gaussian family."""
        K, M, C = self.means.shape
        tied = self.covariance == "tied"
        return Gaussian(
            self.means.reshape(K * M, C),
            self.covars if tied else self.covars.reshape(K * M, *self.covars.shape[2:]),
            self.floor,
            self.covariance,
            ties=np.repeat(np.arange(K), M) if tied else None,
            prior=None if self.prior is None else self._prior.of_components(self.covariance),
            fixed=self.fixed - {"weights"},
            origin=self.origin,
        )

    @property
    def repairs(self) -> tuple[str, ...]:
        name = self._state if self.covariance == "tied" else self._component
        low = raised(sum(self.floored), [name(n) for n, count in enumerate(self.floored) if count])
        empty = (
            f"nothing was assigned to {', '.join(map(self._component, self.empty))}: the means and covariances they had are kept"
        )
        return (*low, empty) if self.empty else low

    @property
    def fault(self) -> str | None:
        if self.weights.ndim != 2 or self.means.ndim != 3 or self.means.shape[:2] != self.weights.shape:
            expected = "(states, components) and (states, components, channels)"
            return f"found weights and means of shapes {self.weights.shape} and {self.means.shape}, expected {expected}"
        for k, weights in enumerate(self.weights):
            if not (weights >= 0).all() or not np.isclose(weights.sum(), 1.0):
                return f"weights of state {k}: expected probabilities that add up to 1, found {weights.tolist()}"
        K, M, C = self.means.shape
        if self.covariance not in KINDS:
            return f"covariance: found {self.covariance!r}, expected one of {', '.join(KINDS)}"
        shape = shape_of(self.covariance, M, C)
        if self.covars.shape != (K, *shape):
            return f"covars: found shape {self.covars.shape}, expected {(K, *shape)} for covariances that are {self.covariance}"
        try:
            fine = self.prior is None or (np.asarray(self._prior.weights) >= 1).all()
        except ValueError as error:
            return f"prior: does not fit {K} states of {M} components and {C} channels: {error}"
        if not fine:
            return "prior: expected concentrations of weights of 1 or more"
        return self.gaussian.fault_of(self._component, self._state if self.covariance == "tied" else self._component)

    @property
    def log_prior(self) -> float:
        if self.prior is None:
            return 0.0
        possible = self.weights > 0
        of_weights = np.where(possible, self._prior.weights - 1.0, 0.0) * np.log(np.where(possible, self.weights, 1.0))
        return float(of_weights.sum()) + self.gaussian.log_prior

    @property
    def landmarks(self) -> np.ndarray:
        """The means of the states."""
        return np.einsum("km,kmc->kc", self.weights, self.means)

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of readings."""
        labels = incomplete_clusters(*readings_of(spans), states, rng)
        return np.split(labels, np.cumsum(spans.lengths)[:-1])

    def separated(self, spans: Spans, labels: Sequence[np.ndarray], rng: np.random.Generator) -> Mixture:
        """Of states that are equal: the components are clusters of the readings of each state. Equal ones would never part.

        labels      of each sequence, which state its steps begin in
        """
        K, M = self.weights.shape
        readings, seen = readings_of(spans)
        state, gaussian = np.concatenate(labels), self.gaussian
        component = state * M
        for k in np.unique(state):
            here = state == k
            component[here] += incomplete_clusters(readings[here], seen[here], M, rng)
        of_each = [filled(readings[component == n], seen[component == n], gaussian.centre) for n in range(K * M)]
        of_each = [x - gaussian.centre for x in of_each]
        counts = np.array([float(len(x)) for x in of_each])
        first = np.stack([x.sum(axis=0) for x in of_each])
        second = np.stack([(x**2).sum(axis=0) if independent(self.covariance) else x.T @ x for x in of_each])
        weight = np.repeat(counts[:, None], self.channels, axis=1)
        shares = counts.reshape(K, M) + 1.0  # so that none begins as impossible
        return self._of(gaussian.m_step(GaussianStatistics(weight, first, second)), shares / shares.sum(axis=1, keepdims=True))

    def log_density(self, group: Group, out: np.ndarray) -> None:
        _mix(self._of_components(group), self._log_weights, out)

    def no_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """(states, components, LANES), and the sums of the components."""
        return np.zeros((*self.weights.shape, LANES)), self.gaussian.no_sums()

    def add_sums(self, group: Group, gamma: np.ndarray, sums: tuple[np.ndarray, np.ndarray]) -> None:
        shares = self._of_components(group)
        _share(shares, group.observed, self._log_weights, gamma, sums[0])
        self.gaussian.add_sums(group, shares, sums[1])

    def statistics(self, sums: tuple[np.ndarray, np.ndarray]) -> MixtureStatistics:
        return MixtureStatistics(sums[0].sum(axis=-1), self.gaussian.statistics(sums[1]))

    def m_step(self, statistics: MixtureStatistics) -> Mixture:
        counts = statistics.counts
        shares = np.where(self.weights > 0, counts + (self._prior.weights - 1.0), 0.0)
        total, seen = shares.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True) > EMPTY
        weights = np.where(seen, shares / np.where(seen, total, 1.0), self.weights)
        empty = np.flatnonzero(seen & (counts <= EMPTY))
        return self._of(self.gaussian.m_step(statistics.components), weights, tuple(empty.tolist()))

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        of_states = np.eye(self.states)[:, :, None] * self.weights
        return of_states.reshape(self.states, -1), self.gaussian.marginals()[1]

    def above_floor(self) -> Mixture:
        raised = self.gaussian.above_floor()
        return replace(self, covars=raised.covars.reshape(self.covars.shape))

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ahead = np.cumsum(self.weights, axis=1)
        ahead /= ahead[:, -1:]
        component = (rng.random(len(states))[:, None] >= ahead[states]).sum(axis=1)
        return self.gaussian.sample(states * self.components + component, rng)

    def permuted(self, order: np.ndarray) -> Self:
        K, M = self.weights.shape
        floored = np.array(self.floored, np.int64).reshape(K, -1)[order].ravel()
        empty = np.flatnonzero(np.isin(np.arange(K * M), self.empty).reshape(K, M)[order])
        return replace(
            super().permuted(order),
            prior=None if self.prior is None else self._prior.permuted(order),
            floored=tuple(floored.tolist()),
            empty=tuple(empty.tolist()),
        )

    @cached_property
    def _prior(self) -> MixturePrior:
        return (self.prior or MixturePrior()).broadcast(self.covariance, *self.means.shape)

    @cached_property
    def _log_weights(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    def _of(self, gaussian: Gaussian, weights: np.ndarray, empty: tuple[int, ...] = ()) -> Mixture:
        """With the parameters of these components."""
        means, covars = gaussian.means.reshape(self.means.shape), gaussian.covars.reshape(self.covars.shape)
        return self.moved(weights=weights, means=means, covars=covars, floored=gaussian.floored, empty=empty)

    def _of_components(self, group: Group) -> np.ndarray:
        """(steps, states · components, LANES): log-densities."""
        out = np.empty((group.steps, self.weights.size, LANES))
        self.gaussian.log_density(group, out)
        return out

    def _state(self, k: int) -> str:
        return f"state {k}"

    def _component(self, n: int) -> str:
        return f"component {n % self.components} of state {n // self.components}"


@njit(cache=True, nogil=True, fastmath=FAST)
def _mix(b: Any, log_weights: Any, out: Any) -> None:
    """Writes log sum over components of weight · exp(b) into `out` (steps, states, LANES)."""
    K, M = log_weights.shape
    for t in range(len(b)):
        for k in range(K):
            peak = load(b, (t, k * M)) + log_weights[k, 0]
            for m in range(1, M):
                peak = larger(peak, load(b, (t, k * M + m)) + log_weights[k, m])
            total = splat(0.0)
            for m in range(M):
                total = total + exp_of_negative(load(b, (t, k * M + m)) + log_weights[k, m] - peak)
            store(out, (t, k), peak + log1p_of_positive(larger(total - 1.0, splat(0.0))))


@njit(cache=True, nogil=True, fastmath=FAST)
def _share(b: Any, observed: Any, log_weights: Any, gamma: Any, counts: Any) -> None:
    """Replaces log-densities by gamma · P(component | state, reading), 0 where nothing was observed, and adds them to `counts`.

    b           (steps, states · components, LANES)
    gamma       (steps, states, LANES)
    counts      (states, components, LANES)
    """
    K, M = log_weights.shape
    for t in range(len(b)):
        seen = splat(1.0)
        if observed is not None:
            seen = splat(0.0)
            for c in range(observed.shape[1]):
                seen = larger(seen, load(observed, (t, c)))
        for k in range(K):
            peak = load(b, (t, k * M)) + log_weights[k, 0]
            for m in range(1, M):
                peak = larger(peak, load(b, (t, k * M + m)) + log_weights[k, m])
            total = splat(0.0)
            for m in range(M):
                density = exp_of_negative(load(b, (t, k * M + m)) + log_weights[k, m] - peak)
                store(b, (t, k * M + m), density)
                total = total + density
            scale = load(gamma, (t, k)) * seen / total
            for m in range(M):
                share = load(b, (t, k * M + m)) * scale
                store(b, (t, k * M + m), share)
                store(counts, (k, m), load(counts, (k, m)) + share)
