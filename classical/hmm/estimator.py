"""Estimators that a user of hmmlearn already knows: the same arguments, attributes and verbs, and no hidden priors."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from classical import em
from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.fitting import repairs
from classical.hmm.initial import initialise
from classical.hmm.lanes import Group, Spans, concatenated
from classical.hmm.model import HiddenMarkov
from classical.hmm.settings import Family
from prep.errors import InputError

log = logging.getLogger(__name__)
SAMPLE = 20_000
Lengths = Sequence[int] | np.ndarray | None


class _Estimator(ABC):
    """What both families share: EM by `classical.em`, and questions asked of the lattice.

    n_iter, tol     EM stops after `n_iter` iterations, or after one that gains less than `tol` in log-likelihood
    random_state    seed of the initial clusters
    init_params     what `fit` initialises: "s" startprob_, "t" transmat_, and the letters of the family; the rest must be set
    variance_floor  least variance that is estimated, relative to each channel's own. There are no priors

    Readings are `X` (steps, channels), sequences one after the other, of `lengths` steps each; one sequence without them.
    InputError says which reading, length or parameter cannot be used.
    """

    startprob_: np.ndarray
    transmat_: np.ndarray
    history_: em.History
    _family: Family
    _order = 0

    def __init__(
        self, n_components: int, n_iter: int, tol: float, random_state: int | None, init_params: str, variance_floor: float
    ) -> None:
        if n_components < 1:
            raise InputError(f"n_components: found {n_components}, and at least 1 is needed")
        self.n_components, self.n_iter, self.tol = n_components, n_iter, tol
        self.random_state, self.init_params, self.variance_floor = random_state, init_params, variance_floor

    @property
    def parameters_(self) -> HiddenMarkov[Any]:
        """The parameters as one immutable value, checked."""
        missing = [name for name in ("startprob_", "transmat_", *self._fields) if not hasattr(self, name)]
        if missing:
            raise InputError(f"{missing[0]} is not set: fit the model first, or set its parameters")
        K, start, transition = self.n_components, _array(self.startprob_), _array(self.transmat_)
        for name, array, shape in (("startprob_", start, (K,)), ("transmat_", transition, (K, K))):
            if array.shape != shape or (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0):
                raise InputError(f"{name}: expected probabilities of shape {shape} that add up to 1, found {array.tolist()}")
        emission = self._emission()
        if emission.states != K or not (emission.variances > 0).all():
            raise InputError(f"expected {K} states with variances above 0, found {emission.variances.tolist()}")
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
        return float(sum(likelihoods.sum() for _, _, likelihoods in self.parameters_.filtered(self._spans(X, lengths))))

    def score_samples(self, X: Any, lengths: Lengths = None) -> tuple[float, np.ndarray]:
        """The log-likelihood, and `predict_proba`."""
        spans = self._spans(X, lengths)
        posterior, total = np.zeros((spans.values.shape[1], self.n_components)), 0.0
        for group, gamma, likelihoods in self.parameters_.smoothed(spans):
            total += float(likelihoods.sum())
            for lane, steps in self._places(spans, group):
                posterior[steps] = gamma[: group.lengths[lane], :, lane]
        return total, posterior

    def predict_proba(self, X: Any, lengths: Lengths = None) -> np.ndarray:
        """P(state | the whole sequence) of every step, (steps, n_components). Rows of 0 where a step is only conditioned on."""
        return self.score_samples(X, lengths)[1]

    def decode(self, X: Any, lengths: Lengths = None) -> tuple[float, np.ndarray]:
        """Log-probability of the likeliest paths together with the readings, and the paths (steps,); -1 where conditioned on."""
        spans = self._spans(X, lengths)
        states, total = np.full(spans.values.shape[1], -1), 0.0
        for group, path, log_probability in self.parameters_.decoded(spans):
            total += float(log_probability.sum())
            for lane, steps in self._places(spans, group):
                states[steps] = path[: group.lengths[lane], lane]
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
    def _emission(self) -> Any:
        """The emission family with the parameters that the attributes hold."""

    @abstractmethod
    def _take(self, emission: Any, letters: str) -> None:
        """Takes the fitted parameters that `letters` name from the family."""

    def _initial(self, spans: Spans) -> HiddenMarkov[Any]:
        few = int(np.searchsorted(np.cumsum(spans.lengths), SAMPLE)) + 1
        stop = np.minimum(spans.stop, spans.start + SAMPLE)[:few]
        sample = Spans(spans.values, spans.observed, spans.row[:few], spans.first[:few], spans.start[:few], stop)
        begin = initialise(
            self._family, sample, self.n_components, order=self._order, seed=self.random_state, variance_floor=self.variance_floor
        )
        self._adopt(begin, self.init_params)
        model = self.parameters_
        return replace(model, emission=replace(model.emission, floor=begin.emission.floor))

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
        bad = np.isinf(readings) if self._family == "diagonal" else ~np.isfinite(readings)
        if bad.any():
            step, channel = np.argwhere(bad)[0]
            raise InputError(f"X: step {step}, channel {channel}: found {readings[step, channel]}, expected a finite number")
        per_sequence = np.array([len(readings)] if lengths is None else lengths, np.int64)
        if (per_sequence < 0).any() or per_sequence.sum() != len(readings):
            raise InputError(f"lengths: add up to {per_sequence.sum()}, and X has {len(readings)} steps")
        if not missing.any():
            return concatenated(readings, per_sequence)
        return concatenated(np.where(missing, 0.0, readings), per_sequence, (~missing).astype(np.uint8))

    def _places(self, spans: Spans, group: Group) -> Iterator[tuple[int, slice]]:
        scored = spans.after_history(self._order)
        for lane in np.flatnonzero(group.members >= 0):
            member = group.members[lane]
            yield int(lane), slice(int(scored.start[member]), int(scored.stop[member]))

    def _walk(self, steps: int, rng: np.random.Generator) -> np.ndarray:
        start, ahead = np.cumsum(self.startprob_), np.cumsum(self.transmat_, axis=1)
        states = np.empty(steps, np.int64)
        for t, u in enumerate(rng.random(steps)):
            cumulative = start if t == 0 else ahead[states[t - 1]]
            states[t] = min(int(np.searchsorted(cumulative, u, side="right")), self.n_components - 1)
        return states


class GaussianHMM(_Estimator):
    """Gaussian readings. With `covariance_type` "diag", NaN in `X` is a missing reading, and is marginalised.

    means_      (n_components, channels); "m" in `init_params`
    covars_     (n_components, channels, channels), also of "diag", as in hmmlearn; set as that or (n_components, channels); "c"
    """

    means_: np.ndarray
    _fields = {"means_": "m", "covars_": "c"}  # noqa: RUF012

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: Literal["diag", "full"] = "diag",
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "stmc",
        variance_floor: float = 1e-6,
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params, variance_floor)
        if covariance_type not in ("diag", "full"):
            raise InputError(f"covariance_type: found {covariance_type!r}, expected 'diag' or 'full'")
        self.covariance_type = covariance_type
        self._family = "diagonal" if covariance_type == "diag" else "full"

    @property
    def covars_(self) -> np.ndarray:
        return self._covars if self._covars.ndim == 3 else self._covars[:, :, None] * np.eye(self._covars.shape[1])

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        covars = _array(covars)
        diagonal = self._family == "diagonal" and covars.ndim == 3
        self._covars = np.diagonal(covars, axis1=1, axis2=2).copy() if diagonal else covars

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n_samples, channels) and the states (n_samples,) that they come from."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        noise = rng.standard_normal((n_samples, self.means_.shape[1]))
        return self.means_[states] + np.einsum("tij,tj->ti", np.linalg.cholesky(self.covars_)[states], noise), states

    def _emission(self) -> Gaussian:
        means = _array(self.means_)
        wanted = means.shape if self._family == "diagonal" else (*means.shape, means.shape[-1])
        if means.ndim != 2 or self._covars.shape != wanted:
            raise InputError(f"covars_: found shape {self._covars.shape} for means_ of shape {means.shape}, expected {wanted}")
        if self._covars.ndim == 3 and not (np.linalg.eigvalsh(self._covars) > 0).all():
            raise InputError("covars_: one is not positive definite")
        return Gaussian(means, self._covars, np.zeros(means.shape[1]))

    def _take(self, emission: Gaussian, letters: str) -> None:
        if "m" in letters:
            self.means_ = emission.means
        if "c" in letters:
            self._covars = emission.covars


class AutoregressiveHMM(_Estimator):
    """In each state, each channel is a regression on its own last `order` values, with Gaussian noise.

    The first `order` steps of a sequence are conditioned on: they are not scored, and no state is said of them.

    intercepts_, variances_   (n_components, channels); "i", "v" in `init_params`
    weights_                  (n_components, channels, order), the oldest lag first; "w"
    """

    intercepts_: np.ndarray
    weights_: np.ndarray
    variances_: np.ndarray
    _family = "autoregressive"
    _fields = {"intercepts_": "i", "weights_": "w", "variances_": "v"}  # noqa: RUF012

    def __init__(
        self,
        n_components: int = 1,
        order: int = 1,
        *,
        n_iter: int = 10,
        tol: float = 1e-2,
        random_state: int | None = None,
        init_params: str = "stiwv",
        variance_floor: float = 1e-6,
    ) -> None:
        super().__init__(n_components, n_iter, tol, random_state, init_params, variance_floor)
        if order < 1:
            raise InputError(f"order: found {order}, and at least 1 is needed; GaussianHMM is the model without a past")
        self.order = self._order = order

    def sample(
        self, n_samples: int = 1, random_state: int | None = None, history: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n_samples, channels) after `history` (order, channels), zeros by default, and their states (n_samples,)."""
        rng = np.random.default_rng(self.random_state if random_state is None else random_state)
        states = self._walk(n_samples, rng)
        readings = np.zeros((self.order + n_samples, self.intercepts_.shape[1]))
        readings[: self.order] = 0.0 if history is None else history
        noise = rng.standard_normal((n_samples, readings.shape[1])) * np.sqrt(self.variances_[states])
        for t, state in enumerate(states):
            carried = (self.weights_[state] * readings[t : t + self.order].T).sum(axis=1)
            readings[t + self.order] = self.intercepts_[state] + carried + noise[t]
        return readings[self.order :], states

    def _emission(self) -> Autoregressive:
        intercepts, weights, variances = _array(self.intercepts_), _array(self.weights_), _array(self.variances_)
        if weights.shape != (*intercepts.shape, self.order) or variances.shape != intercepts.shape:
            raise InputError(
                f"found intercepts_ {intercepts.shape}, weights_ {weights.shape}, variances_ {variances.shape}: expected "
                f"(states, channels), (states, channels, {self.order}), (states, channels)"
            )
        return Autoregressive(intercepts, weights, variances, np.zeros(intercepts.shape[1]))

    def _take(self, emission: Autoregressive, letters: str) -> None:
        for name, letter in self._fields.items():
            if letter in letters:
                setattr(self, name, getattr(emission, name[:-1]))


def _array(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, np.float64)
