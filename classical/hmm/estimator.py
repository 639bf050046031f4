"""Estimators that a user of hmmlearn already knows: the same arguments, attributes and verbs, and no hidden priors."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np

from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.categorical import Categorical
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.emissions.poisson import Poisson
from classical.hmm.estimating import Estimator, as_array
from classical.hmm.initial import Begin
from prep.errors import InputError


class GaussianHMM(Estimator):
    """Gaussian readings. With `covariance_type` "diag", NaN in `X` is a missing reading, and is marginalised.

    means_      (n_components, channels); "m" in `init_params`
    covars_     (n_components, channels, channels), also of "diag", as in hmmlearn; set as that or (n_components, channels); "c"
    """

    means_: np.ndarray
    _fields = {"means_": "m", "covars_": "c"}  # noqa: RUF012

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: Literal["diag", "full"] = "diag",
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "stmc",
        variance_floor: float = 1e-6,
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params)
        self.variance_floor = variance_floor
        if covariance_type not in ("diag", "full"):
            raise InputError(f"covariance_type: found {covariance_type!r}, expected 'diag' or 'full'")
        self.covariance_type = covariance_type
        self._marginalises = covariance_type == "diag"

    @property
    def covars_(self) -> np.ndarray:
        return self._covars if self._covars.ndim == 3 else self._covars[:, :, None] * np.eye(self._covars.shape[1])

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        covars = as_array(covars)
        diagonal = self.covariance_type == "diag" and covars.ndim == 3
        self._covars = np.diagonal(covars, axis1=1, axis2=2).copy() if diagonal else covars

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n_samples, channels) and the states (n_samples,) that they come from."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        noise = rng.standard_normal((n_samples, self.means_.shape[1]))
        return self.means_[states] + np.einsum("tij,tj->ti", np.linalg.cholesky(self.covars_)[states], noise), states

    def _begin(self) -> Begin:
        return partial(Gaussian.begin, variance_floor=self.variance_floor, full=self.covariance_type == "full")

    def _emission(self, like: Gaussian | None = None) -> Gaussian:
        means = as_array(self.means_)
        wanted = means.shape if self.covariance_type == "diag" else (*means.shape, means.shape[-1])
        if means.ndim != 2 or self._covars.shape != wanted:
            raise InputError(f"covars_: found shape {self._covars.shape} for means_ of shape {means.shape}, expected {wanted}")
        if self._covars.ndim == 3 and not (np.linalg.eigvalsh(self._covars) > 0).all():
            raise InputError("covars_: one is not positive definite")
        return Gaussian(means, self._covars, like.floor if like else np.zeros(means.shape[1]))

    def _take(self, emission: Gaussian, letters: str) -> None:
        if "m" in letters:
            self.means_ = emission.means
        if "c" in letters:
            self._covars = emission.covars


class CategoricalHMM(Estimator):
    """One symbol a step, 0 … n_features − 1: `X` (steps, 1). NaN is a missing symbol, and is marginalised.

    n_features      how many symbols there are; by default as many as the data have
    emissionprob_   (n_components, n_features); "e" in `init_params`
    """

    emissionprob_: np.ndarray
    _fields = {"emissionprob_": "e"}  # noqa: RUF012
    _marginalises = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "ste",
        n_features: int | None = None,
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params)
        self.n_features = n_features

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Symbols (n_samples, 1) and the states (n_samples,) that they come from."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        ahead = np.cumsum(self.emissionprob_, axis=1)
        symbols = (rng.random(n_samples)[:, None] >= ahead[states]).sum(axis=1)
        return np.minimum(symbols, ahead.shape[1] - 1)[:, None], states

    def _must_fit(self, readings: np.ndarray) -> None:
        super()._must_fit(readings)
        if readings.shape[1] != 1:
            raise InputError(f"X: found {readings.shape[1]} channels, expected one column of symbols")
        fine = (readings % 1 == 0) & (readings >= 0) & (readings < (np.inf if self.n_features is None else self.n_features))
        known = "a whole number, not negative" if self.n_features is None else f"a symbol of 0 … {self.n_features - 1}"
        self._must_be(readings, fine | np.isnan(readings), known)
        self._highest = int(np.nanmax(readings, initial=0))

    def _begin(self) -> Begin:
        return partial(Categorical.begin, symbols=self._highest + 1 if self.n_features is None else self.n_features)

    def _emission(self, like: Any = None) -> Categorical:
        return Categorical(as_array(self.emissionprob_))

    def _take(self, emission: Categorical, letters: str) -> None:
        if "e" in letters:
            self.emissionprob_ = emission.probabilities


class PoissonHMM(Estimator):
    """Counts, independent in each state. NaN is a missing count, and is marginalised.

    lambdas_    (n_components, channels): the mean counts; "l" in `init_params`
    """

    lambdas_: np.ndarray
    _fields = {"lambdas_": "l"}  # noqa: RUF012
    _marginalises = True

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "stl",
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params)

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Counts (n_samples, channels) and the states (n_samples,) that they come from."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        return rng.poisson(self.lambdas_[states]), states

    def _must_fit(self, readings: np.ndarray) -> None:
        super()._must_fit(readings)
        fine = (readings % 1 == 0) & (readings >= 0)
        self._must_be(readings, fine | np.isnan(readings), "a count, whole and not negative")

    def _begin(self) -> Begin:
        return Poisson.begin

    def _emission(self, like: Any = None) -> Poisson:
        return Poisson(as_array(self.lambdas_))

    def _take(self, emission: Poisson, letters: str) -> None:
        if "l" in letters:
            self.lambdas_ = emission.rates


class AutoregressiveHMM(Estimator):
    """In each state, each channel is a regression on its own last `order` values, with Gaussian noise.

    The first `order` steps of a sequence are conditioned on: they are not scored, and no state is said of them.

    intercepts_, variances_   (n_components, channels); "i", "v" in `init_params`
    weights_                  (n_components, channels, order), the oldest lag first; "w"
    """

    intercepts_: np.ndarray
    weights_: np.ndarray
    variances_: np.ndarray
    _fields = {"intercepts_": "i", "weights_": "w", "variances_": "v"}  # noqa: RUF012

    def __init__(
        self,
        n_components: int = 1,
        order: int = 1,
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "stiwv",
        variance_floor: float = 1e-6,
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params)
        self.variance_floor = variance_floor
        if order < 1:
            raise InputError(f"order: found {order}, and at least 1 is needed; GaussianHMM is the model without a past")
        self.order = self._order = order

    def sample(
        self, n_samples: int = 1, random_state: int | None = None, history: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n_samples, channels) after `history` (order, channels), zeros by default, and their states (n_samples,)."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        readings = np.zeros((self.order + n_samples, self.intercepts_.shape[1]))
        readings[: self.order] = 0.0 if history is None else history
        noise = rng.standard_normal((n_samples, readings.shape[1])) * np.sqrt(self.variances_[states])
        for t, state in enumerate(states):
            carried = (self.weights_[state] * readings[t : t + self.order].T).sum(axis=1)
            readings[t + self.order] = self.intercepts_[state] + carried + noise[t]
        return readings[self.order :], states

    def _begin(self) -> Begin:
        return partial(Autoregressive.begin, variance_floor=self.variance_floor, order=self.order)

    def _emission(self, like: Autoregressive | None = None) -> Autoregressive:
        intercepts, weights, variances = as_array(self.intercepts_), as_array(self.weights_), as_array(self.variances_)
        if weights.shape != (*intercepts.shape, self.order) or variances.shape != intercepts.shape:
            raise InputError(
                f"found intercepts_ {intercepts.shape}, weights_ {weights.shape}, variances_ {variances.shape}: expected "
                f"(states, channels), (states, channels, {self.order}), (states, channels)"
            )
        return Autoregressive(intercepts, weights, variances, like.floor if like else np.zeros(intercepts.shape[1]))

    def _take(self, emission: Autoregressive, letters: str) -> None:
        for name, letter in self._fields.items():
            if letter in letters:
                setattr(self, name, getattr(emission, name[:-1]))
