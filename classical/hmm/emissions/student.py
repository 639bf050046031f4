"""Student emissions: in each state, each channel has a t-distribution: a far reading is an outlier, not a state of its own.

    x[c] | k  ~  t(location[k, c], scale[k, c], dof[k, c]),  channels independent

A t-distribution is a Gaussian whose precision is multiplied by a hidden u ~ Gamma(dof / 2, dof / 2): its expectation is what a
reading counts (Liu and Rubin 1995; in mixtures, Peel and McLachlan 2000). The M-step is that of PX-EM (Liu, Rubin and Wu 1998),
which lets the mean of u vary too: it takes fewer iterations, and the likelihood never falls either.

A reading that was not measured says nothing of the state, and adds nothing to the sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numba import njit
from scipy.special import digamma, gammaln

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.kernels.lanes import Group, Spans, stacked
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.logarithm import log1p_of_positive
from hindcast.classical.hmm.kernels.vector import LANES, load, splat, store
from hindcast.forecasting.distributions.marginals import Components, Students

DOF_MIN, DOF_MAX = 0.1, 200.0  # below, nothing but the location is told from 0; above, nothing is told from a Gaussian
DOF_FIRST = 4.0
HALVINGS = 60  # of log(DOF_MAX / DOF_MIN): as far as digits go
QUARTILE = 1.3489795003921634  # interquartile range of a Gaussian of deviation 1
FENCE = 1.5  # interquartile ranges beyond the quartiles, after which a reading is an outlier (Tukey 1977)


@dataclass(frozen=True)
class StudentStatistics(Additive):
    """Weighted sums, (states, channels) each, of y = (reading − location) / scale and the hidden u of each reading.

    weight          of 1
    precision       of E u = (dof + 1) / (dof + y²)
    first, second   of y E u, y² E u
    log_precision   of E log u = log E u + digamma((dof + 1) / 2) − log((dof + 1) / 2)
    """

    weight: np.ndarray
    precision: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_precision: np.ndarray


@dataclass(frozen=True)
class Student(Emission):
    """What each state says of each channel.

    locations   (states, channels)
    scales      (states, channels): of the t-distribution; its deviation is sqrt(dof / (dof − 2)) times as much, for dof above 2
    dofs        (states, channels): degrees of freedom, DOF_MIN … DOF_MAX
    floor       (channels,): the least scale that an M-step estimates
    floored     how many scales the last M-step raised to it
    bounded     how many degrees of freedom the last M-step found at DOF_MIN or DOF_MAX
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("locations", "scales", "dofs")
    locations: np.ndarray
    scales: np.ndarray
    dofs: np.ndarray
    floor: np.ndarray
    floored: int = 0
    bounded: int = 0

    @classmethod
    def begin(cls, readings: np.ndarray, seen: np.ndarray | None, *, variance_floor: float) -> Student:
        """One state: medians and quartiles of all readings (steps, channels), which outliers do not move.

        `variance_floor` is relative to the variance of each channel, as the quartiles tell it.
        """
        low, median, high = _quartiles(readings, seen)
        deviation = (high - low) / QUARTILE
        floor = np.sqrt(variance_floor) * np.where(deviation > 0, deviation, 1.0)
        return cls(median[None], np.maximum(deviation, floor)[None], np.full((1, len(median)), DOF_FIRST), floor)

    @property
    def states(self) -> int:
        return self.locations.shape[0]

    @property
    def channels(self) -> int:
        return self.locations.shape[1]

    @property
    def parameters(self) -> int:
        return 3 * self.locations.size

    @cached_property
    def middle(self) -> np.ndarray:
        return self.locations.mean(axis=0)

    @property
    def repairs(self) -> tuple[str, ...]:
        raised = f"{self.floored} scales were raised to the floor"
        bounded = f"{self.bounded} degrees of freedom are at a bound, {DOF_MIN:g} or {DOF_MAX:g}"
        return (raised,) * (self.floored > 0) + (bounded,) * (self.bounded > 0)

    @property
    def fault(self) -> str | None:
        expected = {
            "locations": ("finite numbers", np.isfinite(self.locations)),
            "scales": ("scales above 0", np.isfinite(self.scales) & (self.scales > 0)),
            "dofs": (f"degrees of freedom of {DOF_MIN:g} … {DOF_MAX:g}", (self.dofs >= DOF_MIN) & (self.dofs <= DOF_MAX)),
        }
        shape = self.locations.shape
        for name, (expectation, fine) in expected.items():
            if fine.ndim != 2 or fine.shape != shape:
                return f"{name}: expected shape (states, channels) as of the others, found {fine.shape} for locations of {shape}"
            if not fine.all():
                state = int(np.flatnonzero(~fine.all(axis=1))[0])
                return f"{name} of state {state}: expected {expectation}, found {getattr(self, name)[state].tolist()}"
        return None

    @property
    def landmarks(self) -> np.ndarray:
        return self.locations

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of readings. Outliers are drawn in to where they begin, and missing readings are taken as medians."""
        readings = stacked(spans.values, spans)
        seen = None if spans.observed is None else stacked(spans.observed, spans) > 0
        low, median, high = _quartiles(readings, seen)
        reach = FENCE * (high - low)
        clipped = np.clip(readings if seen is None else np.where(seen, readings, median), low - reach, high + reach)
        return np.split(clusters(clipped, states, rng), np.cumsum(spans.lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        dof = self.dofs
        constant = gammaln((dof + 1) / 2) - gammaln(dof / 2) - 0.5 * np.log(np.pi * dof) - np.log(self.scales)
        _density(group.values, group.observed, *self._standardising, 1 / dof, (dof + 1) / 2, constant, out)

    def no_sums(self) -> np.ndarray:
        """(5, states, channels, LANES)"""
        return np.zeros((5, self.states, self.channels, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        _sums(group.values, group.observed, gamma, *self._standardising, 1 / self.dofs, sums)

    def statistics(self, sums: np.ndarray) -> StudentStatistics:
        weight, inverse, first, second, logs = sums.sum(axis=-1)
        half = (self.dofs + 1) / 2
        most = 2 * half / self.dofs  # E u where y = 0
        log_precision = weight * (digamma(half) - np.log(self.dofs / 2)) - logs
        return StudentStatistics(weight, most * inverse, most * first, most * second, log_precision)

    def m_step(self, statistics: StudentStatistics) -> Student:
        """Where a scale is fixed, or PX-EM would put it below the floor, the mean of u is held at 1: plain EM."""
        seen = statistics.weight > EMPTY
        weight = np.where(seen, statistics.weight, 1.0)
        precision, first, second, log_precision = (
            np.where(seen, summed, 1.0) / weight
            for summed in (statistics.precision, statistics.first, statistics.second, statistics.log_precision)
        )
        step = np.zeros_like(first) if "locations" in self.fixed else first / precision
        variance = self.scales**2 * np.maximum(second - 2 * step * first + step**2 * precision, 0.0)
        free = ("scales" not in self.fixed) & (variance >= precision * self.floor**2)
        mean = np.where(free, precision, 1.0)
        scales = np.sqrt(variance / mean)
        dofs = _degrees_of_freedom(np.log(mean) + precision / mean - 1 - log_precision)
        floored = seen & (scales < self.floor) & ("scales" not in self.fixed)
        bounded = seen & ((dofs == DOF_MIN) | (dofs == DOF_MAX)) & ("dofs" not in self.fixed)
        return self.moved(
            locations=np.where(seen, self.locations + self.scales * step, self.locations),
            scales=np.where(seen, np.maximum(scales, self.floor), self.scales),
            dofs=np.where(seen, dofs, self.dofs),
            floored=int(floored.sum()),
            bounded=int(bounded.sum()),
        )

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        return np.eye(self.states), (Students(self.locations.T, self.scales.T, self.dofs.T),)

    def above_floor(self) -> Student:
        return replace(self, scales=np.maximum(self.scales, self.floor))

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.locations[states] + self.scales[states] * rng.standard_t(self.dofs[states])

    @cached_property
    def _standardising(self) -> tuple[np.ndarray, np.ndarray]:
        """y = x · inverse − shift, of x less the centre."""
        return 1 / self.scales, (self.locations - self.centre) / self.scales


def _degrees_of_freedom(excess: np.ndarray) -> np.ndarray:
    """The root of log(dof / 2) − digamma(dof / 2) = excess, which falls with dof, or the bound that is nearest to it."""

    def low_enough(dof: Any) -> Any:
        return np.log(dof / 2) - digamma(dof / 2) <= excess

    low, high = np.full(excess.shape, np.log(DOF_MIN)), np.full(excess.shape, np.log(DOF_MAX))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = low_enough(np.exp(middle))
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    inside = np.clip(np.exp((low + high) / 2), DOF_MIN, DOF_MAX)
    return np.where(low_enough(DOF_MIN), DOF_MIN, np.where(low_enough(DOF_MAX), inside, DOF_MAX))


def _quartiles(readings: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """(3, channels): quartiles of what was measured; 0 where nothing was. Without spread between them, the deviation's."""
    readings = np.asarray(readings, np.float64)
    out = np.zeros((3, readings.shape[1]))
    for c in range(readings.shape[1]):
        here = readings[:, c] if seen is None else readings[seen[:, c], c]
        if len(here):
            out[:, c] = np.quantile(here, (0.25, 0.5, 0.75))
            if out[0, c] == out[2, c]:
                out[:, c] += np.array([-0.5, 0.0, 0.5]) * QUARTILE * here.std()
    return out


