"""A search for the number of states: models of several sizes, fitted side by side on the same passes, and their criteria."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hindcast.classical import em
from hindcast.classical.hmm.data.sequences import Lengths
from hindcast.classical.hmm.data.training import training
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.monitor import report
from hindcast.prep.errors import InputError

CRITERIA = ("bic", "aic")


@dataclass(frozen=True)
class Candidate:
    """A fitted model with its criteria. `bic`, `aic`: the smaller the better; `steps`: how many were scored."""

    model: Estimator
    log_likelihood: float
    parameters: int
    steps: float

    @property
    def states(self) -> int:
        return self.model.n_components

    @property
    def bic(self) -> float:
        return float(-2 * self.log_likelihood + np.log(self.steps) * self.parameters)

    @property
    def aic(self) -> float:
        return -2 * self.log_likelihood + 2 * self.parameters


@dataclass(frozen=True)
class Search:
    """One candidate for each number of states, in the order of the call."""

    candidates: tuple[Candidate, ...]
    criterion: str

    @property
    def best(self) -> Candidate:
        """The one with the smallest criterion; of equal ones the first."""
        return min(self.candidates, key=lambda candidate: getattr(candidate, self.criterion))

    def __str__(self) -> str:
        lines = [f"{'states':>6}{'log-likelihood':>18}{'parameters':>12}{'aic':>16}{'bic':>16}  stopped by"]
        for candidate in self.candidates:
            mark = "  ← best by " + self.criterion if candidate is self.best else ""
            numbers = f"{candidate.log_likelihood:>18.3f}{candidate.parameters:>12}{candidate.aic:>16.2f}{candidate.bic:>16.2f}"
            lines.append(f"{candidate.states:>6}{numbers}  {candidate.model.monitor_.reason}{mark}")
        return "\n".join(lines)


def search_states(
    template: Estimator,
    X: Any,
    lengths: Lengths = None,
    weights: Any = None,
    *,
    states: Iterable[int] = range(1, 9),
    criterion: str = "bic",
    spark: Any = None,
    column: str | None = None,
) -> Search:
    """Fits the `template` with each number of states, all of them and all their restarts in one job.

    template    an estimator whose arguments all candidates share
    X, lengths, weights, spark, column      as `fit` of estimators takes them
    criterion   "bic" (Schwarz 1978) or "aic" (Akaike 1974). Neither knows that an HMM with a state too many is not identified
                (Gassiat and Keribin 2000): what they say is a guide, not a test

    Raises InputError where there is no number to try, or `fit` would.
    """
    if not isinstance(states, Iterable):
        raise InputError(f"states: found {states!r}, expected the numbers of states to try, such as range(1, 6)")
    sizes = list(states)
    if criterion not in CRITERIA:
        raise InputError(f"criterion: found {criterion!r}, expected {' or '.join(CRITERIA)}")
    if not sizes:
        raise InputError("states: there is no number of states to try")
    models = [type(template)(**{**template.get_params(), "n_components": size}) for size in sizes]
    wall, cpu = time.perf_counter(), time.process_time()
    with training(X, lengths, weights, check=template._check, spark=spark, column=column, threads=template.n_jobs) as sequences:
        begins = [model.beginnings(sequences) for model in models]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu + sequences.cpu_seconds
        how = {"iterations": template.n_iter, "tolerance": template.tol, "tolerance_of": template.tol_of, **sequences.options}
        how["on_iteration"] = report if template.verbose else None
        fits = em.fit_several([beginning for of_model in begins for beginning in of_model], sequences.data, **how)
        for model, of_model in zip(models, begins, strict=True):
            model.settle([fits.pop(0) for _ in of_model], sequences, wall, cpu)
        scores = em.score_several([model.parameters_ for model in models], sequences.data, **sequences.options)
    candidates = [
        Candidate(model, log_likelihood, model.parameters_.parameters, count)
        for model, (log_likelihood, count) in zip(models, scores, strict=True)
    ]
    return Search(tuple(candidates), criterion)
