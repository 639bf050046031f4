"""Gaussian readings, and regressions on past readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.estimators.base import Estimator, as_array
from classical.hmm.initial import Begin
from prep.errors import InputError


class Real(Estimator):
    """Of any number. NaN is a missing reading, and is marginalised."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"real", "count"})

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        return np.isfinite(readings), "a finite number"


@dataclass(eq=False)
class GaussianHMM(Real):
    """Gaussian readings. NaN in `X` is a missing reading, and is marginalised.

    covariance_type "spherical", "diag", "full" or "tied"
    variance_floor  the least variance that is estimated, relative to each channel's own
    means_          (n_components, channels); "m"
    covars_         (n_components, channels, channels) whatever the type, as in hmmlearn; set as that, or in the type's
                    own shape; "c"
    """

    covariance_type: Literal["diag", "full"] = "diag"
    _: KW_ONLY
    variance_floor: float = 1e-6

    LETTERS: ClassVar[Mapping[str, str]] = {"m": "means", "c": "covars"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"means": "means_", "covars": "covars_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("covariance_type", self.covariance_type in ("diag", "full"), "'diag' or 'full'")
        self._must_be("variance_floor", self.variance_floor > 0, "a number above 0")

    @property
    def covars_(self) -> np.ndarray:
        return self._covars if self._covars.ndim == 3 else self._covars[:, :, None] * np.eye(self._covars.shape[1])

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        covars = as_array(covars)
        diagonal = self.covariance_type == "diag" and covars.ndim == 3
        self._covars = np.diagonal(covars, axis1=1, axis2=2).copy() if diagonal else covars

    def _begin(self, highest: float) -> Begin:
        return partial(Gaussian.begin, variance_floor=self.variance_floor, covariance=self.covariance_type)

    def _emission(self, like: Gaussian | None) -> Gaussian:
        means = self._array("means")
        wanted = means.shape if self.covariance_type == "diag" else (*means.shape, means.shape[-1])
        if means.ndim != 2 or self._covars.shape != wanted:
            raise InputError(f"covars_: found shape {self._covars.shape} for means_ of shape {means.shape}, expected {wanted}")
        if self._covars.ndim == 3 and not (np.linalg.eigvalsh(self._covars) > 0).all():
            raise InputError("covars_: one is not positive definite")
        return Gaussian(means, self._covars, like.floor if like else np.zeros(means.shape[1]))


@dataclass(eq=False)
class AutoregressiveHMM(Real):
    """In each state, each channel is a regression on its own last `order` values, with Gaussian noise.

    The first `order` steps of a sequence are conditioned on: they are not scored, and no state is said of them.

    variance_floor  the least variance of the noise that is estimated, relative to each channel's own variance
    intercepts_, variances_   (n_components, channels); "i", "v"
    weights_                  (n_components, channels, order), the oldest lag first; "w"
    """

    order: int = 1
    _: KW_ONLY
    variance_floor: float = 1e-6

    LETTERS: ClassVar[Mapping[str, str]] = {"i": "intercepts", "w": "weights", "v": "variances"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"intercepts": "intercepts_", "weights": "weights_", "variances": "variances_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("order", self.order >= 1, "at least 1; GaussianHMM is the model without a past")
        self._must_be("variance_floor", self.variance_floor > 0, "a number above 0")

    @property
    def _order(self) -> int:
        return self.order

    def _begin(self, highest: float) -> Begin:
        return partial(Autoregressive.begin, variance_floor=self.variance_floor, order=self.order)

    def _emission(self, like: Autoregressive | None) -> Autoregressive:
        intercepts, weights, variances = (self._array(name) for name in ("intercepts", "weights", "variances"))
        if weights.shape != (*intercepts.shape, self.order) or variances.shape != intercepts.shape:
            raise InputError(
                f"found intercepts_ {intercepts.shape}, weights_ {weights.shape}, variances_ {variances.shape}: expected "
                f"(states, channels), (states, channels, {self.order}), (states, channels)"
            )
        return Autoregressive(intercepts, weights, variances, like.floor if like else np.zeros(intercepts.shape[1]))
