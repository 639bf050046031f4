"""Products of families: what the parts say is added up, whatever they are, wherever their channels lie, whatever is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hindcast.classical import em
from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.mixture import Mixture
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.emissions.product import Product
from hindcast.classical.hmm.emissions.student import Student
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import Spans, groups, whole
from hindcast.classical.hmm.model import HiddenMarkov

EXACT = {"rtol": 1e-11, "atol": 1e-13}
FLOOR = np.full(2, 1e-9)


def family(name: str, rng: np.random.Generator) -> Any:
    """Three states; one channel of symbols, two of anything else."""
    if name == "gaussian":
        return Gaussian(rng.normal(0, 1.5, (3, 2)), rng.uniform(0.3, 1.5, (3, 2)), FLOOR)
    if name == "student":
        return Student(rng.normal(0, 1.5, (3, 2)), rng.uniform(0.3, 1.5, (3, 2)), rng.uniform(1, 9, (3, 2)), FLOOR)
    if name == "poisson":
        return Poisson(rng.uniform(0.2, 9, (3, 2)), prior_counts=2.0, prior_steps=1.0)
    if name == "autoregressive":
        return Autoregressive(rng.normal(size=(3, 2)), rng.uniform(-0.4, 0.4, (3, 2, 2)), rng.uniform(0.3, 1, (3, 2)), FLOOR)
    return Categorical(rng.dirichlet(np.ones(4), 3))


PAIRS = [("gaussian", "poisson"), ("categorical", "student"), ("autoregressive", "categorical"), ("poisson", "autoregressive")]
SPLITS = {3: ((0, 2), (1,)), 4: ((3, 0), (1, 2))}


def model_of(names: tuple[str, ...], seed: int = 0, **more: Any) -> HiddenMarkov[Product]:
    rng = np.random.default_rng(seed)
    parts = tuple(family(name, rng) for name in names)
    columns = SPLITS[sum(part.channels for part in parts)]
    if len(columns[0]) != parts[0].channels:
        columns = columns[::-1]
    return HiddenMarkov(rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), 3), Product(parts, columns, **more))


def readings(model: HiddenMarkov[Product], rows: int, steps: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([model.emission.sample(rng.integers(0, 3, steps), rng) for _ in range(rows)])


def log_density(part: Any, values: np.ndarray, observed: np.ndarray, order: int) -> np.ndarray:
    """(steps after `order`, states), by SciPy."""
    now = values[order:, None]
    if isinstance(part, Gaussian):
        each = stats.norm.logpdf(now, part.means, np.sqrt(part.covars))
    elif isinstance(part, Student):
        each = stats.t.logpdf(now, part.dofs, part.locations, part.scales)
    elif isinstance(part, Poisson):
        each = stats.poisson.logpmf(now, part.rates)
    elif isinstance(part, Autoregressive):
        past = np.stack([values[order - 2 : -2], values[order - 1 : -1]], axis=-1)[:, None]
        each = stats.norm.logpdf(now, part.intercepts + (part.weights * past).sum(axis=-1), np.sqrt(part.variances))
    else:
        each = np.log(part.probabilities.T[values[order:, 0].astype(int)])[:, :, None]
    near = np.lib.stride_tricks.sliding_window_view(observed[order - part.order :], part.order + 1, axis=0).min(axis=-1)
    return np.where(near[:, None] > 0, each, 0.0).sum(axis=-1)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("names", PAIRS)
def test_the_enumeration_of_paths(names: tuple[str, ...], missing: bool, oracle: Any) -> None:
    model = model_of(names)
    emission, values = model.emission, readings(model, 5, 8)
    order = emission.order
    assert order == (2 if "autoregressive" in names else 0)
    observed = np.ones(values.shape, np.uint8)
    if missing:
        observed = (np.random.default_rng(2).random(values.shape) > 0.3).astype(np.uint8)
    spans = whole(values, observed if missing else None)
    densities = [
        sum(
            log_density(part, values[r][:, c], observed[r][:, c], order)
            for part, c in zip(emission.parts, map(list, emission.columns), strict=True)
        )
        for r in range(5)
    ]
    expected = [oracle.enumerate(model.start, model.transition, density) for density in densities]
    for group, gamma, likelihood in smoothed(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(gamma[:, :, lane], expected[row].smoothed, **EXACT)
    for group, path, _ in decoded(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_array_equal(path[:, lane], expected[row].path)


@pytest.mark.parametrize("names", PAIRS)
def test_an_m_step_is_that_of_each_part(names: tuple[str, ...]) -> None:
    model = model_of(names)
    emission, values = model.emission, readings(model, 4, 30)
    order, spans = emission.order, whole(values)
    after = model.m_step(model.e_step(spans)).emission
    for i, (part, columns) in enumerate(zip(emission.parts, emission.columns, strict=True)):
        alone = Spans(np.ascontiguousarray(values[:, :, columns]), None, spans.row, spans.first, spans.start + order, spans.stop)
        sums = part.no_sums()
        for (_, gamma, _), group in zip(smoothed(model, spans), groups(alone, part.order, part.centre), strict=True):
            part.add_sums(group, gamma, sums)
        expected = part.m_step(part.statistics(sums))
        for name in part.PARAMETERS:
            np.testing.assert_allclose(
                getattr(after.parts[i], name), getattr(expected, name), rtol=1e-9, atol=1e-12, err_msg=name
            )


@pytest.mark.parametrize("names", PAIRS)
def test_the_likelihood_with_the_priors_never_falls(names: tuple[str, ...]) -> None:
    truth = model_of(names)
    values = readings(truth, 4, 40)
    observed = (np.random.default_rng(3).random(values.shape) > 0.2).astype(np.uint8)
    model, before = model_of(names, seed=7), -np.inf
    for _ in range(20):
        statistics = model.e_step(whole(values, observed))
        now = statistics.log_likelihood + model.log_prior
        assert now >= before - 1e-10 * abs(now)
        model, before = model.m_step(statistics), now


def test_what_is_fixed_of_a_part_stays() -> None:
    model = model_of(("gaussian", "poisson"), fixed=frozenset({"0.means"}))
    emission, statistics = model.emission, model.e_step(whole(readings(model, 4, 30)))
    after = model.m_step(statistics).emission
    np.testing.assert_array_equal(after.parts[0].means, emission.parts[0].means)
    assert not np.allclose(after.parts[0].covars, emission.parts[0].covars)
    assert not np.allclose(after.parts[1].rates, emission.parts[1].rates)
    assert (after.fixed, after.parts[0].fixed) == (emission.fixed, frozenset())
    itself = replace(
        emission, fixed=frozenset(), parts=(emission.parts[0], replace(emission.parts[1], fixed=frozenset({"rates"})))
    )
    np.testing.assert_array_equal(itself.m_step(statistics.emission).parts[1].rates, emission.parts[1].rates)
    assert replace(emission, fixed=frozenset({"parts"})).m_step(statistics.emission).parts is emission.parts


@pytest.mark.parametrize("names", PAIRS)
def test_permuted_states_give_permuted_results_and_parts_of_the_data_add_up(names: tuple[str, ...]) -> None:
    model, order = model_of(names), np.array([2, 0, 1])
    values = readings(model, 40, 9)
    permuted, a = model.permuted(order), model.e_step(whole(values))
    b = permuted.e_step(whole(values))
    np.testing.assert_allclose(permuted.emission.landmarks, model.emission.landmarks[order])
    np.testing.assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-12)
    thirds = [model.e_step(whole(part)) for part in np.array_split(values, 3)]
    summed = model.m_step(thirds[0] + thirds[1] + thirds[2]).emission.arrays()
    then, again = model.m_step(a).permuted(order).emission.arrays(), permuted.m_step(b).emission.arrays()
    for name, array in model.m_step(a).emission.arrays().items():
        np.testing.assert_allclose(summed[name], array, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(again[name], then[name], rtol=1e-8, atol=1e-11, err_msg=name)


def test_states_that_no_part_tells_apart_alone_are_found_from_what_both_say() -> None:
    rng = np.random.default_rng(0)
    states = np.repeat(rng.integers(0, 3, 200), 10)
    means, rates, noise = np.array([0.0, 0.0, 6.0]), np.array([2.0, 20.0, 20.0]), rng.normal(size=(2000, 2))
    values = np.column_stack([rng.normal(means[states]), noise[:, 0], rng.poisson(rates[states]), noise[:, 1]])
    begin = partial(
        Product.begin,
        parts=[
            partial(Gaussian.begin, variance_floor=1e-6),
            Poisson.begin,
            partial(Student.begin, variance_floor=1e-6),
        ],
        columns=[[0, 1], [2], [3]],  # the last says nothing of the state
    )
    spans = whole(values[None])
    begun = initialise(begin, spans, 3)
    fitted, _ = em.fit(begun, [spans], iterations=50, tolerance=1e-8)
    _, path = next(next(group.each(path)) for group, path, _ in decoded(fitted, spans))
    of_truth = [np.bincount(path[states == k], minlength=3) for k in range(3)]
    assert sorted(np.argmax(of_truth, axis=1)) == [0, 1, 2]
    assert sum(np.max(of_truth, axis=1)) > 0.99 * len(states)
    order = np.argmax(of_truth, axis=1)
    n = np.bincount(states)
    found = fitted.emission.permuted(order)
    np.testing.assert_array_less(np.abs(found.parts[0].means[:, 0] - means), 3 / np.sqrt(n))
    np.testing.assert_array_less(np.abs(found.parts[1].rates[:, 0] - rates), 3 * np.sqrt(rates / n))


def test_components_of_a_part_begin_as_different() -> None:
    rng = np.random.default_rng(0)
    states, component = np.repeat(rng.integers(0, 2, 100), 10), rng.integers(0, 2, 1000)
    means = np.array([[-4.0, 4.0], [0.0, 9.0]])
    values = np.column_stack([rng.poisson(np.where(states == 0, 2.0, 9.0)), rng.normal(means[states, component])])
    parts = [Poisson.begin, partial(Mixture.begin, components=2, variance_floor=1e-6)]
    spans = whole(values[None].astype(float))
    begun = initialise(partial(Product.begin, parts=parts, columns=[[0], [1]]), spans, 2)
    fitted, _ = em.fit(begun, [spans], iterations=100, tolerance=1e-9)
    found = fitted.permuted(np.argsort(fitted.emission.parts[0].rates[:, 0])).emission.parts[1]
    np.testing.assert_allclose(np.sort(found.means[:, :, 0], axis=1), means, atol=0.3)


def test_regimes_of_a_regression_and_of_symbols_are_found_together() -> None:
    truth = model_of(("autoregressive", "categorical"))
    auto = Autoregressive(np.zeros((2, 2)), np.array([[[0.0, 0.8]] * 2, [[0.0, -0.8]] * 2]), np.ones((2, 2)), FLOOR)
    emission = Product((auto, Categorical(np.array([[0.9, 0.1], [0.2, 0.8]]))), truth.emission.columns)
    rng = np.random.default_rng(1)
    states = np.repeat(rng.integers(0, 2, 60), 25)
    begin = partial(
        Product.begin,
        parts=[partial(Autoregressive.begin, variance_floor=1e-6, order=2), partial(Categorical.begin, symbols=2)],
        columns=emission.columns,
    )
    spans = whole(emission.sample(states, rng)[None])
    fitted, _ = em.fit(initialise(begin, spans, 2, order=2), [spans], iterations=60, tolerance=1e-8)
    _, path = next(next(group.each(path)) for group, path, _ in decoded(fitted, spans))
    agree = (path == states[2:]).mean()
    assert max(agree, 1 - agree) > 0.95


def test_a_part_of_which_nothing_is_measured_says_nothing() -> None:
    model = model_of(("gaussian", "poisson"))
    values = readings(model, 3, 20)
    observed = np.ones(values.shape, np.uint8)
    observed[:, :, list(model.emission.columns[1])] = 0
    statistics = model.e_step(whole(values, observed))
    alone = replace(model, emission=model.emission.parts[0]).e_step(
        whole(np.ascontiguousarray(values[:, :, model.emission.columns[0]]))
    )
    np.testing.assert_allclose(statistics.log_likelihood, alone.log_likelihood, rtol=1e-12)
    flat = replace(model.emission.parts[1], prior_counts=0.0, prior_steps=0.0)
    np.testing.assert_array_equal(flat.m_step(statistics.emission[1]).rates, flat.rates)


def test_repairs_and_faults_name_the_part() -> None:
    emission = model_of(("gaussian", "poisson")).emission
    gaussian, poisson = emission.parts
    assert emission.fault is None
    negative = replace(poisson, rates=poisson.rates * np.array([[1], [-1], [1]]))
    cases = {
        "part 1: state 1: expected rates of 0 or more": replace(emission, parts=(gaussian, negative)),
        "part 1: found 2 states, expected 3": replace(emission, parts=(gaussian, poisson.permuted(np.array([0, 1])))),
        "part 0: found 1 columns for its 2 channels": replace(emission, columns=((0,), (1, 2))),
        "columns: expected each of 0 … 3 once": replace(emission, columns=((0, 1), (1, 2))),
        "expected columns for each part": replace(emission, columns=((0, 1),)),
        "fixed: found 1.means, expected some of 0.covars, 0.means, 1.rates, parts": replace(
            emission, fixed=frozenset({"1.means"})
        ),
    }
    for told, wrong in cases.items():
        assert str(wrong.fault).startswith(told), wrong.fault
    student = Student(np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1)), np.ones(1), floored=1)
    assert Product((student,), ((0,),)).repairs == ("part 0: 1 scales were raised to the floor",)
