"""Predictive distributions: of each window, step ahead and channel, a mixture.

F(x) = sum over n of weights[n] · F_n(x)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hindcast.forecasting.distributions.marginals import Components, Continuous, Discrete
from hindcast.prep.errors import InputError

NUMBERS_AT_ONCE = 1 << 21  # of an intermediate array
# Of a quantile's search: as far as digits go, and where they end (sinh overflows beyond).
CLOSE, FURTHEST = 1e-12, 709.0
# So far from a whole number, relative to it, a count is that number: what other units, and back, leave of it in float32.
WHOLE = 1e-6
# A cumulative probability reaches what it is short of by rounding alone.
ROUNDING = 8 * np.finfo(float).eps

Verb = Callable[[Any, np.ndarray, np.ndarray], np.ndarray]  # of a part, weights and x (..., windows, horizon, channels)


@dataclass(frozen=True)
class Mixture:
    """Marginal distributions of future values: of each step by itself, and of each channel by itself.

    weights         (windows, horizon, N): of the components, adding up to 1; the same for all channels
    parts           components, N at a time of a kind, of some channels each, in the order of the channels
    centre, scale   numbers, (channels,) or (windows, channels): a value is scale · (a value of the components) + centre

    Values `x` are of shape (windows, horizon, channels), with more dimensions before these for several values of each, or of a
    shape that broadcasts to such. Results have the broadcast shape, and are NaN where x is NaN.
    """

    weights: np.ndarray
    parts: tuple[Components, ...]
    centre: float | np.ndarray = 0.0
    scale: float | np.ndarray = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(windows, horizon, channels)"""
        windows, horizon, _ = self.weights.shape
        return windows, horizon, sum(part.channels for part in self.parts)

    def mean(self) -> np.ndarray:
        """(windows, horizon, channels)"""
        return self._outside(self._mean())

    def deviation(self) -> np.ndarray:
        """Standard deviation, (windows, horizon, channels); infinite where there is none (of Student components, dof ≤ 2)."""
        return self._each(_deviation, self._mean()) * self._of_windows(self.scale)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(value ≤ x)."""
        return self._each(_cdf, self._inside(x))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the density at x; where values are discrete, of the probability of x."""
        unit = np.where(self._discrete, 0.0, np.log(self._of_windows(self.scale)))
        return self._each(_log_density, self._inside(x)) - unit

    def quantile(self, q: float | np.ndarray) -> np.ndarray:
        """(windows, horizon, channels) of one probability q, (numbers, windows, horizon, channels) of several.

        Continuous: where the cdf is q, to 1e-10 of its own size or of that of the whole mixture; discrete: the lowest value whose
        cdf reaches q. Raises InputError for q outside of 0 … 1.
        """
        probabilities = np.asarray(q, np.float64)
        if probabilities.ndim > 1 or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise InputError(f"q: found {q!r}, expected a probability, or a list of them")
        everywhere = np.broadcast_to(probabilities.reshape(*probabilities.shape, 1, 1, 1), (*probabilities.shape, *self.shape))
        return self._outside(self._each(_quantile, everywhere))

    def crps(self, x: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score, in the units of x, the smaller the better; 0 is certain and right.

        E |X − x| − E |X − X'| / 2 with independent X, X' (Gneiting and Raftery 2007, equation 21), from closed forms for every
        pair of normal components (Grimit and others 2006, equation 5), sums for discrete ones, and a quadrature for Student ones,
        to 1e-6. NaN where a Student component with dof ≤ 1 has weight, whose expectations do not exist.
        """
        return self._each(_crps, self._inside(x), pairs=True) * self._of_windows(self.scale)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws (count, windows, horizon, channels).

        The channels of a step come of one component, within which they are independent. Steps are independent: these are draws
        from each step's distribution, not paths.
        """
        component = np.zeros((count, *self.weights.shape[:2]), np.int64)
        below = np.cumsum(self.weights, axis=-1)
        u = rng.random(component.shape) * below[..., -1]
        for n in range(below.shape[-1] - 1):
            component += u >= below[..., n]
        return self._outside(np.concatenate([part.sample(component, rng) for part in self.parts], axis=-1))

    def in_units(self, centre: np.ndarray, scale: np.ndarray) -> Mixture:
        """The distribution of value · scale + centre; both (windows, channels), scale above 0."""
        return replace(self, centre=self.centre * scale + centre, scale=self.scale * scale)

    def _mean(self) -> np.ndarray:
        return np.concatenate([_average(self.weights, part.mean) for part in self.parts], axis=-1)

    @property
    def _discrete(self) -> np.ndarray:
        """(channels,)"""
        return np.concatenate([np.full(part.channels, part.discrete) for part in self.parts])

    def _of_windows(self, unit: float | np.ndarray) -> np.ndarray:
        """(windows, 1, channels)"""
        windows, _, channels = self.shape
        return np.broadcast_to(unit, (windows, channels))[:, None]

    def _inside(self, x: np.ndarray) -> np.ndarray:
        """In the units of the components."""
        x = (np.asarray(x, np.float64) - self._of_windows(self.centre)) / self._of_windows(self.scale)
        if self._discrete.any():
            x = np.where(self._discrete & np.isclose(x, np.rint(x), rtol=WHOLE, atol=WHOLE), np.rint(x), x)
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, self.shape))

    def _outside(self, value: np.ndarray) -> np.ndarray:
        return value * self._of_windows(self.scale) + self._of_windows(self.centre)

    def _each(self, verb: Verb, x: np.ndarray, pairs: bool = False) -> np.ndarray:
        """What is said of x, some windows at a time: no intermediate array is much larger than NUMBERS_AT_ONCE."""
        out = np.empty(x.shape)
        N = self.weights.shape[-1]
        numbers = max(1, x[..., :1, :, :].size) * (N * N if pairs else N)
        for windows in _slices(self.shape[0], max(1, NUMBERS_AT_ONCE // numbers)):
            first = 0
            for part in self.parts:
                here = (..., windows, slice(None), slice(first, first + part.channels))
                out[here] = verb(part.of(windows), self.weights[windows], x[here])
                first += part.channels
        return out


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(begin, begin + step) for begin in range(0, length, step))


def _average(weights: np.ndarray, of_each: np.ndarray) -> np.ndarray:
    """(..., channels) of `weights` (..., N) and `of_each` (..., channels, N); what has no weight may be infinite."""
    if not np.isfinite(of_each).all():
        of_each = np.where((weights > 0)[..., None, :], of_each, 0.0)
    return np.einsum("...cn,...n->...c", of_each, weights)


def _deviation(part: Components, weights: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.sqrt(_average(weights, part.variance + (part.mean - mean[..., None]) ** 2))


def _cdf(part: Components, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.minimum(_average(weights, part.cdf(x[..., None])), 1.0)


def _log_density(part: Components, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logs = np.log(weights)[..., None, :] + part.log_density(x[..., None])
    highest = logs.max(axis=-1, keepdims=True)
    highest = np.where(np.isneginf(highest), 0.0, highest)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logs - highest).sum(axis=-1)) + highest[..., 0]


def _crps(part: Components, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    apart = _average(weights, _average(weights[..., None, :], part.spread))
    distance = _average(weights, part.distance(x[..., None]))
    exists = np.isfinite(apart)
    return np.where(exists, distance, np.nan) - 0.5 * np.where(exists, apart, 0.0)


def _quantile(part: Components, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    if isinstance(part, Discrete):
        return _lowest_that_reaches(part, weights, q)
    assert isinstance(part, Continuous)
    inner = (q > 0) & (q < 1)
    inside = _where_cdf_is(part, weights, np.where(inner, q, 0.5))
    return np.where(inner, inside, np.where(q > 0, np.inf, -np.inf))


def _where_cdf_is(part: Continuous, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Newton's method, with bisection where it leaves the bracket or slows down (Press and others 2007, section 9.4).

    On t with x = centre + size · sinh t: digits are then relative in the far tails, too.
    """
    centre = _average(weights, part.location)
    size = (part.scale + np.abs(part.location - centre[..., None])).max(axis=-1)

    def excess(t: np.ndarray) -> np.ndarray:
        return _cdf(part, weights, centre + size * np.sinh(t)) - q

    low, high = np.full(q.shape, -1.0), np.full(q.shape, 1.0)
    while (outside := (excess(low) > 0) & (low > -FURTHEST)).any():
        low = np.where(outside, np.maximum(2 * low, -FURTHEST), low)
    while (outside := (excess(high) < 0) & (high < FURTHEST)).any():
        high = np.where(outside, np.minimum(2 * high, FURTHEST), high)
    t, before, open_still = (low + high) / 2, high - low, np.full(q.shape, True)
    while open_still.any():
        over = excess(t)
        low, high = np.where(over <= 0, t, low), np.where(over >= 0, t, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            density = np.exp(_log_density(part, weights, centre + size * np.sinh(t)))
            newton = t - over / (density * size * np.cosh(t))
        usable = (newton >= low) & (newton <= high) & (np.abs(newton - t) < before / 2)
        after = np.where(usable, newton, (low + high) / 2)
        before = np.abs(after - t)
        t = np.where(open_still, after, t)
        open_still &= before > CLOSE * np.maximum(1.0, np.abs(t))
    return centre + size * np.sinh(t)


def _lowest_that_reaches(part: Discrete, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    """By bisection between −1, which no cdf reaches, and a value that does."""
    if np.isfinite(part.top):
        high, endless = np.full(q.shape, part.top), np.full(q.shape, False)
    else:
        high, endless = np.ceil(np.broadcast_to(part.mean.max(), q.shape)) + 1, q == 1
        while (short := ~endless & (_cdf(part, weights, high) < q - ROUNDING)).any():
            high = np.where(short, 2 * high, high)
    low = np.full(q.shape, -1.0)
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        reached = _cdf(part, weights, middle) >= q - ROUNDING
        low, high = np.where(reached | (high - low <= 1), low, middle), np.where(reached & (high - low > 1), middle, high)
    return np.where(endless, np.inf, high)
