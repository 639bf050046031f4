"""Conjugate priors of Gaussian states: normal for means, inverse Wishart for covariances, inverse gamma for variances.

Gauvain and Lee 1994, equations 12 and 13; Huang, Acero and Hon 2001, pages 443-445. Of a state with mean m and covariance S

    log p(m, S) = −½ (count · log|S| + tr(scatter S⁻¹) + means_weight · (m − means)' S⁻¹ (m − means)) + a constant
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hindcast.classical.hmm.emissions.shared.covariances import RESOLUTION, Covariance, independent


@dataclass(frozen=True)
class GaussianPrior:
    """As if readings had been seen before the data; all 0 is no prior. Numbers and arrays are broadcast to these shapes.

    means           (states, channels)
    means_weight    (states,): how many readings were seen at `means`
    scatter         squares of deviations from the state's mean that were seen besides: (states, channels) where covariances are
                    spherical or diag, (states, channels, channels) where full, and as `covars` where tied
    count           how many readings those are of: (states, channels), (states,) where full, a number or (groups,) where tied
    """

    means: float | np.ndarray = 0.0
    means_weight: float | np.ndarray = 0.0
    scatter: float | np.ndarray = 0.0
    count: float | np.ndarray = 0.0

    @classmethod
    def as_hmmlearn(
        cls,
        covariance: Covariance,
        channels: int,
        *,
        means_prior: float | np.ndarray = 0.0,
        means_weight: float | np.ndarray = 0.0,
        covars_prior: float | np.ndarray = 0.0,
        covars_weight: float | np.ndarray = 0.0,
    ) -> GaussianPrior:
        """What these arguments mean in the M-step of hmmlearn's GaussianHMM: a number as `covars_prior` is each of a matrix's."""
        spent = 1 if independent(covariance) else channels
        return cls(means_prior, means_weight, covars_prior, np.maximum(np.asarray(covars_weight, np.float64) - spent, 0.0))

    def broadcast(self, kind: Covariance, states: int, channels: int, groups: int | None) -> BroadcastPrior:
        """Raises ValueError where a shape does not fit. `groups`: how many covariances are tied, where not one."""
        counts: tuple[int, ...] = (states, channels) if independent(kind) else ((groups or 1) if kind == "tied" else states,)
        return BroadcastPrior(
            np.broadcast_to(self.means, (states, channels)),
            np.broadcast_to(self.means_weight, (states,)),
            np.broadcast_to(self.scatter, counts if independent(kind) else (*counts, channels, channels)),
            np.broadcast_to(self.count, counts),
        )


@dataclass(frozen=True)
class BroadcastPrior(GaussianPrior):
    """With arrays of the shapes that the covariances have; where tied, the first dimension of `scatter` and `count` is there."""

    means: np.ndarray
    means_weight: np.ndarray
    scatter: np.ndarray
    count: np.ndarray

    @property
    def fault(self) -> str | None:
        """What is wrong, in words; None where nothing is."""
        for name in ("means", "means_weight", "scatter", "count"):
            if not np.isfinite(getattr(self, name)).all():
                return f"prior: {name}: expected finite numbers, found {getattr(self, name).tolist()}"
        if (self.means_weight < 0).any() or (self.count < 0).any():
            return "prior: expected weights and counts of 0 or more"
        matrices = self.scatter.ndim == 3
        least = np.linalg.eigvalsh(self.scatter)[:, 0] if matrices else self.scatter
        fine = (least >= -RESOLUTION * np.abs(self.scatter).max()).all()
        return None if fine else "prior: expected a scatter that is nowhere negative"

    def permuted(self, order: np.ndarray, tied: bool) -> GaussianPrior:
        """With state `order[k]` called k."""
        scatter, count = (self.scatter, self.count) if tied else (self.scatter[order], self.count[order])
        return GaussianPrior(self.means[order], self.means_weight[order], scatter, count)
