"""Autoregressive emissions: in each state, each channel is a linear regression on its own last values.

Hamilton 1990; Rabiner 1989, section IV.B:

    x[t, c] = intercept[k, c] + sum over lags of weights[k, c, lag] · x[t − order + lag, c] + noise of variance[k, c]

A value counts where it and the `order` values before it in its channel were measured. A value that was not measured has density
1; so have the next `order` values of its channel: they are conditioned on, as the first of a sequence are, and the
chain of states goes on meanwhile. Nothing is imputed: what stands where a value is missing has no effect. To integrate over a
missing regressor would take a filter for each path of states. Where gaps are closer than the order, few values count: where
gaps were filled with care, `filled` takes the filled values as regressors, though never as targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numba import njit

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.shared.covariances import moments, raised
from hindcast.classical.hmm.kernels.incomplete import LOG_2PI
from hindcast.classical.hmm.kernels.lanes import Group, Spans, groups
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.vector import LANES, load, splat, store

RUN = 12  # steps over which the misfit is averaged
TILE = 128  # steps at a time: a channel's values, and what they are multiplied with, stay in a near cache
DEPENDENT = 1e-13  # relative eigenvalue under which a direction of the regressors is taken to hold no information
UNIT_ROOT = 1e-10  # squared distance from 1 of what weights add up to, under which the level that they imply is doubted


@dataclass(frozen=True)
class AutoregressiveStatistics(Additive):
    """`gram` (states, channels, order + 2, order + 2): weighted products of (1, the last `order` values, the value), less the
    centre."""

    gram: np.ndarray


@dataclass(frozen=True)
class Autoregressive(Emission):
    """The regressions of all states.

    intercepts  (states, channels)
    weights     (states, channels, order), the oldest lag first
    variances   (states, channels), of the noise
    floor       (channels,): the least variance that an M-step estimates
    floored     how many variances the last M-step raised to it
    filled      whether what stands where a value was not measured is good enough to regress on
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("intercepts", "weights", "variances")
    intercepts: np.ndarray
    weights: np.ndarray
    variances: np.ndarray
    floor: np.ndarray
    floored: int = 0
    filled: bool = False

    @classmethod
    def begin(
        cls, readings: np.ndarray, seen: np.ndarray | None, *, variance_floor: float, order: int, filled: bool = False
    ) -> Autoregressive:
        """One state without memory. `variance_floor` is relative to the variance of each channel."""
        mean, variance, floor = moments(readings, seen, variance_floor)
        return cls(mean[None], np.zeros((1, len(mean), order)), variance[None], floor, filled=filled)

    @property
    def states(self) -> int:
        return self.weights.shape[0]

    @property
    def channels(self) -> int:
        return self.weights.shape[1]

    @property
    def order(self) -> int:
        return self.weights.shape[2]

    @cached_property
    def middle(self) -> np.ndarray:
        """The level at which the regressions of all states come nearest to standing still, by least squares.

        Drawn to 0 where weights add up to 1 or nearly: such a regression stands still nowhere, or far from all readings.
        """
        with np.errstate(all="ignore"):
            away, weight = 1 - self.weights.sum(axis=-1), self.variances.min(axis=0) / self.variances
            level = (weight * away * self.intercepts).sum(axis=0) / (weight * (away**2 + UNIT_ROOT)).sum(axis=0)
        return np.where(np.isfinite(level), level, 0.0)

    @property
    def centred(self) -> np.ndarray:
        """(states, channels): the intercepts of values less the centre."""
        return self.intercepts + (self.weights.sum(axis=-1) - 1) * self.centre

    @property
    def constant(self) -> np.ndarray:
        """(states, channels): log densities of values that are just what was expected."""
        return -0.5 * np.log(self.variances) - 0.5 * LOG_2PI

    @property
    def parameters(self) -> int:
        return self.states * self.channels * (self.order + 2)

    @property
    def repairs(self) -> tuple[str, ...]:
        return raised(self.floored)

    @property
    def fault(self) -> str | None:
        if self.weights.ndim != 3:
            return f"weights: found shape {self.weights.shape}, expected (states, channels, order)"
        for name, array in (("intercepts", self.intercepts), ("weights", self.weights), ("variances", self.variances)):
            if array.shape[:2] != self.weights.shape[:2] or array.ndim != (3 if name == "weights" else 2):
                return f"{name}: found shape {array.shape} for weights of shape {self.weights.shape}"
            for state, values in enumerate(array):
                if not np.isfinite(values).all():
                    return f"{name} of state {state}: expected finite numbers, found {values.tolist()}"
        for state, values in enumerate(self.variances):
            if not (values > 0).all():
                return f"variances of state {state}: expected variances above 0, found {values.tolist()}"
        return None

    @property
    def landmarks(self) -> np.ndarray:
        return self.variances

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Bands of how badly the one regression fits over a short run: calm stretches, ..., wild ones."""
        misfit: list[np.ndarray] = [np.empty(0)] * len(spans.row)
        for group in groups(spans, self.order, self.centre):
            density = np.empty((group.steps, 1, LANES))
            self.log_density(group, density)
            scored = self._scored(group)
            counts = np.full((group.steps, LANES), self.channels) if scored is None else scored.sum(axis=1)
            for (sequence, here), (_, count) in zip(group.each(-density[:, 0]), group.each(counts), strict=True):
                run = np.ones(min(RUN, len(here)))
                misfit[sequence] = np.convolve(here, run, "same") / np.maximum(np.convolve(count, run, "same"), 1)
        borders = np.quantile(np.concatenate(misfit), np.arange(1, states) / states)
        return [np.searchsorted(borders, here) for here in misfit]

    def log_density(self, group: Group, out: np.ndarray) -> None:
        precision = 1 / self.variances
        _density(group.values, self._scored(group), self.centred, self.weights, precision, self.constant, out)

    def no_sums(self) -> np.ndarray:
        """(states, channels, order + 2, order + 2)"""
        return np.zeros((self.states, self.channels, self.order + 2, self.order + 2))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        _sums(group.values, self._scored(group), gamma, sums)

    def statistics(self, sums: np.ndarray) -> AutoregressiveStatistics:
        return AutoregressiveStatistics(np.tril(sums) + np.tril(sums, -1).swapaxes(-1, -2))

    def m_step(self, statistics: AutoregressiveStatistics) -> Autoregressive:
        """Coefficients that are fixed are taken off the target; variances are about the regression that is kept."""
        gram = statistics.gram
        weight = gram[:, :, 0, 0]
        seen = weight > EMPTY
        before = np.concatenate([self.centred[:, :, None], self.weights], axis=-1)
        held = self.centre - self.intercepts if "intercepts" in self.fixed else None
        if held is not None and "weights" not in self.fixed:
            solution, residual = regress_through(gram, self.centre, held)
        else:
            free = np.array([held is None] + ["weights" not in self.fixed] * self.order)
            solution, residual = regress(gram, before, free)
        weights = solution[:, :, 1:]
        intercepts = solution[:, :, 0] + (1 - weights.sum(axis=-1)) * self.centre
        variances = residual / np.where(seen, weight, 1.0)
        floored = seen & (variances < self.floor) & ("variances" not in self.fixed)
        return self.moved(
            intercepts=np.where(seen, intercepts, self.intercepts),
            weights=np.where(seen[:, :, None], weights, self.weights),
            variances=np.where(seen, np.maximum(variances, self.floor), self.variances),
            floored=int(floored.sum()),
        )

    def _scored(self, group: Group) -> np.ndarray | None:
        """(steps, channels, LANES): 1 where a value and its history were measured, else 0; None where all were."""
        if group.observed is None:
            return None
        if self.filled:
            return group.observed[self.order :]
        measured = np.cumsum(group.observed, axis=0)
        measured[self.order + 1 :] -= measured[: -self.order - 1].copy()
        return (measured[self.order :] > self.order).astype(np.float64)

    def sample(self, states: np.ndarray, rng: np.random.Generator, history: np.ndarray | None = None) -> np.ndarray:
        """After `history` (order, channels); zeros without it."""
        readings = np.zeros((self.order + len(states), self.channels))
        readings[: self.order] = 0.0 if history is None else history
        noise = rng.standard_normal((len(states), self.channels)) * np.sqrt(self.variances[states])
        for t, state in enumerate(states):
            carried = (self.weights[state] * readings[t : t + self.order].T).sum(axis=1)
            readings[t + self.order] = self.intercepts[state] + carried + noise[t]
        return readings[self.order :]


def regress(gram: np.ndarray, before: np.ndarray | None = None, free: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Least squares from products (..., q, q) of (regressors, target): coefficients (..., q − 1), sum of squared residuals (...).

    before, free    coefficients (..., q − 1) that are kept where `free` (q − 1,) is False; all are estimated without them

    The shortest solution, where regressors depend on each other (a constant channel, fewer steps than lags).
    """
    if before is None or free is None:
        before, free = np.zeros((*gram.shape[:-2], gram.shape[-1] - 1)), np.ones(gram.shape[-1] - 1, bool)
    solution = np.where(free, 0.0, before)
    if free.any():
        A = gram[..., :-1, :-1][..., free, :][..., free]
        solution[..., free] = _shortest(A, (gram[..., :-1, :] @ _signed(solution)[..., None])[..., free, 0])
    return solution, _squared(gram, solution)


