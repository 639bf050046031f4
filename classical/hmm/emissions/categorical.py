"""Categorical emissions: in each state, one of a set of symbols, 0 … symbols − 1, each with its probability (Rabiner 1989).

A symbol that was not measured has density 1 and is left out of the sums. Probabilities of 0 stay 0.

The prior of each state's probabilities is a Dirichlet distribution (Bishop 2006, section 2.2.1): an M-step adds its
concentrations less 1 to the expected counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit

from hindcast.classical.additive import Additive
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.emissions.shared.probabilities import estimated, log_dirichlet, not_a_dirichlet, not_probabilities
from hindcast.classical.hmm.kernels.lanes import Group, Spans, stacked
from hindcast.classical.hmm.kernels.vector import BLOCK, LANES, add_rows, any_below, larger, load, splat, store, take_rows
from hindcast.forecasting.distributions.marginals import Components, Symbols
from hindcast.prep.errors import InputError

RUN = 12  # steps over which symbols are counted to begin with
DIRECTIONS = 16


@dataclass(frozen=True)
class CategoricalStatistics(Additive):
    """`counts` (states, symbols): how often each was expected."""

    counts: np.ndarray


@dataclass(frozen=True)
class Categorical(Emission):
    """What each state says.

    probabilities   (states, symbols): each row adds up to 1
    prior           concentrations of a Dirichlet prior, 1 or more: a number, (symbols,) or (states, symbols); 1 is no prior
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("probabilities",)
    probabilities: np.ndarray
    prior: float | np.ndarray = 1.0

    @classmethod
    def begin(
        cls, readings: np.ndarray, seen: np.ndarray | None, *, symbols: int, prior: float | np.ndarray = 1.0
    ) -> Categorical:
        """One state: as often as each symbol is there, and once more, so that none begins as impossible.

        `prior` is the same for all states: a number or (symbols,).
        """
        present = readings[:, 0] if seen is None else readings[seen[:, 0], 0]
        counts = np.bincount(present.astype(np.int64), minlength=symbols) + 1.0
        return cls((counts / counts.sum())[None], prior)

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
        return not_probabilities(self.probabilities) or not_a_dirichlet(self.prior, self.probabilities.shape)

    @property
    def log_prior(self) -> float:
        return log_dirichlet(self.probabilities, self.prior)

    @property
    def landmarks(self) -> np.ndarray:
        return self.probabilities

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Clusters of how often each symbol comes over a short run. Of many symbols, random directions stand for them."""
        codes = np.eye(self.symbols) if self.symbols <= DIRECTIONS else rng.normal(size=(self.symbols, DIRECTIONS))
        seen = np.ones(spans.lengths.sum()) if spans.observed is None else stacked(spans.observed, spans)[:, 0] > 0
        coded = np.where(seen[:, None], codes[stacked(spans.values, spans)[:, 0].astype(np.int64)], 0.0)
        lengths = spans.lengths
        return np.split(clusters(shares(coded, seen, lengths, RUN), states, rng), np.cumsum(lengths)[:-1])

    def log_density(self, group: Group, out: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            logs = np.log(self._by_symbol)
        self._must_know(_look_up(group.values, group.observed, logs, 0.0, out, None, None))

    def relative_density(self, group: Group, out: np.ndarray, peaks: np.ndarray) -> bool:
        relative, logs = self._relative
        self._must_know(_look_up(group.values, group.observed, relative, 1.0, out, logs, peaks))
        return True

    def no_sums(self) -> np.ndarray:
        """(LANES, symbols, states)"""
        return np.zeros((LANES, self.symbols, self.states))

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        self._must_know(_sums(group.values, group.observed, gamma, sums))

    def _must_know(self, known: bool) -> None:
        """Compiled code does not look where it reads and writes, unless it is told to."""
        if not known:
            raise InputError(f"found a symbol outside of the model's, 0 … {self.symbols - 1}")

    @property
    def _by_symbol(self) -> np.ndarray:
        """(symbols, states)"""
        return np.ascontiguousarray(self.probabilities.T)

    @cached_property
    def _relative(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each symbol, probabilities relative to the likeliest state's (symbols, states), and log of the latter (symbols,)."""
        highest = self.probabilities.max(axis=0)
        with np.errstate(divide="ignore"):
            return self._by_symbol / np.where(highest > 0, highest, 1.0)[:, None], np.log(highest)

    def statistics(self, sums: np.ndarray) -> CategoricalStatistics:
        return CategoricalStatistics(np.ascontiguousarray(sums.sum(axis=0).T))

    def m_step(self, statistics: CategoricalStatistics) -> Categorical:
        return self.moved(probabilities=estimated(statistics.counts, self.probabilities, self.prior))

    def permuted(self, order: np.ndarray) -> Self:
        prior = np.asarray(self.prior)[order] if np.ndim(self.prior) == 2 else self.prior
        return replace(super().permuted(order), prior=prior)

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        return np.eye(self.states), (Symbols(self.probabilities[None]),)

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ahead = np.cumsum(self.probabilities, axis=1)
        symbols = (rng.random(len(states))[:, None] >= ahead[states]).sum(axis=1)
        return np.minimum(symbols, self.symbols - 1)[:, None]


