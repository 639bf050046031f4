"""Forecasts of a hidden Markov model: it filters the context, never smooths it, and propagates the state.

All families give the exact mean and standard deviation of the predictive distribution; an autoregressive model whose deviations
would need more memory than MOST_BYTES gives the mean alone. The distribution itself is a mixture. Of a family without memory it
is exact: P(state) h steps ahead is P(state now) times the h-th power of the transition matrix (Hamilton 1994, section 22.2). Of
an autoregressive one it is exact one step ahead, and approximate beyond: see `_autoregressive`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.inference import filtered
from hindcast.classical.hmm.kernels.lanes import Spans, whole
from hindcast.classical.hmm.model import HiddenMarkov, stationary
from hindcast.classical.hmm.part import HmmPart
from hindcast.forecasting.card import Card
from hindcast.forecasting.distributions.marginals import Normals
from hindcast.forecasting.distributions.mixtures import Mixture
from hindcast.forecasting.forecast import Forecast
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError

# P(state at the next step) (windows, states), and the last `order` readings (windows, order, channels)
Predict = Callable[[np.ndarray, np.ndarray], Forecast]
WINDOWS_AT_ONCE = 512
MOST_BYTES = 2**30


@dataclass(frozen=True)
class HmmForecaster:
    """A fitted model as a `hindcast.forecasting.forecast.Forecaster`.

    horizon     how many steps it forecasts
    card        None where the model was not fitted on a dataset
    lead        how many steps after the context it skips
    """

    model: HiddenMarkov[Any]
    horizon: int
    card: Card[HmmPart] | None = None
    lead: int = 0

    @property
    def parameters(self) -> int:
        return self.model.parameters

    def forecast(self, given: Given) -> Forecast:
        """See forecasting/forecast.py. Raises InputError where the context is shorter than the model's order."""
        context, observed, emission = given.context, given.observed, self.model.emission
        if context.ndim != 3 or context.shape[2] != emission.channels:
            raise InputError(f"context: found shape {context.shape}, expected (windows, context, {emission.channels})")
        if context.shape[1] < emission.order:
            raise InputError(f"context: found {context.shape[1]} steps, and a model of order {emission.order} needs as many")
        # A context begins anywhere, so the chain begins in its stationary distribution, not as training sequences began.
        begin = stationary(self.model.start, self.model.transition)
        coming = coming_state(self.model, whole(context, None if observed.all() else observed), begin)
        return self._predict(coming, context[:, context.shape[1] - emission.order :])

    @cached_property
    def _predict(self) -> Predict:
        return _predictor(self.model.emission, self.model.transition, self.lead, self.horizon)


def gives_deviation(emission: Emission, horizon: int) -> bool:
    """Whether a forecast has deviations. Those of an autoregressive model need memory, which MOST_BYTES limits."""
    if not isinstance(emission, Autoregressive):
        return True
    pairs = (emission.order + 1) * (emission.order + 2) // 2
    return pairs * horizon * emission.states * emission.channels * 8 <= MOST_BYTES


def after(model: HiddenMarkov[Any], spans: Spans, horizon: int) -> Forecast:
    """The forecast of the `horizon` steps after each sequence, which begins in the start probabilities of the model.

    Raises InputError where an autoregressive model lacks one of the last readings that it goes on from.
    """
    if horizon < 1:
        raise InputError(f"horizon: found {horizon}, expected 1 or more")
    emission, coming = model.emission, coming_state(model, spans, model.start)
    if not isinstance(emission, Autoregressive):
        return _predictor(emission, model.transition, 0, horizon)(coming, np.empty(0))
    last = _history(spans, emission.order)
    # Squares of readings far from 0 would take the digits that variances are told by.
    centre = last.mean(axis=(0, 1)) if len(last) else np.zeros(emission.channels)
    shifted = replace(emission, intercepts=emission.intercepts + (emission.weights.sum(axis=2) - 1) * centre)
    forecast = _predictor(shifted, model.transition, 0, horizon)(coming, last - centre)
    return forecast.in_units(np.broadcast_to(centre, last[:, 0].shape), np.ones_like(last[:, 0]))


