"""What a user may choose about a hidden Markov model and its fit. Nothing is compiled here: the command line reads this first."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hindcast.forecasting.inputs import NUMBERS

Family = Literal[
    "autoregressive", "spherical", "diagonal", "full", "tied", "mixture", "student", "poisson", "multinomial", "categorical"
]
# The kinds of a dataset's channels that families emit, where these are not numbers of any kind.
COUNTS, CATEGORIES = frozenset({"count"}), frozenset({"category"})
KINDS: dict[str, frozenset[str]] = {"poisson": COUNTS, "multinomial": COUNTS, "categorical": CATEGORIES}

GAUSSIAN = ("spherical", "diagonal", "full", "tied")
# Fields that some families alone have, by what they are of; `components`, `order` and `variance_floor` are passed over by others.
OWN: dict[str, tuple[str, ...]] = {
    "covariance": ("mixture",),
    "weight_prior": ("mixture",),
    "least_variance": (*GAUSSIAN, "mixture"),
    "mean_prior": (*GAUSSIAN, "mixture"),
    "mean_weight": (*GAUSSIAN, "mixture"),
    "variance_prior": ("spherical", "diagonal", "mixture"),
    "variance_weight": ("spherical", "diagonal", "mixture"),
    "rate_prior": ("poisson",),
    "rate_weight": ("poisson",),
    "symbols": ("categorical",),
    "trials": ("multinomial",),
    "symbol_prior": ("multinomial", "categorical"),
}


class HmmSettings(BaseModel):
    """The model and its fit; the defaults were chosen by validation error on ETTh1.

    emission        "autoregressive": in each state each channel is a regression on its own last `order` values;
                    "spherical", "diagonal", "full", "tied": Gaussian in each state, with one variance, one a channel, all
                    covariances, or all covariances shared by the states;
                    "mixture": in each state of `components` Gaussians;
                    "student": in each state each channel has Student's t-distribution, which outliers do not move;
                    "poisson": channels are counts, independent in each state;
                    "multinomial": channels are counts of symbols among the trials of a step;
                    "categorical": one channel, a category, which can be decoded and not forecast
    states          hidden states
    structure       "ergodic": every state may follow every other; "left-right": begins in the first, and never goes back
    components      mixture only
    covariance      mixture only: of each component, "spherical", "diagonal", "full", or "tied", shared by those of a state
    order           autoregressive only; at most half the context, so that the other half is left to the filter
    symbols         categorical only: how many words there are; None: as many as the dataset has
    trials          multinomial only: how many each step has, where all have as many; only then there are forecasts
    iterations      EM iterations, at most
    tolerance       EM stops after an iteration that gains less than this in log-likelihood per step;
                    a larger one takes a plateau between two solutions for the end
    restarts        beginnings that are fitted side by side, each pass over the data serving all; the most probable is kept
    seed            of the clusters that states begin as
    variance_floor  least variance that is estimated, relative to the channel's own
    least_variance  the same in the square of scaled units: Gaussian and mixture only

    Priors count as readings that were seen before the data. By default there are none: a fit is maximum likelihood.

    start_prior, transition_prior   concentrations of Dirichlet priors of the first state and of moves; 1 is none
    mean_prior, mean_weight         Gaussian and mixture: so many readings (`mean_weight`) at this mean, in each state
    variance_prior, variance_weight spherical, diagonal, and mixtures of diagonal components: so many readings, at a squared
                                    distance of `variance_prior` from the mean
    weight_prior    mixture: concentration of a Dirichlet prior of the components' weights; 1 is none
    rate_prior, rate_weight         poisson: so many steps (`rate_weight`), with as many counts in all (`rate_prior`)
    symbol_prior    multinomial, categorical: concentration of a Dirichlet prior of the symbols; 1 is none
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    emission: Family = "autoregressive"
    states: int = Field(default=2, ge=1)
    structure: Literal["ergodic", "left-right"] = "ergodic"
    components: int = Field(default=2, ge=1)
    covariance: Literal["spherical", "diagonal", "full", "tied"] = "diagonal"
    order: int = Field(default=168, ge=1)
    symbols: int | None = Field(default=None, ge=1)
    trials: int | None = Field(default=None, ge=1)
    iterations: int = Field(default=100, ge=1)
    tolerance: float = Field(default=1e-6, ge=0)
    restarts: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    variance_floor: float = Field(default=1e-6, gt=0)
    least_variance: float = Field(default=0.0, ge=0)
    start_prior: float = Field(default=1.0, ge=1)
    transition_prior: float = Field(default=1.0, ge=1)
    mean_prior: float = 0.0
    mean_weight: float = Field(default=0.0, ge=0)
    variance_prior: float = Field(default=0.0, ge=0)
    variance_weight: float = Field(default=0.0, ge=0)
    weight_prior: float = Field(default=1.0, ge=1)
    rate_prior: float = Field(default=0.0, ge=0)
    rate_weight: float = Field(default=0.0, ge=0)
    symbol_prior: float = Field(default=1.0, ge=1)

    @model_validator(mode="after")
    def _acts(self) -> Self:
        """What is set should do something."""
        for name, families in OWN.items():
            if self.emission not in families and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of emission {', '.join(families)}, found emission {self.emission}: leave it out")
        for what in ("mean", "variance", "rate"):
            if getattr(self, f"{what}_prior") and not getattr(self, f"{what}_weight"):
                raise ValueError(f"{what}_prior has no weight: say with {what}_weight how much it counts")
        if self.variance_weight and self.emission == "mixture" and self.covariance != "diagonal":
            raise ValueError(
                f"variance_weight is of diagonal components, found covariance {self.covariance}: priors of others are matrices, "
                "which GMMHMM takes from Python"
            )
        return self

    def for_context(self, context: int) -> HmmSettings:
        """The same settings with the order that can be had: at most half of the context."""
        most = max(1, context // 2)
        lower = self.emission == "autoregressive" and self.order > most
        return self.model_copy(update={"order": most}) if lower else self


def channel_kinds(settings: HmmSettings) -> frozenset[str]:
    """The kinds of channels that such a model can be fitted to, out of "real", "count" and "category"."""
    return KINDS.get(settings.emission, NUMBERS)


def forecasts(settings: HmmSettings) -> bool:
    """Whether such a model forecasts numbers: symbols are none, and counts of them need the number of trials."""
    return settings.emission != "categorical" and (settings.emission != "multinomial" or settings.trials is not None)
