"""What a hidden Markov model expects next: it filters the context, never smooths it, and propagates the state.

Both families give the exact mean and standard deviation of the predictive distribution; an autoregressive model whose deviations
would need more memory than MOST_BYTES gives the mean alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.inference import filtered
from classical.hmm.lanes import Spans, whole
from classical.hmm.model import HiddenMarkov, stationary
from forecasting.card import Card
from forecasting.forecast import Forecast
from prep.errors import InputError

Predict = Callable[[np.ndarray, np.ndarray], Forecast]
WINDOWS_AT_ONCE = 512
MOST_BYTES = 2**30


@dataclass(frozen=True)
class HmmForecaster:
    """A fitted model, how many steps it is asked for, and how many of those after the context it skips: a
    `forecasting.forecast.Forecaster`. `card`: of a model of a dataset."""

    model: HiddenMarkov[Any]
    horizon: int
    card: Card | None = None
    lead: int = 0
    name: ClassVar[str] = "hmm"

    @property
    def parameters(self) -> int:
        return self.model.parameters

    def forecast(self, context: np.ndarray, observed: np.ndarray) -> Forecast:
        """See `forecasting.forecast.Forecaster`. Raises InputError where the context is shorter than the model's order."""
        emission = self.model.emission
        if context.ndim != 3 or context.shape[2] != emission.channels:
            raise InputError(f"context: found shape {context.shape}, expected (windows, context, {emission.channels})")
        if context.shape[1] < emission.order:
            raise InputError(f"context: found {context.shape[1]} steps, and a model of order {emission.order} needs as many")
        state = filtered_state(self.model, whole(context, None if observed.all() else observed))
        return self._predict(state, context[:, context.shape[1] - emission.order :])

    @cached_property
    def _predict(self) -> Predict:
        model, emission = self.model, self.model.emission
        if isinstance(emission, Autoregressive):
            return _autoregressive(emission, model.transition, self.lead, self.horizon)
        return _gaussian(emission, model.transition, self.lead, self.horizon)


def filtered_state(model: HiddenMarkov[Any], spans: Spans) -> np.ndarray:
    """P(state at the last step | the sequence) for each sequence, (sequences, states).

    A context begins anywhere, so the chain begins in its stationary distribution, not as training sequences began.
    """
    start = stationary(model.start, model.transition)
    state = np.tile(start, (len(spans.row), 1))
    for group, alpha, _ in filtered(model, spans, start):
        for sequence, of_sequence in group.each(alpha):
            state[sequence] = of_sequence[-1]
    return state


def _gaussian(emission: Gaussian, transition: np.ndarray, lead: int, horizon: int) -> Predict:
    """The state is propagated h steps; the reading is then a mixture of the states' Gaussians."""
    ahead = np.stack([np.linalg.matrix_power(transition, h) for h in range(lead + 1, lead + horizon + 1)])
    centred = emission.means - emission.centre
    first, second = ahead @ centred, ahead @ (emission.variances + centred**2)

    def predict(state: np.ndarray, _: np.ndarray) -> Forecast:
        mean, square = np.einsum("wk,hkc->whc", state, first), np.einsum("wk,hkc->whc", state, second)
        return Forecast(mean + emission.centre, np.sqrt(np.maximum(square - mean**2, emission.variances.min(axis=0))))

    return predict


def _autoregressive(emission: Autoregressive, transition: np.ndarray, lead: int, horizon: int) -> Predict:
    """Mean and square through switching dynamics (Costa, Fragoso and Marques 2005, chapter 3), by conditioning on the state now.

    Given the state i now and x = (1, last values), E[z_h] is linear in x and E[z_h²] is quadratic, with coefficients that do not
    depend on the window: they are found once, backwards from the horizon, and a forecast is two matrix products.
    """
    rows, columns = np.tril_indices(emission.order + 1)
    with_squares = len(rows) * horizon * emission.states * emission.channels * 8 <= MOST_BYTES
    maps = [_switching_maps(emission, transition, lead, horizon, c, with_squares) for c in range(emission.channels)]

    def predict(state: np.ndarray, last: np.ndarray) -> Forecast:
        mean = np.empty((len(state), horizon, emission.channels))
        square = np.empty_like(mean) if with_squares else None
        for begin in range(0, len(state), WINDOWS_AT_ONCE):
            some = slice(begin, begin + WINDOWS_AT_ONCE)
            weight = state[some]
            for c, (linear, quadratic) in enumerate(maps):
                x = np.concatenate([np.ones((len(weight), 1)), last[some, :, c]], axis=1)
                mean[some, :, c] = _mixed(weight, x @ linear)
                if square is not None:
                    square[some, :, c] = _mixed(weight, (x[:, rows] * x[:, columns]) @ quadratic)
        if square is None:
            return Forecast(mean)
        return Forecast(mean, np.sqrt(np.maximum(square - mean**2, emission.variances.min(axis=0))))

    return predict


def _mixed(weight: np.ndarray, by_state: np.ndarray) -> np.ndarray:
    """(windows, horizon) of `weight` (windows, states) and `by_state` (windows, horizon · states)."""
    windows, states = weight.shape
    return np.matmul(by_state.reshape(windows, -1, states), weight[:, :, None])[:, :, 0]


def _switching_maps(
    emission: Autoregressive, transition: np.ndarray, lead: int, horizon: int, channel: int, with_squares: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of E[z_h] (order + 1, horizon · states) and of E[z_h²] (pairs of the lower triangle, horizon · states).

    Those of the first `lead` steps ahead are left out, and the latter are nothing without `with_squares`. With F_j the companion
    matrix of state j on x and f_j its last row:

    B_h(i) = sum_j A_ij F_j' B_{h-1}(j)
    Q_h(i) = sum_j A_ij (F_j' Q_{h-1}(j) F_j + variance_j · Q_{h-1}(j)[last, last] · e_0 e_0')
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
        B = transition @ (_older(B) + B[:, -1:] * f)
        if h >= 0:
            linear[:, h] = B.T
        if not with_squares:
            continue
        newest = Q[:, -1, -1]
        u = _older(Q[:, :, -1])
        carried = _older(_older(Q).swapaxes(1, 2)).swapaxes(1, 2)
        carried += u[:, :, None] * f[:, None, :] + f[:, :, None] * (u + newest[:, None] * f)[:, None, :]
        carried[:, 0, 0] += noise * newest
        Q = np.tensordot(transition, carried, axes=1)
        if h >= 0:
            quadratic[:, h] = (Q[:, rows, columns] * twice).T
    return linear.reshape(q, -1), quadratic.reshape(-1, horizon * K)


def _older(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of what x holds after a step, as coefficients of x before it, leaving out its newest value. Along axis 1."""
    before = np.zeros_like(coefficients)
    before[:, 0] = coefficients[:, 0]
    before[:, 2:] = coefficients[:, 1:-1]
    return before
