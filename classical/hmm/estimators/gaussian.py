"""Gaussian readings, and mixtures of Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from hindcast.classical.hmm.data.training import ReadingsSummary
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.mixture import Mixture
from hindcast.classical.hmm.emissions.shared.covariances import KINDS, Covariance
from hindcast.classical.hmm.emissions.shared.gaussian_prior import GaussianPrior
from hindcast.classical.hmm.emissions.shared.mixture_prior import MixturePrior
from hindcast.classical.hmm.estimators.arguments import number_or_array, numbers
from hindcast.classical.hmm.estimators.real_valued import Real
from hindcast.classical.hmm.initial import Begin
from hindcast.prep.errors import InputError


@dataclass(eq=False)
class GaussianHMM(Real):
    """Gaussian readings.

    covariance_type "spherical", "diag", "full" or "tied"
    min_covar       the least variance that is estimated, in squared units of the readings, beside `variance_floor`
    means_prior, means_weight, covars_prior, covars_weight      as in hmmlearn, but by default there is no prior
    means_          (n_components, channels); "m"
    covars_         (n_components, channels, channels) whatever the type, as in hmmlearn; set as that, or in the type's own shape:
                    (n_components,), (n_components, channels), the same, or (channels, channels); "c"
    """

    covariance_type: Covariance = "diag"
    _: KW_ONLY
    min_covar: float = 0.0
    means_prior: float | np.ndarray = 0.0
    means_weight: float | np.ndarray = 0.0
    covars_prior: float | np.ndarray = 0.0
    covars_weight: float | np.ndarray = 1.0

    LETTERS: ClassVar[Mapping[str, str]] = {"m": "means", "c": "covars"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"means": "means_", "covars": "covars_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("covariance_type", self.covariance_type in KINDS, f"one of {', '.join(KINDS)}")
        self._must_be("min_covar", isinstance(self.min_covar, int | float) and self.min_covar >= 0, "a variance of 0 or more")

    @property
    def covars_(self) -> np.ndarray:
        return _matrices(self._covars, self.covariance_type, self.n_components, self._array("means").shape[-1])

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        kind, covars = self.covariance_type, numbers(covars, "covars_")
        if covars.ndim == 3 and kind != "full":
            diagonal = np.diagonal(covars, axis1=1, axis2=2)
            own = {"spherical": diagonal[:, 0], "diag": diagonal, "tied": covars[0]}[kind].copy()
            if not np.array_equal(_matrices(own, kind, *covars.shape[:2]), covars):
                raise InputError(f"covars_: found {covars.tolist()}, which are not {kind}")
            covars = own
        self._covars = covars

    def _begin(self, summary: ReadingsSummary) -> Begin:
        return lambda readings, seen: _with_floor(
            Gaussian.begin(readings, seen, variance_floor=self.variance_floor, covariance=self.covariance_type), self.min_covar
        )

    def _emission(self, like: Gaussian | None) -> Gaussian:
        means = self._array("means")
        floor = self._floor(like, means.shape[-1])
        return Gaussian(means, self._covars, floor, self.covariance_type, prior=self._prior(means.shape[-1]))

    def _prior(self, channels: int) -> GaussianPrior | None:
        if not np.any(self.means_weight) and not np.any(self.covars_prior) and np.all(np.asarray(self.covars_weight) <= 1):
            return None
        return GaussianPrior.as_hmmlearn(
            self.covariance_type,
            channels,
            means_prior=number_or_array(self.means_prior),
            means_weight=number_or_array(self.means_weight),
            covars_prior=number_or_array(self.covars_prior),
            covars_weight=number_or_array(self.covars_weight),
        )


@dataclass(eq=False)
class GMMHMM(Real):
    """In each state a mixture of `n_mix` Gaussians.

    covariance_type "spherical", "diag", "full", or "tied": shared by the components of a state
    min_covar       the least variance that is estimated, in squared units of the readings, beside `variance_floor`
    weights_prior, means_prior, means_weight, covars_prior, covars_weight   as in hmmlearn; by default there is no prior
    weights_        (n_components, n_mix); "w"
    means_          (n_components, n_mix, channels); "m"
    covars_         (n_components, n_mix), (n_components, n_mix, channels), (n_components, n_mix, channels, channels) or
                    (n_components, channels, channels), by covariance_type; "c"
    """

    n_mix: int = 1
    covariance_type: Covariance = "diag"
    _: KW_ONLY
    min_covar: float = 0.0
    weights_prior: float | np.ndarray = 1.0
    means_prior: float | np.ndarray = 0.0
    means_weight: float | np.ndarray = 0.0
    covars_prior: float | np.ndarray | None = None
    covars_weight: float | np.ndarray | None = None

    LETTERS: ClassVar[Mapping[str, str]] = {"w": "weights", "m": "means", "c": "covars"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"weights": "weights_", "means": "means_", "covars": "covars_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("n_mix", self.n_mix >= 1, "at least 1")
        self._must_be("covariance_type", self.covariance_type in KINDS, f"one of {', '.join(KINDS)}")
        self._must_be("min_covar", isinstance(self.min_covar, int | float) and self.min_covar >= 0, "a variance of 0 or more")

    def _begin(self, summary: ReadingsSummary) -> Begin:
        begin = partial(Mixture.begin, components=self.n_mix, variance_floor=self.variance_floor, covariance=self.covariance_type)
        return lambda readings, seen: _with_floor(begin(readings, seen), self.min_covar)

    def _emission(self, like: Mixture | None) -> Mixture:
        weights, means, covars = (self._array(name) for name in ("weights", "means", "covars"))
        if weights.shape[-1] != self.n_mix:
            raise InputError(f"weights_: found {weights.shape[-1]} components, expected n_mix, {self.n_mix}")
        floor = self._floor(like, means.shape[-1])
        return Mixture(weights, means, covars, floor, self.covariance_type, prior=self._prior(means.shape[-1]))

    def _prior(self, channels: int) -> MixturePrior | None:
        none = np.ndim(self.weights_prior) == 0 and self.weights_prior == 1 and not np.any(self.means_weight)
        if none and self.covars_prior is None and self.covars_weight is None:
            return None
        return MixturePrior.as_hmmlearn(
            self.covariance_type,
            self.n_mix,
            channels,
            weights_prior=number_or_array(self.weights_prior),
            means_prior=number_or_array(self.means_prior),
            means_weight=number_or_array(self.means_weight),
            covars_prior=None if self.covars_prior is None else number_or_array(self.covars_prior),
            covars_weight=None if self.covars_weight is None else number_or_array(self.covars_weight),
        )


def _matrices(covars: np.ndarray, kind: Covariance, states: int, channels: int) -> np.ndarray:
    """(states, channels, channels)"""
    if kind == "full":
        return covars
    if kind == "tied":
        return np.repeat(covars[None], states, axis=0)
    variances = covars if covars.ndim == 2 else np.repeat(covars[:, None], channels, axis=1)
    return variances[:, :, None] * np.eye(channels)


def _with_floor(emission: Any, least: float) -> Any:
    """The same family, with no variance below `least`."""
    return replace(emission, floor=np.maximum(emission.floor, least))
