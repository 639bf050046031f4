"""The kinds of distributions that a predictive mixture is made of, each N at a time for each of some channels.

Parameters are (channels, N), the same for all windows and steps ahead, or (windows, horizon, channels, N). A value `x` is
(..., channels, 1), or (..., windows, horizon, channels, 1), and what is said of it has N in place of the 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from scipy.special import bdtr, betaln, gammaln, ndtr, pdtr, stdtr, xlog1py, xlogy

LOG_2PI = float(np.log(2 * np.pi))
# A count lies further than so many deviations, and so many more, from its mean with a probability below 1e-20.
FAR, FURTHER = 10, 30
# Abscissas of the double exponential rule (Takahasi and Mori 1974), so far out that even dof of 1.1 leave less than 1e-7 beyond.
ABSCISSAS = np.linspace(-6.0, 6.0, 769)


class Components(ABC):
    """One kind of distribution, N at a time. `discrete`: of whole numbers."""

    discrete: ClassVar[bool]

    @property
    @abstractmethod
    def channels(self) -> int: ...

    @property
    @abstractmethod
    def mean(self) -> np.ndarray:
        """As the parameters."""

    @property
    @abstractmethod
    def variance(self) -> np.ndarray:
        """As the parameters; infinite where there is none."""

    @abstractmethod
    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(X ≤ x)."""

    @abstractmethod
    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the density, of the probability where discrete."""

    @abstractmethod
    def distance(self, x: np.ndarray) -> np.ndarray:
        """E |X − x|."""

    @property
    @abstractmethod
    def spread(self) -> np.ndarray:
        """E |X_i − X_j| of independent draws from two of the components, (..., channels, N, N)."""

    @abstractmethod
    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A draw (count, windows, horizon, channels) from `component` (count, windows, horizon), numbers of components."""

    def subset(self, channels: slice, components: np.ndarray) -> Self:
        """These channels and components (by their numbers), of parameters that are the same for all windows."""
        return self._with({name: values[channels][:, components] for name, values in self._parameters().items()})

    def of(self, windows: slice) -> Self:
        """The components of these windows."""
        own = {name: values[windows] for name, values in self._parameters().items() if values.ndim == 4}
        return self._with(own) if own else self

    def _parameters(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def _with(self, parameters: dict[str, np.ndarray]) -> Self:
        return replace(self, **parameters)  # type: ignore[type-var]


class Continuous(Components):
    """Distributions of real numbers, with a location and a scale: the search for quantiles begins there."""

    discrete = False
    location: np.ndarray
    scale: np.ndarray

    @property
    def channels(self) -> int:
        return self.location.shape[-2]

    def standardised(self, x: np.ndarray) -> np.ndarray:
        return (x - self.location) / self.scale


class Discrete(Components):
    """Distributions of whole numbers from 0 on."""

    discrete = True

    @property
    @abstractmethod
    def top(self) -> float:
        """The highest value that any component has; infinite where there is none."""

    @abstractmethod
    def _support(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest value that are worth a summand, as the parameters."""

    @cached_property
    def spread(self) -> np.ndarray:
        """By summation over the values of one of the two."""
        low, high = self._support()
        points = np.arange((high - low).max() + 1).reshape(-1, *[1] * low.ndim) + low
        distances = []
        for j in range(low.shape[-1]):
            x = points[..., j, None]
            probability = np.exp(self.log_density(x)[..., j])
            distances.append(np.einsum("m...,m...i->...i", probability, self.distance(x)))
        return np.stack(distances, axis=-1)


@dataclass(frozen=True)
class Normals(Continuous):
    """`location` and `scale`: mean and standard deviation."""

    location: np.ndarray
    scale: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.location

    @property
    def variance(self) -> np.ndarray:
        return self.scale**2

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return ndtr(self.standardised(x))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return -0.5 * (self.standardised(x) ** 2 + LOG_2PI) - np.log(self.scale)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Grimit, Gneiting, Berrocal and Johnson 2006, equation 4."""
        return _normal_distance(x - self.location, self.scale)

    @cached_property
    def spread(self) -> np.ndarray:
        """Grimit, Gneiting, Berrocal and Johnson 2006, equation 4: the difference of two normals is normal."""
        apart = self.location[..., :, None] - self.location[..., None, :]
        return _normal_distance(apart, np.hypot(self.scale[..., :, None], self.scale[..., None, :]))

    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        location, scale = picked(self.location, component), picked(self.scale, component)
        return location + scale * rng.standard_normal(location.shape)


@dataclass(frozen=True)
class Students(Continuous):
    """t-distributions. Where `dof` is 1 or less there is no mean: `mean` is then its principal value, the location."""

    location: np.ndarray
    scale: np.ndarray
    dof: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.location

    @property
    def variance(self) -> np.ndarray:
        exists = self.dof > 2
        return np.where(exists, self.scale**2 * self.dof / np.where(exists, self.dof - 2, 1.0), np.inf)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return stdtr(self.dof, self.standardised(x))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return self._log_standard(self.standardised(x)) - np.log(self.scale)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Jordan, Krüger and Lerch 2019, appendix A. Infinite where dof is 1 or less."""
        z, has_mean = self.standardised(x), self.dof > 1
        around = 2 * np.exp(self._log_standard(z)) * (self.dof + z**2) / np.where(has_mean, self.dof - 1, 1.0)
        return np.where(has_mean, self.scale * (z * (2 * stdtr(self.dof, z) - 1) + around), np.inf)

    @cached_property
    def spread(self) -> np.ndarray:
        """Expectation of `distance` over one of the two, by the double exponential rule (Takahasi and Mori 1974).

        Over the narrower of the two, on whose scale the other's distance is smooth. To 1e-6 or better for dof of 1.1 or more.
        """
        z = np.sinh(np.pi / 2 * np.sinh(ABSCISSAS)).reshape(-1, *[1] * self.location.ndim)
        slope = (np.pi / 2 * np.cosh(ABSCISSAS) * np.cosh(np.pi / 2 * np.sinh(ABSCISSAS))).reshape(z.shape)
        mass = np.exp(self._log_standard(z)) * slope * (ABSCISSAS[1] - ABSCISSAS[0])
        points = self.location + self.scale * z
        distances = [
            np.einsum("m...,m...i->...i", mass[..., j], self.distance(points[..., j, None])) for j in range(points.shape[-1])
        ]
        over_second = np.stack(distances, axis=-1)
        second_is_narrower = self.scale[..., None, :] <= self.scale[..., :, None]
        return np.where(second_is_narrower, over_second, over_second.swapaxes(-1, -2))

    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        location, scale, dof = (picked(p, component) for p in (self.location, self.scale, self.dof))
        return location + scale * rng.standard_t(dof)

    def _log_standard(self, z: np.ndarray) -> np.ndarray:
        constant = -0.5 * np.log(self.dof) - betaln(0.5, self.dof / 2)
        return constant - (self.dof + 1) / 2 * np.log1p(z**2 / self.dof)


@dataclass(frozen=True)
class Poissons(Discrete):
    """`rate`: the mean count, 0 or more."""

    rate: np.ndarray

    @property
    def channels(self) -> int:
        return self.rate.shape[-2]

    @property
    def top(self) -> float:
        return np.inf

    @property
    def mean(self) -> np.ndarray:
        return self.rate

    @property
    def variance(self) -> np.ndarray:
        return self.rate

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, 0.0, pdtr(np.floor(np.maximum(x, 0)), self.rate))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        count = np.maximum(x, 0)
        return _of_whole(x, np.inf, xlogy(count, self.rate) - self.rate - gammaln(count + 1))

    def distance(self, x: np.ndarray) -> np.ndarray:
        """x − mean + 2 E max(X − x, 0), of which E[X; X > x] = rate · P(X > x − 1)."""
        beyond = self.rate * (1 - self.cdf(x - 1)) - x * (1 - self.cdf(x))
        return x - self.rate + 2 * beyond

    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.poisson(picked(self.rate, component)).astype(np.float64)

    def _support(self) -> tuple[np.ndarray, np.ndarray]:
        return _about(self.rate, self.rate, np.inf)


@dataclass(frozen=True)
class Binomials(Discrete):
    """How often something comes of `probability` in `trials`, whole numbers of the same shape: marginals of a multinomial."""

    trials: np.ndarray
    probability: np.ndarray

    @property
    def channels(self) -> int:
        return self.probability.shape[-2]

    @property
    def top(self) -> float:
        return float(self.trials.max())

    @property
    def mean(self) -> np.ndarray:
        return self.trials * self.probability

    @property
    def variance(self) -> np.ndarray:
        return self.trials * self.probability * (1 - self.probability)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return _binomial_cdf(x, self.trials, self.probability)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        n, p = self.trials, self.probability
        count = np.clip(x, 0, n)
        choices = gammaln(n + 1) - gammaln(count + 1) - gammaln(n - count + 1)
        return _of_whole(x, n, choices + xlogy(count, p) + xlog1py(n - count, -p))

    def distance(self, x: np.ndarray) -> np.ndarray:
        """x − mean + 2 E max(X − x, 0), of which E[X; X > x] = mean · P(one of a trial fewer > x − 1)."""
        reached = _binomial_cdf(x - 1, np.maximum(self.trials - 1, 0), self.probability)
        return x - self.mean + 2 * (self.mean * (1 - reached) - x * (1 - self.cdf(x)))

    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        trials, probability = picked(self.trials, component), picked(self.probability, component)
        return rng.binomial(trials.astype(np.int64), probability).astype(np.float64)

    def _support(self) -> tuple[np.ndarray, np.ndarray]:
        return _about(self.mean, self.variance, self.trials)


@dataclass(frozen=True)
class Symbols(Discrete):
    """One of the symbols 0, 1, ... with the probabilities `table` (channels, N, symbols).

    Mean, deviation, cdf, quantiles and CRPS (here the ranked probability score of Epstein 1969) take symbols as numbers: they are
    of use where symbols are in an order.
    """

    table: np.ndarray

    @property
    def channels(self) -> int:
        return self.table.shape[0]

    @property
    def top(self) -> float:
        return self.table.shape[-1] - 1.0

    @property
    def mean(self) -> np.ndarray:
        return self.table @ np.arange(self.table.shape[-1])

    @property
    def variance(self) -> np.ndarray:
        return (self.table * (np.arange(self.table.shape[-1]) - self.mean[..., None]) ** 2).sum(axis=-1)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        reached = self._at(self._cumulative, np.clip(np.floor(x), 0, self.top))
        return np.where(np.isnan(x), np.nan, np.where(x < 0, 0.0, reached))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return _of_whole(x, self.top, np.log(self._at(self.table, np.clip(np.floor(x), 0, self.top))))

    def distance(self, x: np.ndarray) -> np.ndarray:
        of_each = self.table * np.abs(np.arange(self.table.shape[-1]) - x[..., None])
        return of_each.sum(axis=-1)

    def sample(self, component: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        below = np.moveaxis(self._cumulative, 1, 0)[component]
        return (rng.random(below.shape[:-1])[..., None] >= below[..., :-1]).sum(axis=-1).astype(np.float64)

    def _support(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(self.table.shape[:-1]), np.full(self.table.shape[:-1], self.top)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        return np.cumsum(self.table, axis=-1)

    def _at(self, table: np.ndarray, x: np.ndarray) -> np.ndarray:
        channels, N, _ = table.shape
        return table[np.arange(channels)[:, None], np.arange(N), np.nan_to_num(x).astype(np.int64)]


def picked(parameter: np.ndarray, component: np.ndarray) -> np.ndarray:
    """(count, windows, horizon, channels): a parameter of `component` (count, windows, horizon)."""
    if parameter.ndim == 2:
        return parameter.T[component]
    windows, horizon = component.shape[1:]
    return parameter.swapaxes(-1, -2)[np.arange(windows)[:, None], np.arange(horizon), component]


def _normal_distance(apart: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    z = apart / deviation
    return deviation * (2 * np.exp(-0.5 * (z**2 + LOG_2PI)) + z * (2 * ndtr(z) - 1))


def _binomial_cdf(x: np.ndarray, trials: np.ndarray, probability: np.ndarray) -> np.ndarray:
    reached = bdtr(np.clip(np.floor(x), 0, trials), trials.astype(np.int64), probability)
    return np.where(np.isnan(x), np.nan, np.where(x < 0, 0.0, reached))


def _of_whole(x: np.ndarray, top: float | np.ndarray, log_probability: np.ndarray) -> np.ndarray:
    """Nothing is expected between whole numbers, nor outside of 0 … `top`."""
    possible = (x >= 0) & (x <= top) & (np.floor(x) == x)
    return np.where(np.isnan(x), np.nan, np.where(possible, log_probability, -np.inf))


def _about(mean: np.ndarray, variance: np.ndarray, top: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reach = FAR * np.sqrt(variance) + FURTHER
    return np.floor(np.maximum(mean - reach, 0)), np.minimum(np.ceil(mean + reach), top)
