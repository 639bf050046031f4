"""The hidden Markov model: immutable parameters with the verbs of EM (Rabiner 1989, section III.C)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import EMPTY, Emission
from hindcast.classical.hmm.emissions.shared.probabilities import estimated, log_dirichlet
from hindcast.classical.hmm.inference import smoothed
from hindcast.classical.hmm.kernels.lanes import Spans, owned
from hindcast.prep.dataset.blocks import Block

AnyEmission = TypeVar("AnyEmission", bound=Emission)


@dataclass(frozen=True)
class Statistics(Additive):
    """Additive statistics of sequences, each counted as often as its weight says.

    starts, transitions     expected, (states,) and (states, states)
    emission                the statistics of the emission family
    log_likelihood          of all sequences
    count, sequences        how many steps and sequences they are of
    """

    starts: np.ndarray
    transitions: np.ndarray
    emission: Any
    log_likelihood: float
    count: float
    sequences: float


@runtime_checkable
class RemoteSequences(Protocol):
    """Sequences outside of this process's memory, on a GPU, which take their E-steps there."""

    def e_step(self, model: HiddenMarkov[Any]) -> Statistics: ...


@dataclass(frozen=True)
class HiddenMarkov(Generic[AnyEmission]):
    """start (states,), transition (states, states) from row to column, and the emission family.

    empty       states that nothing was assigned to in the last E-step; they keep their parameters
    fixed       of "start" and "transition", what an M-step leaves as it is
    start_prior, transition_prior   concentrations of Dirichlet priors, 1 or more, of the same shapes or one number; 1 is no prior

    A probability of 0 stays 0.
    """

    start: np.ndarray
    transition: np.ndarray
    emission: AnyEmission
    empty: tuple[int, ...] = ()
    fixed: frozenset[str] = frozenset()
    start_prior: float | np.ndarray = 1.0
    transition_prior: float | np.ndarray = 1.0

    @property
    def states(self) -> int:
        return len(self.start)

    @property
    def parameters(self) -> int:
        """How many numbers are free. A probability of 0 is part of the model's structure."""
        rows = [self.start, *self.transition]
        return sum(int((row > 0).sum()) - 1 for row in rows) + self.emission.parameters

    @property
    def fault(self) -> str | None:
        """What is wrong with the parameters, in words; None where nothing is."""
        K = self.emission.states
        for name, array, shape in (("start", self.start, (K,)), ("transition", self.transition, (K, K))):
            if array.shape != shape:
                return f"{name}: found shape {array.shape}, expected {shape}"
            for row, probabilities in enumerate(np.atleast_2d(array)):
                if not ((probabilities >= 0).all() and np.isclose(probabilities.sum(), 1.0)):
                    which = f"{name}, row {row}" if array.ndim == 2 else name
                    return f"{which}: expected probabilities that add up to 1, found {probabilities.tolist()}"
        return self.emission.fault

    @property
    def repairs(self) -> tuple[str, ...]:
        """What the last M-step did beyond maximum likelihood, in words."""
        if not self.empty:
            return self.emission.repairs
        empty = f"nothing was assigned to states {', '.join(map(str, self.empty))}: they keep the parameters they had"
        return (*self.emission.repairs, empty)

    @property
    def log_prior(self) -> float:
        """The logarithm of the prior density, up to a constant."""
        chain = log_dirichlet(self.start, self.start_prior) + log_dirichlet(self.transition, self.transition_prior)
        return chain + self.emission.log_prior

    def e_step(self, block: Block | Spans | RemoteSequences) -> Statistics:
        """Expected counts, by forward-backward. Of a block every row is one sequence: the steps that it owns."""
        if isinstance(block, RemoteSequences):
            return block.e_step(self)
        spans, K = block if isinstance(block, Spans) else owned(block), self.states
        starts, transitions, sums, log_likelihood = np.zeros(K), np.zeros((K, K)), self.emission.no_sums(), 0.0
        for group, gamma, likelihoods in smoothed(self, spans, starts, transitions, weighted=True):
            self.emission.add_sums(group, gamma, sums)
            log_likelihood += float(np.where(group.weights > 0, group.weights * likelihoods, 0.0).sum())
        steps = spans.after_history(self.emission.order).lengths
        weight = np.ones(len(steps)) if spans.weight is None else spans.weight
        emission = self.emission.statistics(sums)
        return Statistics(
            starts, transitions, emission, log_likelihood, float((weight * steps).sum()), float(weight[steps > 0].sum())
        )

    def m_step(self, statistics: Statistics) -> Self:
        """The likeliest parameters given the expected counts, or the most probable where there are priors.

        A state that was never left keeps its transitions, one that was never visited keeps everything.
        """
        if statistics.sequences == 0:
            return self
        visits = statistics.starts + statistics.transitions.sum(axis=0)
        start = estimated(statistics.starts, self.start, self.start_prior)
        transition = estimated(statistics.transitions, self.transition, self.transition_prior)
        return replace(
            self,
            start=self.start if "start" in self.fixed else start,
            transition=self.transition if "transition" in self.fixed else transition,
            emission=self.emission.m_step(statistics.emission),
            empty=tuple(np.flatnonzero(visits <= EMPTY).tolist()),
        )

    def log_likelihood(self, statistics: Statistics) -> float:
        return statistics.log_likelihood

    def anchored(self) -> Self:
        """The same model, with statistics that add up with those of all models that M-steps make of it
        (`hindcast.classical.online`)."""
        return replace(self, emission=self.emission.anchored())

    def released(self) -> Self:
        """The same, not anchored."""
        return replace(self, emission=self.emission.released())

    def ordered(self) -> Self:
        """The same model with its states by level: the smallest of the family's landmarks (a mean, a rate, a variance) first.

        One rule for all fits, so that two of them compare: what states emit is what tells them apart. By their share of time,
        states that are about as frequent would change their numbers from one fit to the next.
        """
        return self.permuted(np.lexsort(self.emission.landmarks.T[::-1]))

    def permuted(self, order: np.ndarray) -> Self:
        """The same model with state `order[k]` called k."""
        order = np.asarray(order)
        empty = tuple(np.flatnonzero(np.isin(order, self.empty)).tolist())
        both = np.ix_(order, order)
        return replace(
            self,
            start=self.start[order],
            transition=self.transition[both],
            emission=self.emission.permuted(order),
            empty=empty,
            start_prior=_reordered(self.start_prior, order),
            transition_prior=_reordered(self.transition_prior, both),
        )


def stationary(start: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """The share of time that the chain spends in each state in the long run, from `start`.

    The limit of the lazy chain (A + 1) / 2, by squaring: it exists also where the chain is periodic or has states left for good.
    """
    power = (transition + np.eye(len(start))) / 2
    for _ in range(60):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return start @ power


def _reordered(prior: float | np.ndarray, order: Any) -> float | np.ndarray:
    return prior[order] if isinstance(prior, np.ndarray) else prior
