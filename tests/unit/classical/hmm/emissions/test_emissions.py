"""Emission families against plain NumPy, and their M-steps against least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.autoregressive import regress
from hindcast.classical.hmm.inference import smoothed
from hindcast.classical.hmm.kernels.lanes import owned, whole

FAMILIES = ("diagonal", "full", "autoregressive")


@pytest.mark.parametrize("family", FAMILIES)
def test_permuted_states_give_permuted_results(family: str, random_model: Any) -> None:
    model, order = random_model(family), np.array([2, 0, 1])
    permuted = model.permuted(order)
    spans = whole(np.random.default_rng(0).normal(size=(3, 9, 2)))
    a, b = model.e_step(spans), permuted.e_step(spans)
    np.testing.assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-13)
    np.testing.assert_allclose(b.transitions, a.transitions[np.ix_(order, order)], rtol=1e-11)
    then, again = model.m_step(a).permuted(order), permuted.m_step(b)
    for name, array in then.emission.arrays().items():
        np.testing.assert_allclose(getattr(again.emission, name), array, rtol=1e-8, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_m_step_is_the_weighted_estimate(family: str, random_model: Any) -> None:
    model = random_model(family)
    order, values = model.emission.order, np.random.default_rng(0).normal(size=(1, 40, 2))
    after = model.m_step(model.e_step(whole(values))).emission
    gamma = next(smoothed(model, whole(values).after_history(order)))[1][:, :, 0]
    for k in range(3):
        w = gamma[:, k] / gamma[:, k].sum()
        if family == "autoregressive":
            for c in range(2):
                design = np.stack([np.ones(40 - order), *(values[0, lag : 40 - order + lag, c] for lag in range(order))], axis=1)
                target, root = values[0, order:, c], np.sqrt(w)
                expected = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
                np.testing.assert_allclose(after.intercepts[k, c], expected[0], atol=1e-11)
                np.testing.assert_allclose(after.weights[k, c], expected[1:], atol=1e-11)
                np.testing.assert_allclose(after.variances[k, c], w @ (target - design @ expected) ** 2, rtol=1e-10)
        else:
            mean = w @ values[0]
            covariance = (values[0] - mean).T @ ((values[0] - mean) * w[:, None])
            np.testing.assert_allclose(after.means[k], mean, rtol=1e-11)
            np.testing.assert_allclose(after.covars[k], covariance if family == "full" else np.diag(covariance), rtol=1e-10)


def test_rows_condition_on_the_steps_before_those_they_own(random_model: Any, block_of: Any) -> None:
    model = random_model("autoregressive")
    series = np.random.default_rng(0).normal(size=(30, 2))
    rows = block_of(np.stack([series[:20], series[10:]]), own_start=[0, 10], own_stop=[20, 20])
    statistics = model.e_step(rows)
    assert statistics.count == 18 + 10
    rows.values[1, :8] = 1e6  # further back than the order reaches
    assert model.e_step(rows).log_likelihood == statistics.log_likelihood


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_is_never_used(family: str, random_model: Any, block_of: Any) -> None:
    model, values = random_model(family), np.random.default_rng(0).normal(size=(3, 12, 2))
    observed = np.ones(values.shape)
    observed[1, 8:] = 0
    block = block_of(values, own_stop=[12, 8, 12], observed=observed)
    before = model.e_step(block).log_likelihood
    assert owned(block).observed is None
    block.values[1, 8:] = np.nan
    assert model.e_step(block).log_likelihood == before


def test_dependent_regressors_have_the_shortest_solution() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    design = np.stack([x, x, np.zeros(50), rng.normal(size=50)], axis=1)
    solution, residual = regress(design.T @ design)
    np.testing.assert_allclose(solution, np.linalg.lstsq(design[:, :3], design[:, 3], rcond=None)[0], atol=1e-12)
    np.testing.assert_allclose(residual, ((design[:, 3] - design[:, :3] @ solution) ** 2).sum(), rtol=1e-12)