def shares(counts: np.ndarray, totals: np.ndarray, lengths: np.ndarray, run: int) -> np.ndarray:
    """`counts` (steps, numbers) over `totals` (steps,), both summed over the `run` steps around each, within its sequence.

    Where a run has a total of 0, the share of all steps.
    """
    stop = np.repeat(np.cumsum(lengths), lengths)
    start, step = stop - np.repeat(lengths, lengths), np.arange(len(counts))
    low, high = np.maximum(step - run // 2, start), np.minimum(step + (run + 1) // 2, stop)
    both = np.concatenate([counts, np.asarray(totals, np.float64)[:, None]], axis=1)
    before = np.concatenate([np.zeros((1, both.shape[1])), np.cumsum(both, axis=0)])
    summed, overall = before[high] - before[low], before[-1]
    total, whole = summed[:, -1:], max(overall[-1], 1.0)
    return np.where(total > 0, summed[:, :-1] / np.where(total > 0, total, 1.0), overall[:-1] / whole)


@njit(cache=True, nogil=True)
def _look_up(x: Any, observed: Any, table: Any, missing: Any, out: Any, logs: Any, peaks: Any) -> Any:
    """Writes the rows of `table` (symbols, states) that the symbols name, and `missing` where there is none.

    Where there are `peaks` (steps, LANES), what `logs` (symbols,) has for the symbols goes there, and 0 where there is none.
    Whether all symbols are among the table's: at one that is not, it stops.
    """
    steps, K, symbols, numbers, row = out.shape[0], out.shape[1], len(table), table.ravel(), np.empty(LANES, np.uint32)
    whole = K // BLOCK * BLOCK
    for t in range(steps):
        if not _rows(x, t, symbols, K, row):
            return False
        for k in range(0, whole, BLOCK):
            take_rows(out, (t, k), numbers, row, k)
        for k in range(np.uint32(whole), np.uint32(K)):
            for v in range(LANES):
                out[t, k, v] = numbers[row[v] + k]
        if peaks is not None:
            for v in range(LANES):
                peaks[t, v] = logs[np.uint32(x[t, 0, v])]
        if observed is not None:
            for v in range(LANES):
                if observed[t, 0, v] == 0:
                    out[t, :, v] = missing
                    if peaks is not None:
                        peaks[t, v] = 0.0
    return True


@njit(cache=True, nogil=True)
def _sums(x: Any, observed: Any, gamma: Any, sums: Any) -> Any:
    """`sums` (LANES, symbols, states): each lane adds to numbers of its own, so that none waits for another.

    Whether all symbols are among those: at one that is not, it stops.
    """
    steps, K, symbols, numbers, row = gamma.shape[0], gamma.shape[1], sums.shape[1], sums.ravel(), np.empty(LANES, np.uint32)
    whole, weights = K // BLOCK * BLOCK, np.empty((K, LANES))
    for t in range(steps):
        if not _rows(x, t, symbols, K, row):
            return False
        for v in range(LANES):
            row[v] += np.uint32(v * symbols * K)
        if observed is not None:
            for k in range(K):
                store(weights, (k,), load(gamma, (t, k)) * load(observed, (t, 0)))
        for k in range(0, whole, BLOCK):
            if observed is None:
                add_rows(gamma, (t, k), numbers, row, k)
            else:
                add_rows(weights, (k,), numbers, row, k)
        for k in range(np.uint32(whole), np.uint32(K)):
            for v in range(LANES):
                numbers[row[v] + k] += gamma[t, k, v] if observed is None else weights[k, v]
    return True


@njit(cache=True, nogil=True, forceinline=True)
def _rows(x: Any, t: Any, symbols: Any, width: Any, row: Any) -> Any:
    """Where the row of each lane's symbol begins, in rows of such a width; false where a symbol is none of so many."""
    here = larger(load(x, (t, 0)), splat(-1.0))  # which is -1 where x is not a number
    if any_below(here, 0.0) or any_below(splat(symbols - 1.0) - here, 0.0):
        return False
    for v in range(LANES):
        row[v] = np.uint32(np.int32(x[t, 0, v]) * width)
    return True
