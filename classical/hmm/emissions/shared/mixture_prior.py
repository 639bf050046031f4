"""Conjugate priors of Gaussian mixtures: Dirichlet for weights, and those of `emissions.gaussian_prior` for the components.

Gauvain and Lee 1994, equations 6-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hindcast.classical.hmm.emissions.shared.covariances import Covariance, independent
from hindcast.classical.hmm.emissions.shared.gaussian_prior import GaussianPrior


@dataclass(frozen=True)
class MixturePrior:
    """As if readings had been seen before the data. Numbers and arrays are broadcast to these shapes.

    weights         (states, components): concentrations, 1 or more; 1 is no prior
    means           (states, components, channels)
    means_weight    (states, components): how many readings were seen at `means`
    scatter         squares of deviations from the component's mean that were seen besides: (states, components, channels) where
                    covariances are spherical or diag, else as `covars`
    count           how many readings those are of: (states, components, channels) where spherical or diag, (states, components)
                    where full, (states,) where tied
    """

    weights: float | np.ndarray = 1.0
    means: float | np.ndarray = 0.0
    means_weight: float | np.ndarray = 0.0
    scatter: float | np.ndarray = 0.0
    count: float | np.ndarray = 0.0

    @classmethod
    def as_hmmlearn(
        cls,
        covariance: Covariance,
        components: int,
        channels: int,
        *,
        weights_prior: float | np.ndarray = 1.0,
        means_prior: float | np.ndarray = 0.0,
        means_weight: float | np.ndarray = 0.0,
        covars_prior: float | np.ndarray | None = None,
        covars_weight: float | np.ndarray | None = None,
    ) -> MixturePrior:
        """What these arguments mean in the M-step of hmmlearn's GMMHMM. None is no prior, whatever the kind of covariance.

        There `covars_prior` and `covars_weight` are scale matrix and degrees of freedom of an inverse Wishart density where
        covariances are full or tied, and shape and scale of an inverse gamma density where they are spherical or diag.
        """
        if independent(covariance):
            spread = 1 if covariance == "diag" else channels
            shape = -1.0 - spread / 2 if covars_prior is None else np.asarray(covars_prior, np.float64)
            scatter = 2.0 * np.asarray(0.0 if covars_weight is None else covars_weight, np.float64) / spread
            count = (spread + 2.0 * (shape + 1.0)) / spread
            if covariance == "spherical":  # the same for every channel
                scatter, count = scatter[..., None], np.asarray(count)[..., None]
            return cls(weights_prior, means_prior, means_weight, scatter, count)
        least = (1 if covariance == "full" else components) + channels + 1.0
        freedom = -least if covars_weight is None else np.asarray(covars_weight, np.float64)
        return cls(weights_prior, means_prior, means_weight, 0.0 if covars_prior is None else covars_prior, least + freedom)

    def broadcast(self, kind: Covariance, states: int, components: int, channels: int) -> MixturePrior:
        """With arrays of those shapes. Raises ValueError where one does not fit."""
        each = (states, components)
        count = {"full": each, "tied": (states,)}.get(kind, (*each, channels))
        return MixturePrior(
            np.broadcast_to(self.weights, each),
            np.broadcast_to(self.means, (*each, channels)),
            np.broadcast_to(self.means_weight, each),
            np.broadcast_to(self.scatter, count if independent(kind) else (*count, channels, channels)),
            np.broadcast_to(self.count, count),
        )

    def of_components(self, kind: Covariance) -> GaussianPrior:
        """Of all components of all states, one after the other, once the prior is broadcast."""
        means, weight, scatter, count = map(np.asarray, (self.means, self.means_weight, self.scatter, self.count))
        if kind != "tied":
            scatter, count = scatter.reshape(-1, *scatter.shape[2:]), count.reshape(-1, *count.shape[2:])
        return GaussianPrior(means.reshape(-1, means.shape[-1]), weight.ravel(), scatter, count)

    def permuted(self, order: np.ndarray) -> Self:
        """With state `order[k]` called k, once the prior is broadcast."""
        names = ("weights", "means", "means_weight", "scatter", "count")
        return type(self)(**{name: np.asarray(getattr(self, name))[order] for name in names})
