"""Gaussian emissions, with diagonal or full covariances (Rabiner 1989, equations 52-54, with one component).

A channel that was not measured says nothing of the state and adds nothing to the statistics of a diagonal family: it is
marginalised. A full covariance takes filled values as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numba import njit

from classical.additive import Additive
from classical.hmm.clusters import clusters
from classical.hmm.emissions import EMPTY, Emission
from classical.hmm.lanes import Group, Spans, stacked
from classical.hmm.lattice import FAST
from classical.hmm.vector import LANES, load, splat, store

LOG_2PI = float(np.log(2 * np.pi))
TILE = 16


@dataclass(frozen=True)
class GaussianStatistics(Additive):
    """Weighted sums of readings less the centre.

    weight, first   (states, channels)
    second          the same, or (states, channels, channels) where the covariance is full
    """

    weight: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Gaussian(Emission):
    """Means and covariances of all states.

    means   (states, channels)
    covars  (states, channels), or (states, channels, channels) where full
    floor   (channels,): the least variance that an M-step estimates
    floored how many variances the last M-step raised to it
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("means", "covars")
    means: np.ndarray
    covars: np.ndarray
    floor: np.ndarray
    floored: int = 0

    @classmethod
    def begin(cls, readings: np.ndarray, seen: np.ndarray | None, *, variance_floor: float, full: bool) -> Gaussian:
        """One state: all readings (steps, channels). `variance_floor` is relative to the variance of each channel."""
        mean, variance, floor = moments(readings, seen, variance_floor)
        return cls(mean[None], np.diag(variance)[None] if full else variance[None], floor)

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

    @property
    def repairs(self) -> tuple[str, ...]:
        return raised(self.floored)

    @property
    def fault(self) -> str | None:
        return not_positive(self.variances)

    @property
    def landmarks(self) -> np.ndarray:
        return self.means

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of readings."""
        return np.split(clusters(stacked(spans.values, spans), states, rng), np.cumsum(spans.lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        if self.full:
            _full_density(group.values, *self._whitening, out)
        else:
            _diagonal_density(group.values, group.observed, *self._standardising, out)

    def no_sums(self) -> np.ndarray:
        """(states, channels + 1, channels + 1, LANES) where full, else (3, states, channels, LANES)."""
        K, C = self.states, self.channels
        return np.zeros((K, C + 1, C + 1, LANES) if self.full else (3, K, C, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        if self.full:
            _full_sums(group.values, gamma, sums)
        else:
            _diagonal_sums(group.values, group.observed, gamma, sums)

    def statistics(self, sums: np.ndarray) -> GaussianStatistics:
        sums = sums.sum(axis=-1)
        if not self.full:
            return GaussianStatistics(*sums)
        second = sums[:, 1:, 1:] + np.tril(sums[:, 1:, 1:], -1).swapaxes(1, 2)
        return GaussianStatistics(np.repeat(sums[:, :1, 0], self.channels, axis=1), sums[:, 1:, 0], second)

    def m_step(self, statistics: GaussianStatistics) -> Gaussian:
        seen = statistics.weight > EMPTY
        weight = np.where(seen, statistics.weight, 1.0)
        shift = statistics.first / weight
        means = np.where(seen, self.centre + shift, self.means)
        if not self.full:
            covars = statistics.second / weight - shift**2
            floored = seen & (covars < self.floor)
            covars = np.where(seen, np.maximum(covars, self.floor), self.covars)
            return self.moved(means=means, covars=covars, floored=int(floored.sum()))
        covars = statistics.second / weight[:, :, None] - shift[:, :, None] * shift[:, None, :]
        raised, floored = _raise_eigenvalues(covars, self.floor)
        covars = np.where(seen[:, :, None], raised, self.covars)
        return self.moved(means=means, covars=covars, floored=int(floored[seen[:, 0]].sum()))

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((len(states), self.channels))
        if self.full:
            return self.means[states] + np.einsum("tij,tj->ti", np.linalg.cholesky(self.covars)[states], noise)
        return self.means[states] + np.sqrt(self.covars)[states] * noise

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


def moments(readings: np.ndarray, seen: np.ndarray | None, variance_floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(channels,) each: mean, variance at or above the floor, and the floor, relative to the variance where there is one."""
    if seen is None:
        mean, variance = readings.mean(axis=0, dtype=np.float64), readings.var(axis=0, dtype=np.float64)
    else:
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, readings, 0).sum(axis=0, dtype=np.float64) / count
        variance = (np.where(seen, readings - mean, 0) ** 2).sum(axis=0) / count
    floor = variance_floor * np.where(variance > 0, variance, 1.0)
    return mean, np.maximum(variance, floor), floor


