"""Categorical emissions: in each state, one of a set of symbols, 0 … symbols − 1, each with its probability (Rabiner 1989).

A symbol that was not measured has density 1 and is left out of the sums. Probabilities of 0 stay 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from classical.additive import Additive
from classical.hmm.clusters import clusters
from classical.hmm.emissions import EMPTY, Emission
from classical.hmm.lanes import Group, Spans
from classical.hmm.vector import LANES
from prep.errors import InputError

RUN = 12  # steps over which symbols are counted to begin with
DIRECTIONS = 16


@dataclass(frozen=True)
class CategoricalStatistics(Additive):
    """`counts` (states, symbols): how often each was expected."""

    counts: np.ndarray


@dataclass(frozen=True)
class Categorical(Emission):
    """`probabilities` (states, symbols): each row adds up to 1."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("probabilities",)
    probabilities: np.ndarray

    @classmethod
    def begin(cls, readings: np.ndarray, seen: np.ndarray | None, *, symbols: int) -> Categorical:
        """One state: as often as each symbol is there, and once more, so that none begins as impossible."""
        present = readings[:, 0] if seen is None else readings[seen[:, 0], 0]
        counts = np.bincount(present.astype(np.int64), minlength=symbols) + 1.0
        return cls((counts / counts.sum())[None])

    @property
    def states(self) -> int:
        return self.probabilities.shape[0]

    @property
    def symbols(self) -> int:
        return self.probabilities.shape[1]

    @property
    def channels(self) -> int:
        return 1

    @property
    def parameters(self) -> int:
        return self.states * (self.symbols - 1)

    @property
    def fault(self) -> str | None:
        p = self.probabilities
        fine = np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=1), 1.0)
        return None if fine else f"expected probabilities that add up to 1 in each state, found {p.tolist()}"

    @property
    def landmarks(self) -> np.ndarray:
        return self.probabilities

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of how often each symbol comes over a short run. Of many symbols, random directions stand for them."""
        codes = np.eye(self.symbols) if self.symbols <= DIRECTIONS else rng.normal(size=(self.symbols, DIRECTIONS))
        means = []
        for row, start, stop in zip(spans.row, spans.start, spans.stop, strict=True):
            summed = np.cumsum(codes[spans.values[row, start:stop, 0].astype(np.int64)], axis=0)
            summed = np.concatenate([np.zeros((1, codes.shape[1])), summed])
            step = np.arange(stop - start)
            low, high = np.maximum(step - RUN // 2, 0), np.minimum(step + RUN // 2, stop - start)
            means.append((summed[high] - summed[low]) / np.maximum(high - low, 1)[:, None])
        return np.split(clusters(np.concatenate(means), states, rng), np.cumsum(spans.lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            logs = np.log(np.ascontiguousarray(self.probabilities))
        self._must_know(group)
        _density(group.values, group.observed, logs, out)

    def no_sums(self) -> np.ndarray:
        """(symbols, states, LANES)"""
        return np.zeros((self.symbols, self.states, LANES))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        self._must_know(group)
        _sums(group.values, group.observed, gamma, sums)

    def statistics(self, sums: np.ndarray) -> CategoricalStatistics:
        return CategoricalStatistics(np.ascontiguousarray(sums.sum(axis=-1).T))

    def m_step(self, statistics: CategoricalStatistics) -> Categorical:
        counts = np.where(self.probabilities > 0, statistics.counts, 0.0)
        weight = counts.sum(axis=1, keepdims=True)
        estimate = np.where(weight > EMPTY, counts / np.where(weight > EMPTY, weight, 1.0), self.probabilities)
        return self.moved(probabilities=estimate)

    def _must_know(self, group: Group) -> None:
        """Compiled code does not look where it reads and writes."""
        if not (group.values.min(initial=0) >= 0 and group.values.max(initial=0) < self.symbols):
            raise InputError(f"found a symbol outside of the model's, 0 … {self.symbols - 1}")

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ahead = np.cumsum(self.probabilities, axis=1)
        symbols = (rng.random(len(states))[:, None] >= ahead[states]).sum(axis=1)
        return np.minimum(symbols, self.symbols - 1)[:, None]


@njit(cache=True, nogil=True)
def _density(x: Any, observed: Any, logs: Any, out: Any) -> None:
    """`logs` (states, symbols)"""
    steps, K = out.shape[0], out.shape[1]
    symbol = np.empty(LANES, np.int64)
    for t in range(steps):
        for v in range(LANES):
            symbol[v] = int(x[t, 0, v])
        for k in range(K):
            for v in range(LANES):
                out[t, k, v] = logs[k, symbol[v]]
        if observed is not None:
            for v in range(LANES):
                if observed[t, 0, v] == 0:
                    out[t, :, v] = 0.0


@njit(cache=True, nogil=True)
def _sums(x: Any, observed: Any, gamma: Any, sums: Any) -> None:
    """`sums` (symbols, states, LANES): each lane adds to numbers of its own, so that none waits for another."""
    steps, K = gamma.shape[0], gamma.shape[1]
    symbol = np.empty(LANES, np.int64)
    for t in range(steps):
        for v in range(LANES):
            symbol[v] = int(x[t, 0, v])
        for k in range(K):
            for v in range(LANES):
                weight = gamma[t, k, v] if observed is None else gamma[t, k, v] * observed[t, 0, v]
                sums[symbol[v], k, v] += weight
