"""Gaussian emissions, with diagonal or full covariances (Rabiner 1989, equations 52-54, with one component).

A channel that was not measured says nothing of the state and adds nothing to the statistics of a diagonal family: it is
marginalised. A full covariance takes filled values as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit

from classical.hmm.emissions import EMPTY
from classical.hmm.lanes import Group
from classical.hmm.lattice import FAST, LANES, states_type

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class GaussianStatistics:
    """Weighted sums of readings less the centre.

    weight, first   (states, channels)
    second          the same, or (states, channels, channels) where the covariance is full
    """

    weight: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __add__(self, other: GaussianStatistics) -> GaussianStatistics:
        return GaussianStatistics(self.weight + other.weight, self.first + other.first, self.second + other.second)


@dataclass(frozen=True)
class Gaussian:
    """Means and covariances of all states.

    means   (states, channels)
    covars  (states, channels), or (states, channels, channels) where full
    floor   (channels,): the least variance that an M-step estimates
    floored how many variances the last M-step raised to it
    """

    means: np.ndarray
    covars: np.ndarray
    floor: np.ndarray
    floored: int = 0

    @property
    def full(self) -> bool:
        return self.covars.ndim == 3

    @property
    def states(self) -> int:
        return self.means.shape[0]

    @property
    def channels(self) -> int:
        return self.means.shape[1]

    @property
    def order(self) -> int:
        return 0

    @property
    def parameters(self) -> int:
        C = self.channels
        return self.states * (C + (C * (C + 1) // 2 if self.full else C))

    @cached_property
    def centre(self) -> np.ndarray:
        return self.means.mean(axis=0)

    @property
    def variances(self) -> np.ndarray:
        """(states, channels)"""
        return np.diagonal(self.covars, axis1=1, axis2=2) if self.full else self.covars

    def log_density(self, group: Group, out: np.ndarray) -> None:
        if self.full:
            _full_density(states_type(self.states), group.values, *self._whitening, out)
        else:
            _diagonal_density(states_type(self.states), group.values, group.observed, *self._standardising, out)

    def statistics(self, group: Group, gamma: np.ndarray) -> GaussianStatistics:
        K, C = self.states, self.channels
        first, weight = np.zeros((K, C)), np.zeros((K, C))
        if self.full:
            second = np.zeros((K, C, C))
            _full_sums(states_type(K), group.values, gamma, weight, first, second)
        else:
            second = np.zeros((K, C))
            _diagonal_sums(states_type(K), group.values, group.observed, gamma, weight, first, second)
        return GaussianStatistics(weight, first, second)

    def m_step(self, statistics: GaussianStatistics) -> Gaussian:
        seen = statistics.weight > EMPTY
        weight = np.where(seen, statistics.weight, 1.0)
        shift = statistics.first / weight
        means = np.where(seen, self.centre + shift, self.means)
        if not self.full:
            covars = statistics.second / weight - shift**2
            floored = seen & (covars < self.floor)
            return Gaussian(means, np.where(seen, np.maximum(covars, self.floor), self.covars), self.floor, int(floored.sum()))
        covars = statistics.second / weight[:, :, None] - shift[:, :, None] * shift[:, None, :]
        raised, floored = _raise_eigenvalues(covars, self.floor)
        return Gaussian(means, np.where(seen[:, :, None], raised, self.covars), self.floor, int(floored[seen[:, 0]].sum()))

    def permuted(self, order: np.ndarray) -> Gaussian:
        return replace(self, means=self.means[order], covars=self.covars[order])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"means": self.means, "covars": self.covars, "floor": self.floor}

    @cached_property
    def _standardising(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y = x / deviation - shift, and log N = constant - y² / 2 for each channel."""
        deviation = np.sqrt(self.covars)
        return 1 / deviation, (self.means - self.centre) / deviation, -np.log(deviation) - 0.5 * LOG_2PI

    @cached_property
    def _whitening(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y = W x - shift with W the inverse Cholesky factor, and log N = constant - y·y / 2."""
        W = np.tril(np.linalg.inv(np.linalg.cholesky(self.covars)))
        shift = np.einsum("kij,kj->ki", W, self.means - self.centre)
        constant = np.log(np.diagonal(W, axis1=1, axis2=2)).sum(axis=1) - 0.5 * self.channels * LOG_2PI
        return W, shift, constant


def _raise_eigenvalues(covars: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest covariances that are nowhere below diag(floor), and how many directions of each were raised to it."""
    root = np.sqrt(floor)
    values, vectors = np.linalg.eigh(covars / root[:, None] / root)
    low = values < 1.0
    raised = (vectors * np.where(low, 1.0, values)[:, None, :]) @ vectors.swapaxes(1, 2) * root[:, None] * root
    return np.where(low.any(axis=1)[:, None, None], raised, covars), low.sum(axis=1)


@njit(cache=True, fastmath=FAST)
def _diagonal_density(states: Any, x: Any, observed: Any, inverse: Any, shift: Any, constant: Any, out: Any) -> None:
    K, (steps, channels, _) = len(states), x.shape
    for t in range(steps):
        for k in range(K):
            for v in range(LANES):
                out[t, k, v] = 0.0
        for c in range(channels):
            for k in range(K):
                r, m, z = inverse[k, c], shift[k, c], constant[k, c]
                for v in range(LANES):
                    y = x[t, c, v] * r - m
                    if observed is None:
                        out[t, k, v] += z - 0.5 * y * y
                    else:
                        out[t, k, v] += (z - 0.5 * y * y) * observed[t, c, v]


@njit(cache=True, fastmath=FAST)
def _diagonal_sums(states: Any, x: Any, observed: Any, gamma: Any, weight: Any, first: Any, second: Any) -> None:
    K, (steps, channels, _) = len(states), x.shape
    sums = np.zeros((3, channels, K, LANES))
    for t in range(steps):
        for c in range(channels):
            for k in range(K):
                for v in range(LANES):
                    g = gamma[t, k, v] if observed is None else gamma[t, k, v] * observed[t, c, v]
                    gx = g * x[t, c, v]
                    sums[0, c, k, v] += g
                    sums[1, c, k, v] += gx
                    sums[2, c, k, v] += gx * x[t, c, v]
    for c in range(channels):
        for k in range(K):
            weight[k, c] += sums[0, c, k].sum()
            first[k, c] += sums[1, c, k].sum()
            second[k, c] += sums[2, c, k].sum()


@njit(cache=True, fastmath=FAST)
def _full_density(states: Any, x: Any, W: Any, shift: Any, constant: Any, out: Any) -> None:
    K, (steps, channels, _) = len(states), x.shape
    y = np.empty(LANES)
    for t in range(steps):
        for k in range(K):
            for v in range(LANES):
                out[t, k, v] = constant[k]
            for i in range(channels):
                for v in range(LANES):
                    y[v] = -shift[k, i]
                for j in range(i + 1):
                    for v in range(LANES):
                        y[v] += W[k, i, j] * x[t, j, v]
                for v in range(LANES):
                    out[t, k, v] -= 0.5 * y[v] * y[v]


@njit(cache=True, fastmath=FAST)
def _full_sums(states: Any, x: Any, gamma: Any, weight: Any, first: Any, second: Any) -> None:
    K, (steps, channels, _) = len(states), x.shape
    zeroth, ones, twos = np.zeros((K, LANES)), np.zeros((K, channels, LANES)), np.zeros((K, channels, channels, LANES))
    gx = np.empty(LANES)
    for t in range(steps):
        for k in range(K):
            for v in range(LANES):
                zeroth[k, v] += gamma[t, k, v]
            for i in range(channels):
                for v in range(LANES):
                    gx[v] = gamma[t, k, v] * x[t, i, v]
                    ones[k, i, v] += gx[v]
                for j in range(i + 1):
                    for v in range(LANES):
                        twos[k, i, j, v] += gx[v] * x[t, j, v]
    for k in range(K):
        weight[k] += zeroth[k].sum()
        for i in range(channels):
            first[k, i] += ones[k, i].sum()
            for j in range(i + 1):
                second[k, i, j] += twos[k, i, j].sum()
                second[k, j, i] = second[k, i, j]
