"""Symbols and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from hindcast.classical.hmm.data.training import ReadingsSummary
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.multinomial import Multinomial
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.estimators.arguments import is_whole, number_or_array
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.initial import Begin
from hindcast.classical.hmm.settings import CATEGORIES, COUNTS
from hindcast.prep.errors import InputError

MOST_SYMBOLS = 1_000_000  # that are taken for symbols unasked


@dataclass(eq=False)
class CategoricalHMM(Estimator):
    """One symbol a step, 0 … n_features − 1: `X` (steps, 1). NaN is a missing symbol, and is marginalised.

    n_features          how many symbols there are; by default as many as the data have
    emissionprob_prior  concentration of a Dirichlet prior; 1 is none
    emissionprob_       (n_components, n_features); "e"
    """

    _: KW_ONLY
    n_features: int | None = None
    emissionprob_prior: float | np.ndarray = 1.0

    KINDS: ClassVar[frozenset[str]] = CATEGORIES
    LETTERS: ClassVar[Mapping[str, str]] = {"e": "probabilities"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"probabilities": "emissionprob_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("n_features", self.n_features is None or is_whole(self.n_features, 1), "a whole number of at least 1")

    @property
    def cannot_forecast(self) -> str | None:
        return "symbols are labels, which cannot be forecast as numbers; `predict` says of which states they come"

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        if readings.shape[1] != 1:
            raise InputError(f"X: found {readings.shape[1]} channels, expected one column of symbols")
        if self.n_features is None:
            return _whole(readings) & (
                readings < MOST_SYMBOLS
            ), "a symbol, whole and not negative; n_features says how many there are"
        return self._below(readings, self.n_features)

    def _check_query(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        fine, expected = self._check(readings)
        return (
            self._below(readings, self._array("probabilities").shape[-1]) if hasattr(self, "emissionprob_") else (fine, expected)
        )

    def _below(self, readings: np.ndarray, symbols: int) -> tuple[np.ndarray, str]:
        return _whole(readings) & (readings < symbols), f"a symbol of 0 … {symbols - 1}"

    def _begin(self, summary: ReadingsSummary) -> Begin:
        symbols = int(summary.highest[0]) + 1 if self.n_features is None else self.n_features
        return partial(Categorical.begin, symbols=symbols, prior=_of_one_state(self.emissionprob_prior))

    def _emission(self, like: Any) -> Categorical:
        return Categorical(self._array("probabilities"), number_or_array(self.emissionprob_prior))


@dataclass(eq=False)
class MultinomialHMM(Estimator):
    """Counts of each symbol among the trials of a step: `X` (steps, symbols).

    n_trials            how many each step has, where all have as many: readings are checked against it, and missing counts (NaN)
                        marginalised with it; by default what each step adds up to, and then only whole steps may be missing
    emissionprob_prior  concentration of a Dirichlet prior; 1 is none
    emissionprob_       (n_components, symbols); "e"
    """

    n_trials: int | None = None
    _: KW_ONLY
    emissionprob_prior: float | np.ndarray = 1.0

    KINDS: ClassVar[frozenset[str]] = COUNTS
    LETTERS: ClassVar[Mapping[str, str]] = {"e": "probabilities"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"probabilities": "emissionprob_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("n_trials", self.n_trials is None or is_whole(self.n_trials, 1), "None, or a whole number of at least 1")

    @property
    def cannot_forecast(self) -> str | None:
        return None if self.n_trials else "how many trials a step ahead has is not known: say it with n_trials (hmm.trials)"

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        return _whole(readings), "a count, whole and not negative"

    def _begin(self, summary: ReadingsSummary) -> Begin:
        return partial(Multinomial.begin, trials=self.n_trials, prior=_of_one_state(self.emissionprob_prior))

    def _emission(self, like: Any) -> Multinomial:
        return Multinomial(self._array("probabilities"), self.n_trials, number_or_array(self.emissionprob_prior))


@dataclass(eq=False)
class PoissonHMM(Estimator):
    """Counts, independent in each state. NaN is a missing count, and is marginalised.

    lambdas_prior, lambdas_weight   of a Gamma prior, as if so many counts had been seen in so many steps before; 0 and 0 is none
    lambdas_                        (n_components, channels): the mean counts; "l"
    """

    _: KW_ONLY
    lambdas_prior: float | np.ndarray = 0.0
    lambdas_weight: float | np.ndarray = 0.0

    KINDS: ClassVar[frozenset[str]] = COUNTS
    LETTERS: ClassVar[Mapping[str, str]] = {"l": "rates"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"rates": "lambdas_"}

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        return _whole(readings), "a count, whole and not negative"

    def _begin(self, summary: ReadingsSummary) -> Begin:
        return Poisson.begin

    def _emission(self, like: Any) -> Poisson:
        rates = self._array("rates")
        return Poisson(rates, _by_state(self.lambdas_prior, rates), _by_state(self.lambdas_weight, rates))


def _of_one_state(prior: float | np.ndarray) -> float | np.ndarray:
    """What a prior of (states, symbols) says on average; another is the same for all states."""
    value = number_or_array(prior)
    return value.mean(axis=0) if isinstance(value, np.ndarray) and value.ndim == 2 else value


def _by_state(prior: float | np.ndarray, rates: np.ndarray) -> float | np.ndarray:
    """A prior as hmmlearn takes it, a number or (states,), or (states, channels)."""
    value = number_or_array(prior)
    return np.repeat(value[:, None], rates.shape[1], axis=1) if isinstance(value, np.ndarray) and value.ndim == 1 else value


def _whole(readings: np.ndarray) -> np.ndarray:
    if readings.dtype.kind in "iu":
        return readings >= 0
    return (readings >= 0) & (np.floor(readings) == readings) & (readings < np.inf)