def coming_state(model: HiddenMarkov[Any], spans: Spans, start: np.ndarray) -> np.ndarray:
    """P(state at the step after the last | the sequence) for each sequence that begins in `start`, (sequences, states).

    Of a sequence without a step to score, that is `start`.
    """
    coming = np.tile(start, (len(spans.row), 1))
    for group, alpha, _ in filtered(model, spans, start):
        for sequence, of_sequence in group.each(alpha):
            coming[sequence] = of_sequence[-1] @ model.transition
    return coming


def _history(spans: Spans, order: int) -> np.ndarray:
    """The last readings of each sequence, (sequences, order, channels)."""
    short = np.flatnonzero(spans.lengths < order)
    if len(short):
        steps = int(spans.lengths[short[0]])
        raise InputError(f"sequence {short[0]}: found {steps} steps, and a model of order {order} goes on from as many")
    step = spans.stop[:, None] - order + np.arange(order)
    if spans.observed is not None:
        missing = np.argwhere(spans.observed[spans.row[:, None], step] == 0)
        if len(missing):
            sequence, at, channel = missing[0]
            where = f"sequence {sequence}, step {step[sequence, at] - spans.start[sequence]}, channel {channel}"
            raise InputError(f"{where}: missing, and a model of order {order} goes on from the last {order} readings: fill it")
    return spans.values[spans.row[:, None], step].astype(np.float64)


def _predictor(emission: Emission, transition: np.ndarray, lead: int, horizon: int) -> Predict:
    if isinstance(emission, Autoregressive):
        return _autoregressive(emission, transition, lead, horizon)
    return _memoryless(emission, transition, lead, horizon)


def _memoryless(emission: Emission, transition: np.ndarray, lead: int, horizon: int) -> Predict:
    """The state is propagated h steps; the reading is then a mixture of what the states say."""
    weights, parts = emission.marginals()
    ahead = np.stack([np.linalg.matrix_power(transition, h) for h in range(lead, lead + horizon)]) @ weights
    means = np.concatenate([part.mean for part in parts]).T
    variances = np.concatenate([part.variance for part in parts]).T
    centre, bounded = means.mean(axis=0), np.isfinite(variances)
    first, second = ahead @ (means - centre), ahead @ (np.where(bounded, variances, 0.0) + (means - centre) ** 2)
    unbounded = ahead @ ~bounded

    def predict(coming: np.ndarray, _: np.ndarray) -> Forecast:
        mean, square = np.einsum("wk,hkc->whc", coming, first), np.einsum("wk,hkc->whc", coming, second)
        deviation = np.sqrt(np.maximum(square - mean**2, variances.min(axis=0)))
        if unbounded.any():
            deviation[np.einsum("wk,hkc->whc", coming, unbounded) > 0] = np.inf
        return Forecast(
            mean + centre, deviation, lambda windows: Mixture(np.einsum("wk,hkn->whn", coming[windows], ahead), parts)
        )

    return predict