@njit(cache=True, nogil=True, fastmath=FAST)
def _density(x: Any, observed: Any, inverse: Any, shift: Any, over_dof: Any, power: Any, constant: Any, out: Any) -> None:
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for c in range(channels):
                y = load(x, (t, c)) * inverse[k, c] - shift[k, c]
                density = constant[k, c] - log1p_of_positive(y * y * over_dof[k, c]) * power[k, c]
                total = total + (density if observed is None else density * load(observed, (t, c)))
            store(out, (t, k), total)


@njit(cache=True, nogil=True, fastmath=FAST)
def _sums(x: Any, observed: Any, gamma: Any, inverse: Any, shift: Any, over_dof: Any, sums: Any) -> None:
    """Adds to `sums` (5, states, channels, LANES): 1, v, v y, v y² and −log v, of v = 1 / (1 + y² / dof)."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    for k in range(K):
        for c in range(channels):
            weight, zeroth, first = load(sums, (0, k, c)), load(sums, (1, k, c)), load(sums, (2, k, c))
            second, logs = load(sums, (3, k, c)), load(sums, (4, k, c))
            for t in range(steps):
                g = load(gamma, (t, k)) if observed is None else load(gamma, (t, k)) * load(observed, (t, c))
                y = load(x, (t, c)) * inverse[k, c] - shift[k, c]
                q = y * y * over_dof[k, c]
                v = g / (q + 1.0)
                weight, zeroth, first, second = weight + g, zeroth + v, first + v * y, second + v * y * y
                logs = logs + g * log1p_of_positive(q)
            store(sums, (0, k, c), weight)
            store(sums, (1, k, c), zeroth)
            store(sums, (2, k, c), first)
            store(sums, (3, k, c), second)
            store(sums, (4, k, c), logs)
