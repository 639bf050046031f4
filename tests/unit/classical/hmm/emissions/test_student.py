"""Student emissions: SciPy's densities, the enumeration of all paths, a plain M-step, outliers, and bounds that are reported."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import optimize, special, stats

from hindcast.classical import em
from hindcast.classical.hmm.emissions.student import DOF_MAX, DOF_MIN, Student
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import groups, whole
from hindcast.classical.hmm.kernels.logarithm import log1p_of_positive
from hindcast.classical.hmm.kernels.vector import LANES, load, store
from hindcast.classical.hmm.model import HiddenMarkov

EXACT = {"rtol": 1e-11, "atol": 1e-13}
NAMES = Student.PARAMETERS


def model_of(states: int = 3, channels: int = 2, seed: int = 0) -> HiddenMarkov[Student]:
    rng = np.random.default_rng(seed)
    locations, scales = rng.normal(0, 2, (states, channels)), rng.uniform(0.3, 2, (states, channels))
    emission = Student(locations, scales, rng.uniform(0.8, 30, (states, channels)), np.full(channels, 1e-6))
    return HiddenMarkov(rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states), emission)


def readings(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(2.0, shape) * 2


def log_density(emission: Student, values: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """(steps, states), by SciPy."""
    each = stats.t.logpdf(values[:, None], emission.dofs, emission.locations, emission.scales)
    return (each if observed is None else np.where(observed[:, None] > 0, each, 0.0)).sum(axis=-1)


@njit
def _log1p(x: Any, out: Any) -> None:
    for row in range(len(x)):
        store(out, (row,), log1p_of_positive(load(x, (row,))))


def test_log1p_is_right_to_the_last_digits_over_the_whole_range() -> None:
    x = np.concatenate([[0.0, 1e-300, 1.0, np.sqrt(2) - 1, 2.0**52, 1e299], np.logspace(-18, 30, 16_000 - 6)]).reshape(-1, LANES)
    found = np.empty_like(x)
    _log1p(x, found)
    np.testing.assert_allclose(found, np.log1p(x), rtol=8e-16)


@pytest.mark.parametrize("dof", [DOF_MIN, 1.0, 3.7, 30.0, DOF_MAX])
def test_densities_are_those_of_scipy(dof: float) -> None:
    values = np.concatenate([np.linspace(-9, 9, 900), [1e-9, 1e4, -1e8]])[None, :, None]
    emission = Student(np.array([[0.3]]), np.array([[0.7]]), np.array([[dof]]), np.zeros(1))
    group = next(groups(whole(values), 0, emission.centre))
    out = np.empty((group.steps, 1, LANES))
    emission.log_density(group, out)
    expected = stats.t.logpdf(values[0, :, 0], dof, 0.3, 0.7)
    np.testing.assert_allclose(out[:, 0, 0], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("missing", [False, True])
def test_the_enumeration_of_paths_and_a_plain_m_step(missing: bool, oracle: Any) -> None:
    model, values = model_of(), readings((5, 7, 2))
    observed = np.random.default_rng(2).integers(0, 2, values.shape) if missing else np.ones(values.shape, int)
    spans = whole(values, observed.astype(np.uint8) if missing else None)
    densities = [log_density(model.emission, *pair) for pair in zip(values, observed, strict=True)]
    expected = [oracle.enumerate(model.start, model.transition, density) for density in densities]
    for group, gamma, likelihood in smoothed(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(gamma[:, :, lane], expected[row].smoothed, **EXACT)
    for group, path, log_probability in decoded(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_array_equal(path[:, lane], expected[row].path)
            np.testing.assert_allclose(log_probability[lane], expected[row].log_probability, **EXACT)
    after = model.m_step(model.e_step(spans)).emission
    weight = np.stack([one.smoothed for one in expected])
    for k, c in np.ndindex(3, 2):
        location, scale, dof = (getattr(model.emission, name)[k, c] for name in NAMES)
        w, x = (weight[:, :, k] * observed[:, :, c]).ravel(), values[:, :, c].ravel()
        u = (dof + 1) / (dof + ((x - location) / scale) ** 2)
        new = (w * u) @ x / (w @ u)
        np.testing.assert_allclose(after.locations[k, c], new, rtol=1e-10)
        np.testing.assert_allclose(after.scales[k, c], np.sqrt((w * u) @ (x - new) ** 2 / (w @ u)), rtol=1e-10)
        hidden = np.log(u) + special.digamma((dof + 1) / 2) - np.log((dof + 1) / 2)
        excess = np.log(w @ u / w.sum()) - w @ hidden / w.sum()
        solved = optimize.brentq(lambda n: np.log(n / 2) - special.digamma(n / 2) - excess, 1e-2, 1e4, xtol=1e-12, rtol=1e-14)  # noqa: B023
        np.testing.assert_allclose(after.dofs[k, c], min(solved, DOF_MAX), rtol=1e-8)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("fixed", [some for n in range(3) for some in itertools.combinations(NAMES, n)])
def test_the_likelihood_never_falls_whatever_is_fixed(fixed: tuple[str, ...], missing: bool) -> None:
    values = readings((6, 40, 2))
    values[2, 5] = 1e4
    observed = (np.random.default_rng(3).random(values.shape) > 0.3).astype(np.uint8) if missing else None
    begun = model_of()
    model, before = replace(begun, emission=replace(begun.emission, fixed=frozenset(fixed))), -np.inf
    for _ in range(30):
        statistics = model.e_step(whole(values, observed))
        assert statistics.log_likelihood >= before - 1e-11 * abs(before)
        model, before = model.m_step(statistics), statistics.log_likelihood
    for name in NAMES:
        same = np.array_equal(getattr(model.emission, name), getattr(begun.emission, name))
        assert same == (name in fixed), name


@pytest.mark.parametrize("floor", [1.5, 5.0])
def test_the_likelihood_never_falls_where_scales_meet_the_floor(floor: float) -> None:
    begun, before = model_of(), -np.inf
    emission = replace(begun.emission, floor=np.full(2, floor), scales=np.maximum(begun.emission.scales, floor))
    model, met = replace(begun, emission=emission), 0
    for _ in range(40):
        statistics = model.e_step(whole(readings((6, 40, 2))))
        assert statistics.log_likelihood >= before - 1e-11 * abs(before)
        model, before = model.m_step(statistics), statistics.log_likelihood
        assert (model.emission.scales >= floor).all()
        met += model.emission.floored
    assert met > 0
    assert (model.emission.scales == floor).sum() == model.emission.floored
    assert f"{model.emission.floored} scales were raised to the floor" in model.emission.repairs


def test_one_state_is_fitted_as_an_optimiser_fits_it() -> None:
    x = stats.t.rvs(3.0, 5.0, 2.0, 800, random_state=np.random.default_rng(0))
    spans = whole(x[None, :, None])
    begun = initialise(partial(Student.begin, variance_floor=1e-6), spans, 1)
    fitted, history = em.fit(begun, [spans], iterations=500, tolerance=1e-13)
    how = {"method": "Nelder-Mead", "options": {"xatol": 1e-9, "fatol": 1e-11}}
    best = optimize.minimize(lambda told: -stats.t.logpdf(x, *told).sum(), stats.t.fit(x), **how)
    np.testing.assert_allclose(history.log_likelihood[-1], -best.fun, rtol=1e-12)
    found = [getattr(fitted.emission, name)[0, 0] for name in ("dofs", "locations", "scales")]
    np.testing.assert_allclose(found, best.x, rtol=1e-5)


def simulated(truth: HiddenMarkov[Student], steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    states = np.zeros(steps, int)
    for t in range(1, steps):
        states[t] = rng.choice(truth.states, p=truth.transition[states[t - 1]])
    return truth.emission.sample(states, rng), states


def test_what_was_sampled_is_found_again_within_three_standard_errors() -> None:
    locations, scales, dofs = (
        np.array([[0.0, 2.0], [9.0, -7.0]]),
        np.array([[1.0, 0.5], [0.6, 1.5]]),
        np.array([[3.0, 8.0], [5.0, 2.0]]),
    )
    chain = np.array([0.5, 0.5]), np.array([[0.97, 0.03], [0.05, 0.95]])
    truth = HiddenMarkov(*chain, Student(locations, scales, dofs, np.zeros(2)))
    values, states = simulated(truth, 12_000, 0)
    spans = whole(values[None])
    begun = initialise(partial(Student.begin, variance_floor=1e-6), spans, 2)
    fitted, _ = em.fit(begun, [spans], iterations=300, tolerance=1e-9)
    found = fitted.permuted(np.argsort(fitted.emission.locations[:, 0])).emission
    n = np.bincount(states)[:, None]
    np.testing.assert_array_less(np.abs(found.locations - locations), 3 * scales * np.sqrt((dofs + 3) / (dofs + 1) / n))
    # Information of log scale and dof (Lange, Little and Taylor 1989, appendix B).
    by_scale, both = 2 * dofs / (dofs + 3), -2 / ((dofs + 1) * (dofs + 3))
    curve = special.polygamma(1, dofs / 2) - special.polygamma(1, (dofs + 1) / 2)
    by_dof = curve / 4 - (dofs + 5) / (2 * dofs * (dofs + 1) * (dofs + 3))
    determinant = by_scale * by_dof - both**2
    np.testing.assert_array_less(np.abs(np.log(found.scales / scales)), 3 * np.sqrt(by_dof / determinant / n))
    np.testing.assert_array_less(np.abs(found.dofs - dofs), 3 * np.sqrt(by_scale / determinant / n))


def test_far_outliers_move_neither_the_states_nor_their_beginning() -> None:
    rng = np.random.default_rng(4)
    states = np.repeat(rng.integers(0, 2, 60), 20)
    values = np.where(states[:, None] == 0, [0.0, 3.0], [6.0, -3.0]) + rng.normal(size=(1200, 2))
    far = rng.random(values.shape) < 0.02
    values[far] = 1e4 * rng.choice([-1, 1], far.sum())
    spans = whole(values[None])
    begun = initialise(partial(Student.begin, variance_floor=1e-6), spans, 2)
    fitted, _ = em.fit(begun, [spans], iterations=100, tolerance=1e-7)
    order = np.argsort(fitted.emission.locations[:, 0])
    np.testing.assert_allclose(fitted.emission.locations[order], [[0.0, 3.0], [6.0, -3.0]], atol=0.2)
    _, path = next(next(group.each(path)) for group, path, _ in decoded(fitted, spans))
    assert (order[states] == path).mean() > 0.99


def test_the_statistics_of_parts_add_up() -> None:
    model, values = model_of(), readings((40, 9, 2))
    together = model.e_step(whole(values)).emission
    parts = [model.e_step(whole(part)).emission for part in np.array_split(values, 3)]
    for name, array in vars(parts[0] + parts[1] + parts[2]).items():
        np.testing.assert_allclose(array, getattr(together, name), rtol=1e-12, atol=1e-12, err_msg=name)


def test_permuted_states_give_permuted_results() -> None:
    model, order, spans = model_of(), np.array([2, 0, 1]), whole(readings((3, 9, 2)))
    permuted = model.permuted(order)
    then, again = model.m_step(model.e_step(spans)).permuted(order), permuted.m_step(permuted.e_step(spans))
    for name in NAMES:
        np.testing.assert_allclose(getattr(again.emission, name), getattr(then.emission, name), rtol=1e-9, err_msg=name)


def test_a_channel_that_is_always_missing_keeps_its_parameters() -> None:
    values, observed = readings((3, 20, 2)), np.ones((3, 20, 2), np.uint8)
    observed[:, :, 1] = 0
    model = model_of()
    after = model.m_step(model.e_step(whole(values, observed))).emission
    alone = replace(model, emission=Student(*(getattr(model.emission, name)[:, :1] for name in NAMES), np.full(1, 1e-6)))
    again = alone.m_step(alone.e_step(whole(values[:, :, :1]))).emission
    for name in NAMES:
        np.testing.assert_array_equal(getattr(after, name)[:, 1], getattr(model.emission, name)[:, 1])
        np.testing.assert_allclose(getattr(after, name)[:, 0], getattr(again, name)[:, 0], rtol=1e-10, err_msg=name)
    begun = initialise(partial(Student.begin, variance_floor=1e-6), whole(values, observed), 2)
    assert begun.emission.fault is None


def test_degrees_of_freedom_at_a_bound_are_reported() -> None:
    uniform = whole(np.linspace(-1, 1, 400)[None, :, None])  # lighter in the tails than any t-distribution
    begun = initialise(partial(Student.begin, variance_floor=1e-6), uniform, 1)
    fitted, _ = em.fit(begun, [uniform], iterations=1000, tolerance=-1.0)
    assert fitted.emission.dofs[0, 0] == DOF_MAX
    assert fitted.emission.repairs == ("1 degrees of freedom are at a bound, 0.1 or 200",)


def test_a_constant_channel_is_held_at_the_floor_and_reported() -> None:
    values = np.concatenate([readings((1, 50, 1)), np.full((1, 50, 1), 7.0)], axis=2)
    begun = initialise(partial(Student.begin, variance_floor=1e-4), whole(values), 1)
    fitted, _ = em.fit(begun, [whole(values)], iterations=5, tolerance=0.0)
    np.testing.assert_allclose(fitted.emission.scales[0, 1], 1e-2)
    assert "1 scales were raised to the floor" in fitted.emission.repairs


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scales": np.array([[1.0], [0.0]])}, r"scales of state 1: expected scales above 0, found \[0.0\]"),
        ({"dofs": np.array([[1.0], [np.nan]])}, r"dofs of state 1: expected degrees of freedom of 0.1 … 200, found \[nan\]"),
        ({"locations": np.array([[np.inf], [0.0]])}, "locations of state 0: expected finite numbers"),
        ({"dofs": np.ones((2, 2))}, r"dofs: expected shape .* found \(2, 2\) for locations of \(2, 1\)"),
    ],
)
def test_a_fault_names_the_state(change: dict[str, np.ndarray], told: str) -> None:
    emission = Student(np.zeros((2, 1)), np.ones((2, 1)), np.ones((2, 1)), np.zeros(1))
    assert emission.fault is None
    with pytest.raises(ValueError, match=told):
        raise ValueError(replace(emission, **change).fault)
