"""Autoregressive emissions: in each state, each channel is a linear regression on its own last values.

Hamilton 1990; Rabiner 1989, section IV.B:

    x[t, c] = intercept[k, c] + sum over lags of weights[k, c, lag] · x[t − order + lag, c] + noise of variance[k, c]

A value that was not measured is no target: its density is 1 and it has no weight in the regression. As a regressor it is taken as
filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from classical.additive import Additive
from classical.hmm.emissions import EMPTY, Emission
from classical.hmm.emissions.gaussian import LOG_2PI, moments, not_positive, raised
from classical.hmm.lanes import Group, Spans, groups
from classical.hmm.lattice import FAST
from classical.hmm.vector import LANES, load, splat, store

RUN = 12  # steps over which the misfit is averaged
DEPENDENT = 1e-13  # relative eigenvalue under which a direction of the regressors is taken to hold no information


@dataclass(frozen=True)
class AutoregressiveStatistics(Additive):
    """`gram` (states, channels, order + 2, order + 2): weighted products of (1, the last `order` values, the value)."""

    gram: np.ndarray


@dataclass(frozen=True)
class Autoregressive(Emission):
    """The regressions of all states.

    intercepts  (states, channels)
    weights     (states, channels, order), the oldest lag first
    variances   (states, channels), of the noise
    floor       (channels,): the least variance that an M-step estimates
    floored     how many variances the last M-step raised to it
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("intercepts", "weights", "variances")
    intercepts: np.ndarray
    weights: np.ndarray
    variances: np.ndarray
    floor: np.ndarray
    floored: int = 0

    @classmethod
    def begin(cls, readings: np.ndarray, seen: np.ndarray | None, *, variance_floor: float, order: int) -> Autoregressive:
        """One state without memory. `variance_floor` is relative to the variance of each channel."""
        mean, variance, floor = moments(readings, seen, variance_floor)
        return cls(mean[None], np.zeros((1, len(mean), order)), variance[None], floor)

    @property
    def states(self) -> int:
        return self.weights.shape[0]

    @property
    def channels(self) -> int:
        return self.weights.shape[1]

    @property
    def order(self) -> int:
        return self.weights.shape[2]

    @property
    def parameters(self) -> int:
        return self.states * self.channels * (self.order + 2)

    @property
    def repairs(self) -> tuple[str, ...]:
        return raised(self.floored)

    @property
    def fault(self) -> str | None:
        return not_positive(self.variances)

    @property
    def landmarks(self) -> np.ndarray:
        return self.variances

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Bands of how badly the one regression fits over a short run: calm stretches, ..., wild ones."""
        misfit: list[np.ndarray] = [np.empty(0)] * len(spans.row)
        for group in groups(spans, self.order, self.centre):
            density = np.empty((group.steps, 1, LANES))
            self.log_density(group, density)
            for lane in np.flatnonzero(group.members >= 0):
                here = -density[: group.lengths[lane], 0, lane]
                run = np.ones(min(RUN, len(here)))
                misfit[group.members[lane]] = np.convolve(here, run, "same") / np.convolve(np.ones_like(here), run, "same")
        borders = np.quantile(np.concatenate(misfit), np.arange(1, states) / states)
        return [np.searchsorted(borders, here) for here in misfit]

    def log_density(self, group: Group, out: np.ndarray) -> None:
        constant = -0.5 * np.log(self.variances) - 0.5 * LOG_2PI
        precision = 1 / self.variances
        _density(group.values, group.observed, self.intercepts, self.weights, precision, constant, out)

    def no_sums(self) -> np.ndarray:
        """(states, channels, order + 2, order + 2)"""
        return np.zeros((self.states, self.channels, self.order + 2, self.order + 2))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        for lane, length in enumerate(group.lengths):
            if length == 0:
                continue
            weight = np.ascontiguousarray(gamma[:length, :, lane].T)
            for c in range(self.channels):
                design = _design(group.values[: self.order + length, c, lane], self.order)
                seen = weight if group.observed is None else weight * group.observed[self.order : self.order + length, c, lane]
                sums[:, c] += np.matmul(design.T, seen[:, :, None] * design)

    def statistics(self, sums: np.ndarray) -> AutoregressiveStatistics:
        return AutoregressiveStatistics(sums)

    def m_step(self, statistics: AutoregressiveStatistics) -> Autoregressive:
        gram = statistics.gram
        weight = gram[:, :, 0, 0]
        seen = weight > EMPTY
        solution, residual = regress(gram)
        variances = residual / np.where(seen, weight, 1.0)
        floored = seen & (variances < self.floor)
        return self.moved(
            intercepts=np.where(seen, solution[:, :, 0], self.intercepts),
            weights=np.where(seen[:, :, None], solution[:, :, 1:], self.weights),
            variances=np.where(seen, np.maximum(variances, self.floor), self.variances),
            floored=int(floored.sum()),
        )

    def sample(self, states: np.ndarray, rng: np.random.Generator, history: np.ndarray | None = None) -> np.ndarray:
        """After `history` (order, channels); zeros without it."""
        readings = np.zeros((self.order + len(states), self.channels))
        readings[: self.order] = 0.0 if history is None else history
        noise = rng.standard_normal((len(states), self.channels)) * np.sqrt(self.variances[states])
        for t, state in enumerate(states):
            carried = (self.weights[state] * readings[t : t + self.order].T).sum(axis=1)
            readings[t + self.order] = self.intercepts[state] + carried + noise[t]
        return readings[self.order :]


def regress(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares from products (..., q, q) of (regressors, target): coefficients (..., q − 1), sum of squared residuals (...).

    The shortest solution, where regressors depend on each other (a constant channel, fewer steps than lags).
    """
    A, b = gram[..., :-1, :-1], gram[..., :-1, -1]
    size = np.sqrt(np.maximum(np.diagonal(A, axis1=-2, axis2=-1), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(A / size[..., :, None] / size[..., None, :])
    informative = values > DEPENDENT * np.maximum(values[..., -1:], np.finfo(float).tiny)
    rotated = np.einsum("...ji,...j->...i", vectors, b / size)
    rotated = np.where(informative, rotated / np.where(informative, values, 1.0), 0.0)
    solution = np.einsum("...ij,...j->...i", vectors, rotated) / size
    signed = np.concatenate([-solution, np.ones((*solution.shape[:-1], 1))], axis=-1)
    residual = np.einsum("...i,...ij,...j->...", signed, gram, signed)
    return solution, np.maximum(residual, 0.0)


def _design(values: np.ndarray, order: int) -> np.ndarray:
    """(steps, order + 2): 1, the last `order` values, the value."""
    windows = np.lib.stride_tricks.sliding_window_view(values, order + 1)
    return np.concatenate([np.ones((len(windows), 1)), windows], axis=1)


@njit(cache=True, fastmath=FAST)
def _density(x: Any, observed: Any, intercepts: Any, weights: Any, precision: Any, constant: Any, out: Any) -> None:
    steps, (K, channels, order) = out.shape[0], weights.shape
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for c in range(channels):
                e = load(x, (t + order, c)) - intercepts[k, c]
                for lag in range(order):
                    e = e - load(x, (t + lag, c)) * weights[k, c, lag]
                density = constant[k, c] - e * e * (0.5 * precision[k, c])
                total = total + (density if observed is None else density * load(observed, (t + order, c)))
            store(out, (t, k), total)
