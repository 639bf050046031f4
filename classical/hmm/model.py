"""The hidden Markov model: immutable parameters with the verbs of EM (Rabiner 1989, section III.C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np

from classical.hmm.emissions import EMPTY, Emission
from classical.hmm.inference import smoothed
from classical.hmm.lanes import Spans, owned
from prep.blocks import Block

AnyEmission = TypeVar("AnyEmission", bound=Emission)


@dataclass(frozen=True)
class Statistics:
    """Of some sequences: expected starts (states,) and transitions (states, states), what the emission family sums, the
    log-likelihood, and how many steps and sequences they are of."""

    starts: np.ndarray
    transitions: np.ndarray
    emission: Any
    log_likelihood: float
    count: float
    sequences: int

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.starts + other.starts,
            self.transitions + other.transitions,
            self.emission + other.emission,
            self.log_likelihood + other.log_likelihood,
            self.count + other.count,
            self.sequences + other.sequences,
        )


@dataclass(frozen=True)
class HiddenMarkov(Generic[AnyEmission]):
    """start (states,), transition (states, states) from row to column, and the emission family.

    `empty`: states that nothing was assigned to in the last E-step; they keep their parameters.
    """

    start: np.ndarray
    transition: np.ndarray
    emission: AnyEmission
    empty: tuple[int, ...] = ()

    @property
    def states(self) -> int:
        return len(self.start)

    @property
    def parameters(self) -> int:
        return (self.states - 1) * (self.states + 1) + self.emission.parameters

    def e_step(self, block: Block | Spans) -> Statistics:
        """Expected counts, by forward-backward. Of a block every row is one sequence: the steps that it owns."""
        spans, K = block if isinstance(block, Spans) else owned(block), self.states
        starts, transitions, sums, log_likelihood = np.zeros(K), np.zeros((K, K)), self.emission.no_sums(), 0.0
        for group, gamma, likelihoods in smoothed(self, spans, starts, transitions):
            self.emission.add_sums(group, gamma, sums)
            log_likelihood += float(likelihoods.sum())
        steps = spans.after_history(self.emission.order).lengths
        emission = self.emission.statistics(sums)
        return Statistics(starts, transitions, emission, log_likelihood, float(steps.sum()), int((steps > 0).sum()))

    def m_step(self, statistics: Statistics) -> Self:
        """The likeliest parameters given the expected counts, without priors.

        A state that was never left keeps its transitions, one that was never visited keeps everything.
        """
        if statistics.sequences == 0:
            return self
        visits = statistics.starts + statistics.transitions.sum(axis=0)
        left = statistics.transitions.sum(axis=1, keepdims=True)
        return type(self)(
            start=statistics.starts / statistics.starts.sum(),
            transition=np.where(left > EMPTY, statistics.transitions / np.where(left > EMPTY, left, 1.0), self.transition),
            emission=self.emission.m_step(statistics.emission),
            empty=tuple(np.flatnonzero(visits <= EMPTY).tolist()),
        )

    def log_likelihood(self, statistics: Statistics) -> float:
        return statistics.log_likelihood

    def permuted(self, order: np.ndarray) -> Self:
        """The same model with state `order[k]` called k."""
        order = np.asarray(order)
        empty = tuple(np.flatnonzero(np.isin(order, self.empty)).tolist())
        return type(self)(self.start[order], self.transition[np.ix_(order, order)], self.emission.permuted(order), empty)


def stationary(start: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """The share of time that the chain spends in each state in the long run, from `start`.

    The limit of the lazy chain (A + 1) / 2, by squaring: it exists also where the chain is periodic or has states left for good.
    """
    power = (transition + np.eye(len(start))) / 2
    for _ in range(60):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return start @ power