def _autoregressive(emission: Autoregressive, transition: np.ndarray, lead: int, horizon: int) -> Predict:
    """Mean and square through switching dynamics (Costa, Fragoso and Marques 2005, chapter 3), by conditioning on the next state.

    Given the state j at the next step and x = (1, last values), E[z_h] is linear in x and E[z_h²] is quadratic, with coefficients
    that do not depend on the window: they are found once, backwards from the horizon, and a forecast is two matrix products.

    The distribution is a mixture over the next state of normals that have these moments. One step ahead it is exact. Further
    ahead its mean and its deviation are exact, and its shape is not: given the next state, a reading is a mixture over all paths
    of states from there, states^(h − 1) normals, of which a single normal takes the place. Where these lie many deviations of
    the noise apart, its cdf may be off by 0.1 and more.
    """
    rows, columns = np.tril_indices(emission.order + 1)
    with_squares = gives_deviation(emission, horizon)
    maps = [_switching_maps(emission, transition, lead, horizon, c, with_squares) for c in range(emission.channels)]
    least = emission.variances.min(axis=0)

    def predict(coming: np.ndarray, last: np.ndarray) -> Forecast:
        mean = np.empty((len(coming), horizon, emission.channels))
        square = np.empty_like(mean) if with_squares else None
        for begin in range(0, len(coming), WINDOWS_AT_ONCE):
            batch = slice(begin, begin + WINDOWS_AT_ONCE)
            for c, (linear, quadratic) in enumerate(maps):
                x = regressors(last[batch], c)
                mean[batch, :, c] = _mixed(coming[batch], x @ linear)
                if square is not None:
                    square[batch, :, c] = _mixed(coming[batch], (x[:, rows] * x[:, columns]) @ quadratic)
        if square is None:
            return Forecast(mean)
        return Forecast(
            mean, np.sqrt(np.maximum(square - mean**2, least)), lambda windows: mixture(coming[windows], last[windows])
        )

    def regressors(last: np.ndarray, channel: int) -> np.ndarray:
        return np.concatenate([np.ones((len(last), 1)), last[:, :, channel]], axis=1)

    def mixture(coming: np.ndarray, last: np.ndarray) -> Mixture:
        shape = (len(last), horizon, emission.states)
        mean, deviation = np.empty((2, len(last), horizon, emission.channels, emission.states))
        for c, (linear, quadratic) in enumerate(maps):
            x = regressors(last, c)
            mean[:, :, c] = (x @ linear).reshape(shape)
            variance = ((x[:, rows] * x[:, columns]) @ quadratic).reshape(shape) - mean[:, :, c] ** 2
            deviation[:, :, c] = np.sqrt(np.maximum(variance, least[c]))
        weights = np.broadcast_to(coming[:, None], shape)
        return Mixture(weights, (Normals(mean, deviation),))

    return predict


def _mixed(weight: np.ndarray, by_state: np.ndarray) -> np.ndarray:
    """(windows, horizon) of `weight` (windows, states) and `by_state` (windows, horizon · states)."""
    windows, states = weight.shape
    return np.matmul(by_state.reshape(windows, -1, states), weight[:, :, None])[:, :, 0]


def _switching_maps(
    emission: Autoregressive, transition: np.ndarray, lead: int, horizon: int, channel: int, with_squares: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of E[z_h] (order + 1, horizon · states) and of E[z_h²] (pairs of the lower triangle, horizon · states).

    Given the state at the next step. Those of the first `lead` steps ahead are left out, and the latter are nothing without
    `with_squares`. With F_j the companion matrix of state j on x and f_j its last row, given the state i before the next step:

    B_h(i) = sum_j A_ij F_j' B_{h-1}(j)
    Q_h(i) = sum_j A_ij (F_j' Q_{h-1}(j) F_j + variance_j · Q_{h-1}(j)[last, last] · e_0 e_0')

    of which the summands, without A_ij, are those given the next state j.
    """
    K, q = emission.states, emission.order + 1
    f = np.concatenate([emission.intercepts[:, channel, None], emission.weights[:, channel]], axis=1)
    noise = emission.variances[:, channel]
    B, Q = np.zeros((K, q)), np.zeros((K, q, q))
    B[:, -1], Q[:, -1, -1] = 1.0, 1.0
    rows, columns = np.tril_indices(q)
    twice = np.where(rows == columns, 1.0, 2.0)
    linear, quadratic = np.empty((q, horizon, K)), np.empty((len(rows) if with_squares else 0, horizon, K))
    for h in range(-lead, horizon):
        B = _older(B) + B[:, -1:] * f
        if h >= 0:
            linear[:, h] = B.T
        B = transition @ B
        if not with_squares:
            continue
        newest = Q[:, -1, -1]
        u = _older(Q[:, :, -1])
        carried = _older(_older(Q).swapaxes(1, 2)).swapaxes(1, 2)
        carried += u[:, :, None] * f[:, None, :] + f[:, :, None] * (u + newest[:, None] * f)[:, None, :]
        carried[:, 0, 0] += noise * newest
        if h >= 0:
            quadratic[:, h] = (carried[:, rows, columns] * twice).T
        Q = np.tensordot(transition, carried, axes=1)
    return linear.reshape(q, -1), quadratic.reshape(-1, horizon * K)


def _older(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of what x holds after a step, as coefficients of x before it, leaving out its newest value. Along axis 1."""
    before = np.zeros_like(coefficients)
    before[:, 0] = coefficients[:, 0]
    before[:, 2:] = coefficients[:, 1:-1]
    return before
