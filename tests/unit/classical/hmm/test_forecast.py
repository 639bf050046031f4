"""Forecasts against the enumeration of all paths, and against the future."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm import forecast
from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.forecast import HmmForecaster, coming_state
from hindcast.classical.hmm.inference import filtered
from hindcast.classical.hmm.kernels.lanes import whole
from hindcast.classical.hmm.model import HiddenMarkov, stationary
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError

FAMILIES = ("diagonal", "full", "autoregressive")


def enumerated(model: Any, state: np.ndarray, past: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and square (horizon, channels) of what follows `past` (order, channels): every path of states, moments along it."""
    e, K, order = model.emission, model.states, len(past)
    mean, square = np.zeros((2, horizon, past.shape[1]))
    for path in itertools.product(range(K), repeat=horizon + 1):
        weight = state[path[0]] * np.prod([model.transition[i, j] for i, j in itertools.pairwise(path)])
        for c in range(past.shape[1]):
            m, V = past[:, c].astype(float), np.zeros((order, order))
            for h, k in enumerate(path[1:]):
                if order:
                    F = np.eye(order, k=1)
                    F[-1] = e.weights[k, c]
                    m, V = F @ m, F @ V @ F.T
                    m[-1] += e.intercepts[k, c]
                    V[-1, -1] += e.variances[k, c]
                    now, spread = m[-1], V[-1, -1]
                else:
                    now, spread = e.means[k, c], e.variances[k, c]
                mean[h, c] += weight * now
                square[h, c] += weight * (spread + now**2)
    return mean, square


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", [1, 3])
def test_mean_and_deviation_are_those_of_all_paths(family: str, order: int, oracle: Any, random_model: Any) -> None:
    model = random_model(family, states=2, order=order)
    context = np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)
    found = HmmForecaster(model, 4).forecast(Given.of(context))
    assert found.deviation is not None
    start = stationary(model.start, model.transition)
    for window, values in enumerate(context.astype(float)):
        filtered = oracle.enumerate(start, model.transition, oracle.log_density(model.emission, values)).filtered[-1]
        mean, square = enumerated(model, filtered, values[8 - model.emission.order :], 4)
        np.testing.assert_allclose(found.mean[window], mean, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.deviation[window], np.sqrt(square - mean**2), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lead_leaves_out_the_first_steps_ahead_and_changes_no_other(family: str, random_model: Any) -> None:
    model = random_model(family, states=2)
    context = np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)
    seen = np.ones(context.shape, np.uint8)
    whole_way, after = (
        HmmForecaster(model, 7).forecast(Given.of(context, seen)),
        HmmForecaster(model, 4, lead=3).forecast(Given.of(context, seen)),
    )
    assert after.mean.shape == (5, 4, 2)
    assert whole_way.deviation is not None
    np.testing.assert_allclose(after.mean, whole_way.mean[:, 3:], rtol=1e-12)
    np.testing.assert_allclose(after.deviation, whole_way.deviation[:, 3:], rtol=1e-9)


@pytest.mark.parametrize("lead", [0, 1, 6])
def test_an_autoregression_goes_on_with_a_wave_after_the_lead(lead: int) -> None:
    """sin(w (t + 1)) = 2 cos(w) sin(w t) − sin(w (t − 1))."""
    angle = 2 * np.pi / 9
    weights = np.array([[[-1.0, 2 * np.cos(angle)]]])
    emission = Autoregressive(np.zeros((1, 1)), weights, np.full((1, 1), 1e-4), np.full(1, 1e-9))
    forecaster = HmmForecaster(HiddenMarkov(np.ones(1), np.ones((1, 1)), emission), 5, lead=lead)
    wave = np.sin(angle * (np.arange(12)[None] + np.arange(4)[:, None]))[:, :, None]
    found = forecaster.forecast(Given.of(wave)).mean
    ahead = np.arange(4)[:, None] + 12 + lead + np.arange(5)
    np.testing.assert_allclose(found[:, :, 0], np.sin(angle * ahead), atol=1e-9)


def test_deviations_that_would_not_fit_in_memory_are_left_out(random_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, context = random_model("autoregressive"), np.random.default_rng(0).normal(size=(3, 9, 2)).astype(np.float32)
    whole_forecast = HmmForecaster(model, 4).forecast(Given.of(context))
    monkeypatch.setattr(forecast, "MOST_BYTES", 100)
    lean = HmmForecaster(model, 4).forecast(Given.of(context))
    assert lean.deviation is None
    np.testing.assert_array_equal(lean.mean, whole_forecast.mean)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forecast_never_depends_on_another_window(family: str, random_model: Any) -> None:
    forecaster = HmmForecaster(random_model(family), 5)
    context = np.random.default_rng(0).normal(size=(40, 20, 2)).astype(np.float32)
    given = Given.of(context)
    together, alone = (forecaster.forecast(one) for one in (given, given.subset(slice(7, 8))))
    np.testing.assert_allclose(together.mean[7], alone.mean[0], rtol=1e-12)
    np.testing.assert_allclose(together.deviation[7], alone.deviation[0], rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_state_is_filtered_not_smoothed(family: str, random_model: Any) -> None:
    model = random_model(family)
    values = np.random.default_rng(0).normal(size=(1, 30, 2))
    whole_run = next(filtered(model, whole(values), stationary(model.start, model.transition)))[1][:, :, 0].copy()
    for end in (10, 20, 30):
        coming = coming_state(model, whole(np.ascontiguousarray(values[:, :end])), stationary(model.start, model.transition))
        np.testing.assert_allclose(coming[0], whole_run[end - 1 - model.emission.order] @ model.transition, rtol=1e-12)


def test_a_context_as_long_as_the_order_starts_from_the_stationary_state(random_model: Any) -> None:
    model = random_model("autoregressive")
    context = np.zeros((2, 2, 2), np.float32)
    begin = stationary(model.start, model.transition)
    np.testing.assert_array_equal(coming_state(model, whole(context), begin)[1], begin)
    with pytest.raises(InputError, match="order 2 needs"):
        HmmForecaster(model, 3).forecast(Given.of(context[:, :1]))
    with pytest.raises(InputError, match="context"):
        HmmForecaster(model, 3).forecast(Given.of(np.zeros((2, 9, 5), np.float32)))


def test_a_filled_last_reading_says_nothing_of_the_state(random_model: Any) -> None:
    model = random_model("diagonal")
    context = np.random.default_rng(0).normal(size=(1, 9, 2)).astype(np.float32)
    observed = np.ones(context.shape, np.uint8)
    observed[0, -1] = 0
    begin = stationary(model.start, model.transition)
    filled = coming_state(model, whole(context, observed), begin)
    before = coming_state(model, whole(np.ascontiguousarray(context[:, :-1])), begin)
    np.testing.assert_allclose(filled, before @ model.transition, rtol=1e-12)


def test_the_stationary_distribution_of_any_chain_exists() -> None:
    A = np.array([[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_allclose(stationary(np.array([1.0, 0.0]), A), [0.75, 0.25], rtol=1e-12)
    np.testing.assert_allclose(stationary(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]])), [0.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(stationary(np.array([0.2, 0.8]), np.eye(2)), [0.2, 0.8], rtol=1e-12)
