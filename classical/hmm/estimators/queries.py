"""Queries of a model whose parameters are known: likelihood, states, paths, durations, samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from hindcast.classical.hmm.data.sequences import Lengths
from hindcast.classical.hmm.forecast import after
from hindcast.classical.hmm.inference import decoded, filtered, laid_out, scored, smoothed
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov, stationary
from hindcast.forecasting.forecast import Forecast
from hindcast.prep.errors import InputError


class Queries(ABC):
    """The methods of an estimator that do not change it.

    X           readings (steps, channels), sequences one after the other; or a list of such arrays, one a sequence
    lengths     how many steps each sequence of an array has; one sequence without them

    Every method raises InputError for readings that the family cannot emit, and for invalid parameters. The first `order` steps
    of a sequence are conditioned on: they have no state.
    """

    n_components: int
    algorithm: str
    random_state: int | np.random.RandomState | None

    @property
    @abstractmethod
    def parameters_(self) -> HiddenMarkov[Any]: ...

    @abstractmethod
    def _spans(self, X: Any, lengths: Lengths) -> Spans: ...

    def score(self, X: Any, lengths: Lengths = None) -> float:
        """The log-likelihood of all sequences together."""
        return float(sum(likelihoods.sum() for _, likelihoods in scored(self.parameters_, self._spans(X, lengths))))

    def score_samples(self, X: Any, lengths: Lengths = None) -> tuple[float, np.ndarray]:
        """The log-likelihood, and `predict_proba`."""
        spans = self._spans(X, lengths)
        return self._posterior(smoothed(self.parameters_, spans), spans)

    def predict_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """P(state | the whole sequence) of every step, (steps, n_components). Rows of 0 where a step is only conditioned on."""
        return self.score_samples(X, lengths)[1]

    def filtered_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """P(state | the sequence up to the step), (steps, n_components)."""
        spans = self._spans(X, lengths)
        return self._posterior(filtered(self.parameters_, spans), spans)[1]

    def predicted_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """P(state | the sequence before the step), (steps, n_components); of a sequence's first step, the start probabilities."""
        spans, model = self._spans(X, lengths), self.parameters_
        after = self._after_history(spans)
        _, before = self._posterior(filtered(model, spans), spans)
        ahead = np.zeros_like(before)
        for start, stop in zip(after.start, after.stop, strict=True):
            if stop > start:
                ahead[start] = model.start
                ahead[start + 1 : stop] = before[start : stop - 1] @ model.transition
        return ahead

    def decode(self, X: Any, lengths: Lengths = None, algorithm: str | None = None) -> tuple[float, np.ndarray]:
        """A log-probability, and states (steps,); -1 where a step is conditioned on.

        "viterbi"   the likeliest path of each sequence, and its log-probability together with the readings
        "map"       the likeliest state of each step, and the sum of their probabilities (as hmmlearn has it)
        """
        method = self.algorithm if algorithm is None else algorithm
        if method not in ("viterbi", "map"):
            raise InputError(f"algorithm: found {method!r}, expected 'viterbi' or 'map'")
        spans = self._spans(X, lengths)
        states = np.full(spans.values.shape[1], -1)
        if method == "map":
            posterior = self.predict_proba(X, lengths)
            scored = posterior.any(axis=1)
            states[scored] = posterior[scored].argmax(axis=1)
            return float(posterior.max(axis=1).sum()), states
        return laid_out(decoded(self.parameters_, spans), spans, self.parameters_.emission.order, states), states

    def predict(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """The states of `decode`, (steps,)."""
        return self.decode(X, lengths)[1]

    def aic(self, X: Any, lengths: Lengths = None) -> float:
        """Akaike's criterion, the smaller the better. A probability that is 0 is no free parameter of the chain."""
        return -2 * self.score(X, lengths) + 2 * self.parameters_.parameters

    def bic(self, X: Any, lengths: Lengths = None) -> float:
        """Schwarz's criterion, the smaller the better, of as many observations as there are scored steps."""
        scored = self._after_history(self._spans(X, lengths)).lengths.sum()
        if not scored:
            raise InputError("bic: no step is scored")
        return float(-2 * self.score(X, lengths) + np.log(scored) * self.parameters_.parameters)

    def get_stationary_distribution(self) -> np.ndarray:
        """The share of time that is spent in each state in the long run, (n_components,)."""
        return stationary(self.parameters_.start, self.parameters_.transition)

    @property
    def durations_(self) -> np.ndarray:
        """The steps that a visit to each state lasts, on average by the model: 1 / (1 − a_kk) (Rabiner 1989, equation 5)."""
        with np.errstate(divide="ignore"):
            return 1.0 / (1.0 - np.diagonal(self.parameters_.transition))

    def durations(self, X: Any, lengths: Lengths = None) -> list[np.ndarray]:
        """Of each state, the steps that each of its visits lasted along the likeliest paths, in the order of the visits.

        The end of a sequence may cut its last visit short: that visit counts with its observed length.
        """
        spans = self._spans(X, lengths)
        visits: list[list[int]] = [[] for _ in range(self.n_components)]
        paths = {
            sequence: of_sequence.copy()
            for group, path, _ in decoded(self.parameters_, spans)
            for sequence, of_sequence in group.each(path)
        }
        for _, path in sorted(paths.items()):
            borders = np.flatnonzero(np.diff(path)) + 1
            for begin, end in zip([0, *borders], [*borders, len(path)], strict=True):
                visits[path[begin]].append(int(end - begin))
        return [np.array(lasted, np.int64) for lasted in visits]

    def forecast(self, X: Any, horizon: int, lengths: Lengths = None) -> Forecast:
        """The forecast of the `horizon` steps after each sequence: mean, deviation, and by `density()` the whole distribution.

        Its windows are the sequences. NaN is a missing reading; an autoregressive model goes on from the last `order` readings,
        none of which may be missing. A sequence without a step that has a state is forecast from the start probabilities.
        """
        return after(self.parameters_, self._spans(X, lengths), horizon)

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        currstate: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n_samples, channels) and the states (n_samples,) that they come from; `currstate`: the one before."""
        model = self.parameters_
        seed = self.random_state if random_state is None else random_state
        seed = seed.randint(2**31) if isinstance(seed, np.random.RandomState) else seed
        rng = np.random.default_rng(seed)
        if n_samples < 0:
            raise InputError(f"n_samples: found {n_samples}, expected 0 or more")
        if currstate is not None and not 0 <= currstate < model.states:
            raise InputError(f"currstate: found {currstate}, expected a state of 0 … {model.states - 1}")
        states = _walk(model, n_samples, currstate, rng)
        return model.emission.sample(states, rng), states

    def _after_history(self, spans: Spans) -> Spans:
        return spans.after_history(self.parameters_.emission.order)

    def _posterior(self, passes: Any, spans: Spans) -> tuple[float, np.ndarray]:
        posterior = np.zeros((spans.values.shape[1], self.n_components))
        return laid_out(passes, spans, self.parameters_.emission.order, posterior), posterior


def _walk(model: HiddenMarkov[Any], steps: int, before: int | None, rng: np.random.Generator) -> np.ndarray:
    start, ahead = np.cumsum(model.start), np.cumsum(model.transition, axis=1)
    states = np.empty(steps, np.int64)
    cumulative = start if before is None else ahead[before]
    for t, u in enumerate(rng.random(steps)):
        states[t] = min(int(np.searchsorted(cumulative, u * cumulative[-1], side="right")), model.states - 1)
        cumulative = ahead[states[t]]
    return states
