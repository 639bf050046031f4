"""What all estimators share: fitting, and the questions that are asked of a fitted model."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from classical import em
from classical.hmm.fitting import repairs
from classical.hmm.inference import decoded, filtered, smoothed
from classical.hmm.initial import Begin, initialise
from classical.hmm.lanes import Spans, concatenated
from classical.hmm.model import HiddenMarkov
from prep.errors import InputError

log = logging.getLogger(__name__)
SAMPLE = 20_000
Lengths = Sequence[int] | np.ndarray | None


class Estimator(ABC):
    """What all families share: EM by `classical.em`, and questions asked of the lattice.

    n_iter, tol     EM stops after `n_iter` iterations, or after one that gains less than `tol` in log-likelihood
    random_state    seed of the initial clusters
    init_params     what `fit` initialises: "s" startprob_, "t" transmat_, and the letters of the family; the rest must be set
    variance_floor  of the families with variances: the least that is estimated, relative to each channel's own

    There are no priors.

    Readings are `X` (steps, channels), sequences one after the other, of `lengths` steps each; one sequence without them.
    InputError says which reading, length or parameter cannot be used.
    """

    startprob_: np.ndarray
    transmat_: np.ndarray
    history_: em.History
    _order = 0
    # Whether NaN is a missing reading.
    _marginalises = False

    def __init__(self, n_components: int, n_iter: int, tol: float, random_state: int | None, init_params: str) -> None:
        if n_components < 1:
            raise InputError(f"n_components: found {n_components}, and at least 1 is needed")
        self.n_components, self.n_iter, self.tol = n_components, n_iter, tol
        self.random_state, self.init_params = random_state, init_params

    @property
    def parameters_(self) -> HiddenMarkov[Any]:
        """The parameters as one immutable value, checked."""
        missing = [name for name in ("startprob_", "transmat_", *self._fields) if not hasattr(self, name)]
        if missing:
            raise InputError(f"{missing[0]} is not set: fit the model first, or set its parameters")
        K, start, transition = self.n_components, as_array(self.startprob_), as_array(self.transmat_)
        for name, array, shape in (("startprob_", start, (K,)), ("transmat_", transition, (K, K))):
            if array.shape != shape or (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0):
                raise InputError(f"{name}: expected probabilities of shape {shape} that add up to 1, found {array.tolist()}")
        emission = self._emission()
        fault = emission.fault if emission.states == K else f"expected {K} states, found {emission.states}"
        if fault:
            raise InputError(fault)
        return HiddenMarkov(start, transition, emission)

    @property
    def converged_(self) -> bool:
        return self.history_.stopped_by == "tolerance"

    def fit(self, X: Any, lengths: Lengths = None) -> Self:
        """Maximum likelihood by EM. What had to be repaired (a variance at the floor, an empty state) is logged as a warning."""
        spans = self._spans(X, lengths)
        begin = self._initial(spans)
        count = float(spans.after_history(self._order).lengths.sum())
        model, self.history_ = em.fit(begin, [spans], iterations=self.n_iter, tolerance=self.tol / max(count, 1.0))
        for note in repairs(model):
            log.warning("%s", note)
        self._adopt(model, "st" + "".join(self._fields.values()))
        return self

    def score(self, X: Any, lengths: Lengths = None) -> float:
        """The log-likelihood of all sequences together."""
        return float(sum(likelihoods.sum() for _, _, likelihoods in filtered(self.parameters_, self._spans(X, lengths))))

    def score_samples(self, X: Any, lengths: Lengths = None) -> tuple[float, np.ndarray]:
        """The log-likelihood, and `predict_proba`."""
        spans = self._spans(X, lengths)
        scored = spans.after_history(self._order)
        posterior, total = np.zeros((spans.values.shape[1], self.n_components)), 0.0
        for group, gamma, likelihoods in smoothed(self.parameters_, spans):
            total += float(likelihoods.sum())
            for sequence, of_sequence in group.each(gamma):
                posterior[scored.start[sequence] : scored.stop[sequence]] = of_sequence
        return total, posterior

    def predict_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """P(state | the whole sequence) of every step, (steps, n_components). Rows of 0 where a step is only conditioned on."""
        return self.score_samples(X, lengths)[1]

    def decode(self, X: Any, lengths: Lengths = None) -> tuple[float, np.ndarray]:
        """Log-probability of the likeliest paths together with the readings, and the paths (steps,); -1 where conditioned on."""
        spans = self._spans(X, lengths)
        scored = spans.after_history(self._order)
        states, total = np.full(spans.values.shape[1], -1), 0.0
        for group, path, log_probability in decoded(self.parameters_, spans):
            total += float(log_probability.sum())
            for sequence, of_sequence in group.each(path):
                states[scored.start[sequence] : scored.stop[sequence]] = of_sequence
        return total, states

    def predict(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """The likeliest paths, (steps,)."""
        return self.decode(X, lengths)[1]

    def aic(self, X: Any, lengths: Lengths = None) -> float:
        return -2 * self.score(X, lengths) + 2 * self.parameters_.parameters

    def bic(self, X: Any, lengths: Lengths = None) -> float:
        scored = self._spans(X, lengths).after_history(self._order).lengths.sum()
        return float(-2 * self.score(X, lengths) + np.log(scored) * self.parameters_.parameters)

    _fields: dict[str, str]

    @abstractmethod
    def _begin(self) -> Begin:
        """How the family begins."""

    @abstractmethod
    def _emission(self, like: Any = None) -> Any:
        """The emission family with the parameters that the attributes hold, and with the restraints of another on its M-step."""

    @abstractmethod
    def _take(self, emission: Any, letters: str) -> None:
        """Takes the fitted parameters that `letters` name from the family."""

    def _initial(self, spans: Spans) -> HiddenMarkov[Any]:
        few = int(np.searchsorted(np.cumsum(spans.lengths), SAMPLE)) + 1
        stop = np.minimum(spans.stop, spans.start + SAMPLE)[:few]
        sample = Spans(spans.values, spans.observed, spans.row[:few], spans.first[:few], spans.start[:few], stop)
        begin = initialise(self._begin(), sample, self.n_components, order=self._order, seed=self.random_state)
        self._adopt(begin, self.init_params)
        return replace(self.parameters_, emission=self._emission(begin.emission))

    def _adopt(self, model: HiddenMarkov[Any], letters: str) -> None:
        if "s" in letters:
            self.startprob_ = model.start
        if "t" in letters:
            self.transmat_ = model.transition
        self._take(model.emission, letters)

    def _spans(self, X: Any, lengths: Lengths) -> Spans:
        readings = np.ascontiguousarray(X, np.float64)
        if readings.ndim != 2 or not readings.size:
            raise InputError(f"X: found shape {readings.shape}, expected (steps, channels)")
        missing = np.isnan(readings)
        per_sequence = np.array([len(readings)] if lengths is None else lengths, np.int64)
        if (per_sequence < 0).any() or per_sequence.sum() != len(readings):
            raise InputError(f"lengths: add up to {per_sequence.sum()}, and X has {len(readings)} steps")
        self._must_fit(readings)
        if not missing.any():
            return concatenated(readings, per_sequence)
        return concatenated(np.where(missing, 0.0, readings), per_sequence, (~missing).astype(np.uint8))

    def _must_fit(self, readings: np.ndarray) -> None:
        """Raises InputError for readings (steps, channels) that the family cannot have produced."""
        missing = np.isnan(readings)
        self._must_be(readings, np.isfinite(readings) | (missing & self._marginalises), "a finite number")

    def _must_be(self, readings: np.ndarray, fine: np.ndarray, expected: str) -> None:
        if not fine.all():
            step, channel = np.argwhere(~fine)[0]
            raise InputError(f"X: step {step}, channel {channel}: found {readings[step, channel]:g}, expected {expected}")

    def _walk(self, steps: int, rng: np.random.Generator) -> np.ndarray:
        start, ahead = np.cumsum(self.startprob_), np.cumsum(self.transmat_, axis=1)
        states = np.empty(steps, np.int64)
        for t, u in enumerate(rng.random(steps)):
            cumulative = start if t == 0 else ahead[states[t - 1]]
            states[t] = min(int(np.searchsorted(cumulative, u, side="right")), self.n_components - 1)
        return states


def as_array(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, np.float64)
