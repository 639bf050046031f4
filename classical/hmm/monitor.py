"""The course of a fit and the reason of its end: `monitor_` of an estimator."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from hindcast.classical import em

REASONS = {
    "tolerance": "the last iteration gained less than the tolerance",
    "iterations": "the iterations ran out before the tolerance was met",
    "falling": "the log-likelihood fell, which it never should: the fit was given up",
}


@dataclass(frozen=True)
class Monitor:
    """The course of a fit, by the names that users of hmmlearn know, and some more.

    history     log-likelihood, one an iteration, of the parameters at its beginning
    tol, n_iter arguments of the estimator
    reason      "tolerance", "iterations" or "falling"
    repairs     changes beyond maximum likelihood, in words
    notes       on how the fit was done, in words
    seconds     of the whole fit, with its beginning, and with the part before it was resumed
    cpu_seconds the same of processors: the driver's and the tasks' together
    """

    history: tuple[float, ...]
    tol: float
    n_iter: int
    reason: em.StoppedBy
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    cpu_seconds: float = field(default=0.0, compare=False)

    @property
    def iter(self) -> int:
        """How many iterations were made."""
        return len(self.history)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was met. Running out of iterations is not convergence."""
        return self.reason == "tolerance"

    def __str__(self) -> str:
        summary = f"{self.iter} iterations, log-likelihood {self.history[-1]:.6g}: {REASONS[self.reason]}"
        return ". ".join([summary, *self.notes, *self.repairs])


def report(iteration: int, likelihoods: dict[int, float]) -> None:
    """A line on standard error for each model that went through an iteration."""
    for which, likelihood in likelihoods.items():
        print(f"fit {which:>3}  iteration {iteration:>5}  log-likelihood {likelihood:>20.8f}", file=sys.stderr)
