"""Autoregressive emissions: sums and M-steps against plain NumPy, what is fixed, what is missing, and what is found again."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from hindcast.classical import em, hmm
from hindcast.classical.hmm.emissions.autoregressive import Autoregressive, regress
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import Spans, groups, whole
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.classical.hmm.model import HiddenMarkov

EXACT = {"rtol": 1e-11, "atol": 1e-13}
NAMES = Autoregressive.PARAMETERS


def begun(order: int = 2, **more: Any) -> Any:
    return partial(Autoregressive.begin, variance_floor=1e-6, order=order, **more)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("order", "steps"), [(1, 5), (2, 300), (3, 9), (4, 131), (7, 40), (30, 150)])
def test_sums_are_weighted_products_of_all_pairs(order: int, steps: int, missing: bool) -> None:
    rng = np.random.default_rng(order)
    length = order + np.array([steps, 1, max(1, steps // 2)])
    values = rng.normal(size=(3, length.max(), 2))
    observed = np.ones(values.shape, np.uint8)
    if missing:
        observed[0, order + 1 :: 3, 1] = 0
        observed[2, :, 0] = 0
    zero = np.zeros(3, int)
    spans = Spans(values, observed if missing else None, np.arange(3), zero, zero, length)
    emission = Autoregressive(np.zeros((2, 2)), np.zeros((2, 2, order)), np.ones((2, 2)), np.zeros(2))
    group = next(groups(spans, order, emission.centre))
    gamma = rng.random((group.steps, 2, LANES)) * (np.arange(group.steps)[:, None, None] < group.lengths)
    sums = emission.no_sums()
    emission.add_sums(group, gamma, sums)
    expected = np.zeros((2, 2, order + 2, order + 2))
    for lane, row in enumerate(group.members[:3]):
        for t, k, c in np.ndindex(int(group.lengths[lane]), 2, 2):
            near = np.concatenate([[1.0], values[row, t : t + order + 1, c]])
            expected[k, c] += gamma[t, k, lane] * scored(observed[row, t : t + order + 1, c]) * np.outer(near, near)
    np.testing.assert_allclose(emission.statistics(sums).gram, expected, rtol=1e-11, atol=1e-11)


def scored(observed: np.ndarray) -> Any:
    """Whether a value has a density, of what was observed of its history and itself (order + 1, ...)."""
    return observed.min(axis=0)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_enumeration_of_paths(missing: float, oracle: Any, random_model: Any) -> None:
    model, rng = random_model("autoregressive"), np.random.default_rng(1)
    values = rng.normal(size=(5, 8, 2))
    observed = (rng.random(values.shape) >= missing).astype(np.uint8)
    spans = whole(np.where(observed, values, 1e3), observed)
    densities = [oracle.log_density(model.emission, *row) for row in zip(values, observed.astype(float), strict=True)]
    expected = [oracle.enumerate(model.start, model.transition, density) for density in densities]
    for group, gamma, likelihood in smoothed(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(gamma[:, :, lane], expected[row].smoothed, **EXACT)
    for group, _, log_probability in decoded(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_allclose(log_probability[lane], expected[row].log_probability, **EXACT)


def test_what_stands_where_a_value_is_missing_has_no_effect(random_model: Any) -> None:
    model, rng = random_model("autoregressive"), np.random.default_rng(0)
    values, observed = rng.normal(size=(3, 40, 2)), (rng.random((3, 40, 2)) > 0.1).astype(np.uint8)
    once = model.e_step(whole(values, observed))
    again = model.e_step(whole(np.where(observed, values, -1e6), observed))
    assert once.log_likelihood == again.log_likelihood
    np.testing.assert_array_equal(once.emission.gram, again.emission.gram)
    zeros = whole(np.where(observed, values, 0.0), observed)
    filled = [initialise(begun(), spans, 2, order=2).emission for spans in (zeros, whole(values, observed))]
    for name in NAMES:
        np.testing.assert_array_equal(getattr(filled[0], name), getattr(filled[1], name), err_msg=name)


def test_values_after_a_gap_are_conditioned_on_as_those_of_a_new_sequence(random_model: Any) -> None:
    model = random_model("autoregressive", states=1)
    values, observed = np.random.default_rng(0).normal(size=(1, 20, 2)), np.ones((1, 20, 2), np.uint8)
    observed[0, 9] = 0
    apart = model.e_step(whole(values[:, :9])).log_likelihood + model.e_step(whole(values[:, 10:])).log_likelihood
    np.testing.assert_allclose(model.e_step(whole(values, observed)).log_likelihood, apart, rtol=1e-12)


@pytest.mark.parametrize("fixed", [some for n in range(4) for some in itertools.combinations(NAMES, n)])
def test_an_m_step_is_least_squares_of_what_is_not_fixed(fixed: tuple[str, ...], random_model: Any) -> None:
    model, values = random_model("autoregressive", order=3), np.random.default_rng(0).normal(size=(1, 60, 2))
    model = replace(model, emission=replace(model.emission, fixed=frozenset(fixed)))
    before, after = model.emission, model.m_step(model.e_step(whole(values))).emission
    gamma = next(smoothed(model, whole(values)))[1][:, :, 0]
    for k, c in np.ndindex(3, 2):
        w, target = gamma[:, k], values[0, 3:, c]
        design = np.stack([np.ones(57), *(values[0, lag : 57 + lag, c] for lag in range(3))], axis=1)
        coefficients = np.concatenate([before.intercepts[k, [c]], before.weights[k, c]])
        free = np.array(["intercepts" not in fixed] + ["weights" not in fixed] * 3)
        rest, root = target - design[:, ~free] @ coefficients[~free], np.sqrt(w)
        coefficients[free] = np.linalg.lstsq(design[:, free] * root[:, None], rest * root, rcond=None)[0]
        np.testing.assert_allclose(after.intercepts[k, c], coefficients[0], atol=1e-11)
        np.testing.assert_allclose(after.weights[k, c], coefficients[1:], atol=1e-11)
        variance = w @ (target - design @ coefficients) ** 2 / w.sum()
        np.testing.assert_allclose(
            after.variances[k, c], before.variances[k, c] if "variances" in fixed else variance, rtol=1e-10
        )
    for name in fixed:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("fixed", [some for n in range(3) for some in itertools.combinations(NAMES, n)])
def test_the_likelihood_never_falls_whatever_is_fixed(fixed: tuple[str, ...], missing: bool, random_model: Any) -> None:
    values = np.random.default_rng(0).normal(size=(4, 50, 2)).cumsum(axis=1) * 0.3
    observed = (np.random.default_rng(3).random(values.shape) > 0.1).astype(np.uint8) if missing else None
    model, before = random_model("autoregressive"), -np.inf
    model = replace(model, emission=replace(model.emission, fixed=frozenset(fixed)))
    for _ in range(25):
        statistics = model.e_step(whole(values, observed))
        assert statistics.log_likelihood >= before - 1e-11 * abs(before)
        model, before = model.m_step(statistics), statistics.log_likelihood


def test_what_was_sampled_is_found_again_within_three_standard_errors() -> None:
    intercepts, variances = np.array([[0.5, -1.0], [2.0, 1.0]]), np.array([[0.04, 0.25], [1.0, 0.09]])
    weights = np.array([[[-0.5, 0.3], [0.1, 0.7]], [[0.2, -0.6], [-0.3, -0.2]]])
    truth = Autoregressive(intercepts, weights, variances, np.zeros(2))
    rng = np.random.default_rng(0)
    states = np.zeros(8000, int)
    for t in range(1, len(states)):
        states[t] = rng.random() < (0.02 if states[t - 1] == 0 else 0.97)
    spans = whole(truth.sample(states, rng)[None])
    fitted, _ = em.fit(initialise(begun(), spans, 2, order=2), [spans], iterations=200, tolerance=1e-9)
    sums, order = fitted.e_step(spans).emission.gram, np.argsort(fitted.emission.variances[:, 0])
    found = fitted.emission.permuted(order)
    for k, c in np.ndindex(2, 2):
        gram = sums[order[k], c]
        error = np.sqrt(found.variances[k, c] * np.diag(np.linalg.inv(gram[:-1, :-1])))
        assert (np.abs(found.weights[k, c] - weights[k, c]) < 3 * error[1:]).all()
        assert abs(found.intercepts[k, c] - intercepts[k, c]) < 3 * error[0]
        assert abs(found.variances[k, c] / variances[k, c] - 1) < 3 * np.sqrt(2 / gram[0, 0])
    _, path = next(next(group.each(path)) for group, path, _ in decoded(fitted, spans))
    assert (order[states[2:]] == path).mean() > 0.97


def driven(seed: int) -> np.ndarray:
    x, noise = np.zeros((600, 1)), np.random.default_rng(seed).normal(size=(600, 1))
    for t in range(1, len(x)):
        x[t] = 0.8 * x[t - 1] + noise[t]
    return x


def raised_by(model: Any, level: float) -> Any:
    """The same regressions of readings that lie so much higher."""
    return replace(model, emission=raised_emission(model.emission, level))


def raised_emission(emission: Autoregressive, level: float) -> Autoregressive:
    return replace(emission, intercepts=emission.intercepts + (1 - emission.weights.sum(axis=-1)) * level)


@pytest.mark.parametrize("level", [1e6, -1e7])
@pytest.mark.parametrize("seed", range(6))
def test_readings_far_from_zero_are_fitted_as_those_about_it(level: float, seed: int) -> None:
    X = driven(seed)
    near, far = (
        hmm.AutoregressiveHMM(2, order=3, random_state=0, n_iter=30, tol=1e-6).fit(x).parameters_ for x in (X, X + level)
    )
    raised = raised_by(far, -level)
    np.testing.assert_allclose(raised.transition, near.transition, atol=1e-5)
    for name in NAMES:
        np.testing.assert_allclose(getattr(raised.emission, name), getattr(near.emission, name), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("fixed", [(), ("weights",), ("intercepts", "weights"), ("weights", "variances")])
def test_what_is_fixed_is_of_the_readings_themselves(fixed: tuple[str, ...], random_model: Any) -> None:
    model, values = random_model("autoregressive", order=3), np.random.default_rng(0).normal(size=(1, 60, 2))
    model = replace(model, emission=replace(model.emission, fixed=frozenset(fixed)))
    near = model.m_step(model.e_step(whole(values))).emission
    raised = raised_by(model, 1e6)
    far = raised.m_step(raised.e_step(whole(values + 1e6))).emission
    for name in NAMES:
        np.testing.assert_allclose(getattr(raised_emission(far, -1e6), name), getattr(near, name), atol=1e-6, err_msg=name)


@pytest.mark.parametrize("level", [0.0, 300.0])
def test_weights_beside_a_fixed_intercept_are_least_squares(level: float, random_model: Any) -> None:
    values = np.random.default_rng(0).normal(size=(1, 60, 2)) + level
    model = raised_by(random_model("autoregressive", order=3), level)
    model = replace(model, emission=replace(model.emission, fixed=frozenset({"intercepts"})))
    after, gamma = model.m_step(model.e_step(whole(values))).emission, next(smoothed(model, whole(values)))[1][:, :, 0]
    for k, c in np.ndindex(3, 2):
        root = np.sqrt(gamma[:, k])
        past = np.stack([values[0, lag : 57 + lag, c] for lag in range(3)], axis=1)
        rest = values[0, 3:, c] - model.emission.intercepts[k, c]
        expected = np.linalg.lstsq(past * root[:, None], rest * root, rcond=None)[0]
        np.testing.assert_allclose(after.weights[k, c], expected, atol=1e-9)
        variance = gamma[:, k] @ (rest - past @ expected) ** 2 / gamma[:, k].sum()
        np.testing.assert_allclose(after.variances[k, c], variance, rtol=1e-8)


@pytest.mark.parametrize("weight", [1.0, 1 + 1e-15, 1 - 1e-7, 1.5, -3.0, 1e200, np.inf, np.nan])
@pytest.mark.parametrize("intercept", [0.0, 1e7, -1e300])
def test_the_centre_is_finite_whatever_the_regressions_are(weight: float, intercept: float) -> None:
    emission = Autoregressive(np.full((2, 1), intercept), np.full((2, 1, 1), weight), np.array([[1e-9], [4.0]]), np.zeros(1))
    assert np.isfinite(emission.centre).all()


def test_the_centre_is_the_level_unless_nothing_says_it() -> None:
    emission = Autoregressive(np.array([[2e6, 0.5]]), np.array([[[0.5, 0.3], [0.5, 0.5]]]), np.ones((1, 2)), np.zeros(2))
    np.testing.assert_allclose(emission.centre, [1e7, 0.0], rtol=1e-8)
    anchored = emission.anchored().moved(intercepts=np.zeros((1, 2)))
    np.testing.assert_array_equal(anchored.centre, emission.centre)


def test_online_em_and_products_far_from_zero() -> None:
    X = np.concatenate([driven(seed) for seed in range(10)])
    lengths = [600] * 10
    online = [hmm.AutoregressiveHMM(2, order=2, random_state=0).fit_online(x, lengths, batches=5) for x in (X, X + 1e6)]
    parts = [(hmm.AutoregressiveHMM(order=2), [1]), (hmm.GaussianHMM(), [0])]
    pairs = (np.column_stack([driven(9), x]) for x in (driven(1), driven(1) + 1e6))
    product = [hmm.ProductHMM(2, parts, n_iter=10, random_state=0).fit(pair).parameters_.emission.parts[0] for pair in pairs]
    for near, far in ([one.parameters_.emission for one in online], product):
        for name in NAMES:
            np.testing.assert_allclose(getattr(raised_emission(far, -1e6), name), getattr(near, name), atol=1e-5, err_msg=name)


def test_the_statistics_of_parts_add_up(random_model: Any) -> None:
    model, values = random_model("autoregressive"), np.random.default_rng(0).normal(size=(40, 9, 2))
    together = model.e_step(whole(values)).emission.gram
    parts = [model.e_step(whole(part)).emission for part in np.array_split(values, 3)]
    np.testing.assert_allclose((parts[0] + parts[1] + parts[2]).gram, together, rtol=1e-12, atol=1e-12)


def test_a_channel_that_is_always_missing_keeps_its_regression(random_model: Any) -> None:
    model, values = random_model("autoregressive"), np.random.default_rng(0).normal(size=(3, 20, 2))
    observed = np.ones(values.shape, np.uint8)
    observed[:, :, 1] = 0
    after = model.m_step(model.e_step(whole(values, observed))).emission
    alone = replace(model, emission=Autoregressive(*(getattr(model.emission, name)[:, :1] for name in NAMES), np.full(1, 1e-9)))
    again = alone.m_step(alone.e_step(whole(np.ascontiguousarray(values[:, :, :1])))).emission
    for name in NAMES:
        np.testing.assert_array_equal(getattr(after, name)[:, 1], getattr(model.emission, name)[:, 1])
        np.testing.assert_allclose(getattr(after, name)[:, 0], getattr(again, name)[:, 0], rtol=1e-10, err_msg=name)


def test_states_begin_by_how_badly_what_was_measured_fits() -> None:
    rng = np.random.default_rng(0)
    deviation = np.where(np.arange(400) < 200, 1.0, 5.0)
    values = (rng.normal(size=(400, 2)) * deviation[:, None])[None]
    observed = np.ones(values.shape, np.uint8)
    observed[0, 200:, 1] = 0
    observed[0, 300:302] = 0
    labels = initialise(begun(1), whole(values, observed), 2, order=1).emission
    assert np.sort(labels.variances[:, 0])[1] > 10 * np.sort(labels.variances[:, 0])[0]
    one = Autoregressive(np.zeros((1, 2)), np.zeros((1, 2, 1)), np.full((1, 2), 9.0), np.zeros(2))
    found = one.first_states(whole(values, observed).after_history(1), 2, rng)[0]
    assert (found[10:190] == 0).mean() > 0.9
    assert (found[210:] == 1).mean() > 0.9


def test_a_constant_channel_is_held_at_the_floor_and_reported() -> None:
    values = np.stack([np.random.default_rng(0).normal(size=60), np.full(60, 7.0)], axis=1)[None]
    fitted, _ = em.fit(initialise(begun(), whole(values), 1, order=2), [whole(values)], iterations=5, tolerance=0.0)
    np.testing.assert_allclose(fitted.emission.variances[0, 1], 1e-6)
    assert fitted.emission.repairs == ("1 variances were raised to the floor",)
    held = replace(fitted.emission, fixed=frozenset({"variances"}))
    assert held.m_step(fitted.e_step(whole(values)).emission).repairs == ()


def test_dependent_regressors_have_the_shortest_solution_beside_those_that_are_kept() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    design = np.stack([y, x, x, np.zeros(50), rng.normal(size=50)], axis=1)
    solution, residual = regress(design.T @ design, np.array([3.0, 9.0, 9.0, 9.0]), np.array([False, True, True, True]))
    target = design[:, 4] - 3.0 * y
    expected = np.linalg.lstsq(design[:, 1:4], target, rcond=None)[0]
    np.testing.assert_allclose(solution, [3.0, *expected], atol=1e-12)
    np.testing.assert_allclose(residual, ((target - design[:, 1:4] @ expected) ** 2).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"variances": np.array([[1.0], [0.0]])}, r"variances of state 1: expected variances above 0, found \[0.0\]"),
        ({"weights": np.full((2, 1, 3), np.nan)}, r"weights of state 0: expected finite numbers"),
        ({"weights": np.zeros((2, 1))}, r"weights: found shape \(2, 1\), expected \(states, channels, order\)"),
        ({"intercepts": np.zeros((3, 1))}, r"intercepts: found shape \(3, 1\) for weights of shape \(2, 1, 2\)"),
    ],
)
def test_a_fault_names_the_state(change: dict[str, np.ndarray], told: str) -> None:
    emission = Autoregressive(np.zeros((2, 1)), np.zeros((2, 1, 2)), np.ones((2, 1)), np.zeros(1))
    assert emission.fault is None
    with pytest.raises(ValueError, match=told):
        raise ValueError(replace(emission, **change).fault)


def test_samples_go_on_from_a_history() -> None:
    emission = Autoregressive(np.array([[1.0]]), np.array([[[0.5, 0.0]]]), np.full((1, 1), 1e-30), np.zeros(1))
    found = emission.sample(np.zeros(3, int), np.random.default_rng(0), np.array([[4.0], [8.0]]))
    np.testing.assert_allclose(found[:, 0], [3.0, 5.0, 2.5])


def test_states_and_their_regressions_are_permuted_together(random_model: Any) -> None:
    model, order = random_model("autoregressive"), np.array([2, 0, 1])
    spans = whole(np.random.default_rng(0).normal(size=(3, 12, 2)))
    permuted: HiddenMarkov[Any] = model.permuted(order)
    then, again = model.m_step(model.e_step(spans)).permuted(order), permuted.m_step(permuted.e_step(spans))
    for name in NAMES:
        np.testing.assert_allclose(getattr(again.emission, name), getattr(then.emission, name), rtol=1e-8, atol=1e-11)
