"""Settings as the estimator that they ask for, by its name and arguments, and what it is in words. Nothing is compiled here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hindcast.classical.hmm.settings import HmmSettings

COVARIANCES = {"spherical": "spherical", "diagonal": "diag", "full": "full", "tied": "tied"}
WORDS = {
    "AutoregressiveHMM": "autoregressive",
    "CategoricalHMM": "categorical",
    "GMMHMM": "mixture",
    "GaussianHMM": "Gaussian",
    "MultinomialHMM": "multinomial",
    "PoissonHMM": "Poisson",
    "ProductHMM": "product",
    "StudentHMM": "Student",
}


def arguments_of(settings: HmmSettings) -> tuple[str, dict[str, Any]]:
    """The name of the estimator in `hindcast.classical.hmm`, and what it is made with."""
    name, own = _family(settings)
    return name, {
        "n_components": settings.states,
        "structure": settings.structure,
        "startprob_prior": settings.start_prior,
        "transmat_prior": settings.transition_prior,
        "n_iter": settings.iterations,
        "tol": settings.tolerance,
        "tol_of": "step",
        "n_init": settings.restarts,
        "random_state": settings.seed,
        **own,
    }


def in_words(estimator: str, arguments: Mapping[str, Any]) -> str:
    """What a model is: "full Gaussian hidden Markov model, 3 states"."""
    words, states = WORDS.get(estimator, estimator), arguments["n_components"]
    kinds = {theirs: ours for ours, theirs in COVARIANCES.items()}
    covariance = f"{kinds[arguments['covariance_type']]} " if "covariance_type" in arguments else ""
    about = [f"{covariance}{words} hidden Markov model", f"{states} states" if states != 1 else "1 state"]
    about += [f"order {arguments['order']}"] if "order" in arguments else []
    about += [f"{arguments['n_mix']} components"] if "n_mix" in arguments else []
    return ", ".join(about)


def _family(s: HmmSettings) -> tuple[str, dict[str, Any]]:
    """The estimator, and the arguments that its family alone has."""
    floor = {"variance_floor": s.variance_floor}
    means = {"min_covar": s.least_variance, "means_prior": s.mean_prior, "means_weight": s.mean_weight}
    match s.emission:
        case "autoregressive":
            return "AutoregressiveHMM", {**floor, "order": s.order}
        case "student":
            return "StudentHMM", floor
        case "mixture":
            of = {"n_mix": s.components, "covariance_type": COVARIANCES[s.covariance], "weights_prior": s.weight_prior}
            return "GMMHMM", {**floor, **means, **of, **_variances_of_mixture(s)}
        case "poisson":
            return "PoissonHMM", {"lambdas_prior": s.rate_prior, "lambdas_weight": s.rate_weight}
        case "multinomial":
            return "MultinomialHMM", {"n_trials": s.trials, "emissionprob_prior": s.symbol_prior}
        case "categorical":
            return "CategoricalHMM", {"n_features": s.symbols, "emissionprob_prior": s.symbol_prior}
        case covariance:
            # As hmmlearn counts there, one reading is spent on the mean.
            squares = {"covars_prior": s.variance_prior * s.variance_weight, "covars_weight": s.variance_weight + 1.0}
            return "GaussianHMM", {**floor, **means, "covariance_type": COVARIANCES[covariance], **squares}


def _variances_of_mixture(s: HmmSettings) -> dict[str, Any]:
    """As shape and scale of an inverse gamma density, as hmmlearn has it there."""
    if not s.variance_weight:
        return {}
    return {"covars_prior": s.variance_weight / 2 - 1.5, "covars_weight": s.variance_prior * s.variance_weight / 2}