def regress_through(gram: np.ndarray, centre: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `regress`, of values less the `centre` (channels,), where the intercept of the values themselves is kept.

    held    (states, channels): the centre less that intercept

    That ties the coefficients: centre · (sum of weights) − intercept = held. Products of the values themselves would say the
    same, with the digits lost that a far centre takes.
    """
    A = gram[..., :-1, :-1]
    diagonal = np.diagonal(A, axis1=-2, axis2=-1)
    size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    tie = np.broadcast_to(centre[:, None], size.shape).copy()
    tie[..., 0] = -1.0
    tie /= size
    fixed_part = tie * (held / (tie**2).sum(axis=-1))[..., None]
    along = np.linalg.qr(tie[..., None], mode="complete")[0][..., 1:]
    A, b = A / size[..., :, None] / size[..., None, :], gram[..., :-1, -1] / size
    rest = b - np.einsum("...ij,...j->...i", A, fixed_part)
    moved = _shortest(along.swapaxes(-1, -2) @ A @ along, np.einsum("...ij,...i->...j", along, rest))
    solution = (fixed_part + np.einsum("...ij,...j->...i", along, moved)) / size
    return solution, _squared(gram, solution)


def _squared(gram: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """The sum of squared residuals."""
    signed = _signed(solution)
    return np.maximum(np.einsum("...i,...ij,...j->...", signed, gram, signed), 0.0)


def _signed(solution: np.ndarray) -> np.ndarray:
    """What makes residuals of (regressors, target)."""
    return np.concatenate([-solution, np.ones((*solution.shape[:-1], 1))], axis=-1)


def _shortest(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest solution of A x = b, of regressors scaled to length 1."""
    size = np.sqrt(np.maximum(np.diagonal(A, axis1=-2, axis2=-1), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(A / size[..., :, None] / size[..., None, :])
    informative = values > DEPENDENT * np.maximum(values[..., -1:], np.finfo(float).tiny)
    rotated = np.einsum("...ji,...j->...i", vectors, b / size)
    rotated = np.where(informative, rotated / np.where(informative, values, 1.0), 0.0)
    return np.einsum("...ij,...j->...i", vectors, rotated) / size


@njit(cache=True, nogil=True, fastmath=FAST)
def _density(x: Any, scored: Any, intercepts: Any, weights: Any, precision: Any, constant: Any, out: Any) -> None:
    steps, (K, channels, order) = out.shape[0], weights.shape
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for c in range(channels):
                e = load(x, (t + order, c)) - intercepts[k, c]
                for lag in range(order):
                    e = e - load(x, (t + lag, c)) * weights[k, c, lag]
                density = constant[k, c] - e * e * (0.5 * precision[k, c])
                total = total + (density if scored is None else density * load(scored, (t, c)))
            store(out, (t, k), total)


@njit(cache=True, nogil=True, fastmath=FAST)
def _sums(x: Any, scored: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (states, channels, order + 2, order + 2) on and below the diagonal: weighted products of 1 and neighbours.

    Four columns of a row at a time, so that four sums are on their way at once.
    """
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    near = len(x) - steps + 1
    values, weights, row = np.empty((len(x), LANES)), np.empty((TILE, LANES)), np.empty((TILE, LANES))
    lane = np.empty((1, LANES))
    for c in range(channels):
        values[:] = x[:, c]
        for tile in range(0, steps, TILE):
            here = min(TILE, steps - tile)
            for k in range(K):
                weight = splat(0.0)
                for t in range(here):
                    g = load(gamma, (tile + t, k))
                    if scored is not None:
                        g = g * load(scored, (tile + t, c))
                    weight = weight + g
                    store(weights, (t,), g)
                sums[k, c, 0, 0] += _total(weight, lane)
                for i in range(near):
                    first = splat(0.0)
                    for t in range(here):
                        product = load(weights, (t,)) * load(values, (tile + t + i,))
                        first = first + product
                        store(row, (t,), product)
                    sums[k, c, i + 1, 0] += _total(first, lane)
                    j = 0
                    while j <= i and j + 4 <= near:
                        s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
                        for t in range(here):
                            product, at = load(row, (t,)), tile + t + j
                            s0 = s0 + product * load(values, (at,))
                            s1 = s1 + product * load(values, (at + 1,))
                            s2 = s2 + product * load(values, (at + 2,))
                            s3 = s3 + product * load(values, (at + 3,))
                        sums[k, c, i + 1, j + 1] += _total(s0, lane)
                        sums[k, c, i + 1, j + 2] += _total(s1, lane)
                        sums[k, c, i + 1, j + 3] += _total(s2, lane)
                        sums[k, c, i + 1, j + 4] += _total(s3, lane)
                        j += 4
                    while j <= i:
                        s0 = splat(0.0)
                        for t in range(here):
                            s0 = s0 + load(row, (t,)) * load(values, (tile + t + j,))
                        sums[k, c, i + 1, j + 1] += _total(s0, lane)
                        j += 1


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _total(of_lanes: Any, lane: Any) -> Any:
    store(lane, (0,), of_lanes)
    total = 0.0
    for v in range(LANES):
        total += lane[0, v]
    return total
