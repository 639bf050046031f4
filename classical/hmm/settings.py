"""What a user may choose about a hidden Markov model and its fit. Nothing is compiled here: the command line reads this first."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Family = Literal["autoregressive", "spherical", "diagonal", "full", "tied", "mixture", "student"]


class HmmSettings(BaseModel):
    """The model and its fit; the defaults were chosen by validation error on ETTh1.

    emission        "autoregressive": in each state each channel is a regression on its own last `order` values;
                    "spherical", "diagonal", "full", "tied": Gaussian in each state, with one variance, one a channel, all
                    covariances, or all covariances shared by the states;
                    "mixture": in each state of `components` Gaussians of independent channels;
                    "student": in each state each channel has Student's t-distribution, which outliers do not move
    states          hidden states
    components      mixture only
    order           autoregressive only; at most half the context, so that the other half is left to the filter
    iterations      EM iterations, at most
    tolerance       EM stops after an iteration that gains less than this in log-likelihood per step;
                    a larger one takes a plateau between two solutions for the end
    restarts        beginnings that are fitted side by side, each pass over the data serving all; the likeliest is kept
    seed            of the clusters that Gaussian states begin as
    variance_floor  least variance that is estimated, relative to the channel's own
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    emission: Family = "autoregressive"
    states: int = Field(default=2, ge=1)
    components: int = Field(default=2, ge=1)
    order: int = Field(default=168, ge=1)
    iterations: int = Field(default=100, ge=1)
    tolerance: float = Field(default=1e-6, ge=0)
    restarts: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    variance_floor: float = Field(default=1e-6, gt=0)

    def for_context(self, context: int) -> HmmSettings:
        """The same settings with the order that can be had: at most half of the context."""
        most = max(1, context // 2)
        lower = self.emission == "autoregressive" and self.order > most
        return self.model_copy(update={"order": most}) if lower else self
