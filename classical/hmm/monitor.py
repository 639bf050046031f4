"""How a fit went, and why it ended: what `monitor_` of an estimator is."""

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
    """The names that users of hmmlearn know, and some more.

    history     log-likelihood, one an iteration, of the parameters that it began with
    tol, n_iter what was asked for
    reason      "tolerance", "iterations" or "falling"
    repairs     what was done beyond maximum likelihood, in words
    notes       how the fit was done, where that needs to be known, in words
    seconds     of the whole fit, what it began with included, and what came before it was resumed
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