def not_positive(variances: np.ndarray) -> str | None:
    return None if (variances > 0).all() else f"expected variances above 0, found {variances.tolist()}"


def raised(floored: int) -> tuple[str, ...]:
    return (f"{floored} variances were raised to the floor",) if floored else ()


def _raise_eigenvalues(covars: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest covariances that are nowhere below diag(floor), and how many directions of each were raised to it."""
    root = np.sqrt(floor)
    values, vectors = np.linalg.eigh(covars / root[:, None] / root)
    low = values < 1.0
    raised = (vectors * np.where(low, 1.0, values)[:, None, :]) @ vectors.swapaxes(1, 2) * root[:, None] * root
    return np.where(low.any(axis=1)[:, None, None], raised, covars), low.sum(axis=1)


@njit(cache=True, fastmath=FAST)
def _diagonal_density(x: Any, observed: Any, inverse: Any, shift: Any, constant: Any, out: Any) -> None:
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for c in range(channels):
                y = load(x, (t, c)) * inverse[k, c] - shift[k, c]
                if observed is None:
                    total = total + (constant[k, c] - y * y * 0.5)
                else:
                    total = total + (constant[k, c] - y * y * 0.5) * load(observed, (t, c))
            store(out, (t, k), total)


@njit(cache=True, fastmath=FAST)
def _diagonal_sums(x: Any, observed: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (3, states, channels, LANES), a tile of steps at a time that the nearest cache holds."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            for c in range(channels):
                first, second = load(sums, (1, k, c)), load(sums, (2, k, c))
                for t in range(tile, end):
                    here = load(x, (t, c))
                    g = load(gamma, (t, k)) if observed is None else load(gamma, (t, k)) * load(observed, (t, c))
                    product = g * here
                    first = first + product
                    second = second + product * here
                store(sums, (1, k, c), first)
                store(sums, (2, k, c), second)
            for c in range(channels):
                weight = load(sums, (0, k, c))
                if observed is None and c > 0:
                    weight = load(sums, (0, k, 0))
                else:
                    for t in range(tile, end):
                        g = load(gamma, (t, k))
                        weight = weight + (g if observed is None else g * load(observed, (t, c)))
                store(sums, (0, k, c), weight)


@njit(cache=True, fastmath=FAST)
def _full_density(x: Any, W: Any, shift: Any, constant: Any, out: Any) -> None:
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for i in range(channels):
                y = splat(-shift[k, i])
                for j in range(i + 1):
                    y = y + load(x, (t, j)) * W[k, i, j]
                total = total + y * y
            store(out, (t, k), constant[k] - total * 0.5)


@njit(cache=True, fastmath=FAST)
def _full_sums(x: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (states, channels + 1, channels + 1, LANES): products of (1, the channels), below the diagonal and on it."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    weighted = np.empty((TILE, LANES))
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            weight = load(sums, (k, 0, 0))
            for t in range(tile, end):
                weight = weight + load(gamma, (t, k))
            store(sums, (k, 0, 0), weight)
            for i in range(channels):
                first = load(sums, (k, i + 1, 0))
                for t in range(tile, end):
                    product = load(gamma, (t, k)) * load(x, (t, i))
                    first = first + product
                    store(weighted, (t - tile,), product)
                store(sums, (k, i + 1, 0), first)
                for j in range(i + 1):
                    second = load(sums, (k, i + 1, j + 1))
                    for t in range(tile, end):
                        second = second + load(weighted, (t - tile,)) * load(x, (t, j))
                    store(sums, (k, i + 1, j + 1), second)
