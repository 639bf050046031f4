"""Counts and symbols: the enumeration of all paths, printed values, hmmlearn, and readings that cannot be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hindcast.classical import em
from hindcast.classical.hmm import CategoricalHMM, PoissonHMM
from hindcast.classical.hmm.emissions.categorical import Categorical, shares
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import Group, Spans, whole
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.prep.errors import InputError

hmmlearn = pytest.importorskip("hmmlearn.hmm")
EXACT = {"rtol": 1e-11, "atol": 1e-13}
LENGTHS = [40, 1, 25, 34]


def model_of(family: str, seed: int = 0) -> HiddenMarkov[Any]:
    rng = np.random.default_rng(seed)
    start, transition = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), 3)
    if family == "categorical":
        probabilities = rng.dirichlet(np.ones(4), 3)
        probabilities[0, 2] = 0.0
        return HiddenMarkov(start, transition, Categorical(probabilities / probabilities.sum(axis=1, keepdims=True)))
    return HiddenMarkov(start, transition, Poisson(rng.uniform(0.2, 9, (3, 2))))


def readings(family: str, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, (*shape, 1)) if family == "categorical" else rng.poisson(4.0, (*shape, 2))


def log_density(emission: Any, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(steps, states), from SciPy's tables of logarithms."""
    with np.errstate(divide="ignore"):
        if isinstance(emission, Poisson):
            each = stats.poisson.logpmf(values[:, None], emission.rates)
        else:
            each = np.log(emission.probabilities.T[values.astype(int)[:, 0]])[:, :, None]
    return np.where(observed[:, None] > 0, each, 0.0).sum(axis=-1)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_the_enumeration_of_paths(family: str, missing: bool, oracle: Any) -> None:
    model, values = model_of(family), readings(family, (5, 7)).astype(float)
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
    if family == "poisson":
        summed = np.einsum("rtk,rtc->kc", weight, values * observed)
        np.testing.assert_allclose(after.rates, summed / np.einsum("rtk,rtc->kc", weight, observed), rtol=1e-11)
    else:
        counts = np.stack([(weight * ((values == symbol) & (observed > 0))).sum(axis=(0, 1)) for symbol in range(4)], axis=1)
        np.testing.assert_allclose(after.probabilities, counts / counts.sum(axis=1, keepdims=True), **EXACT)
        assert after.probabilities[0, 2] == 0.0


@pytest.mark.data
def test_the_weather_example(shared: Path) -> None:
    told = json.loads((shared / "reference/hmm.json").read_text())["rainy_sunny"]
    before = HiddenMarkov(np.array(told["pi"]), np.array(told["A"]), Categorical(np.array(told["E"])))
    spans = whole(np.array(told["obs"], np.float64)[None, :, None])
    _, path, log_probability = next(decoded(before, spans))
    assert path[:, 0].tolist() == told["at"]["viterbi"]
    np.testing.assert_allclose(np.exp(log_probability[0]), told["at"]["viterbi_probability"], rtol=1e-12)
    statistics = before.e_step(spans)
    np.testing.assert_allclose(statistics.log_likelihood, told["at"]["log_likelihood"], rtol=1e-13)
    after, expected = before.m_step(statistics), told["after_one_em_step"]
    for found, name in ((after.start, "pi"), (after.transition, "A"), (after.emission.probabilities, "E")):
        np.testing.assert_allclose(found, expected[name], atol=5e-9, err_msg=name)
    np.testing.assert_allclose(after.e_step(spans).log_likelihood, expected["ll"], rtol=1e-13)


def optimum(spans: Spans, states: int, starts: int) -> tuple[HiddenMarkov[Any], float]:
    """The best of several fits, and its log-likelihood."""
    models = [initialise(Poisson.begin, spans, states, seed=seed) for seed in range(starts)]
    fits = em.fit_several(models, [spans], iterations=3000, tolerance=1e-9)
    return max(((model, history.log_likelihood[-1]) for model, history in fits), key=lambda one: one[1])


@pytest.mark.data
@pytest.mark.parametrize("states", [2, 3])
def test_earthquakes_have_the_published_optimum(states: int, shared: Path) -> None:
    told = json.loads((shared / "reference/hmm.json").read_text())["earthquakes"]
    model, found = optimum(whole(np.array(told["data"], np.float64)[None, :, None]), states, starts=3)
    np.testing.assert_allclose(found, told["fit"]["hmm_free_start_log_likelihood"][str(states)], atol=5.1e-5)
    if states == 3:
        rates = np.sort(model.emission.rates[:, 0])  # published with a stationary start: close, not the same
        np.testing.assert_allclose(rates, told["fit"]["hmm_stationary"]["3"]["lambdas"], atol=0.1)


@pytest.mark.data
@pytest.mark.parametrize("states", [1, 2, 3])
def test_a_mixture_is_a_model_of_sequences_of_one_step(states: int, shared: Path) -> None:
    told = json.loads((shared / "reference/hmm.json").read_text())["earthquakes"]
    _, found = optimum(whole(np.array(told["data"], np.float64)[:, None, None]), states, starts=2)
    np.testing.assert_allclose(found, told["fit"]["poisson_mixture_log_likelihood"][str(states)], atol=5.1e-5)


def pair(family: str, n_iter: int) -> tuple[Any, Any]:
    """hmmlearn's and ours, from the same start, without priors."""
    begin = model_of(family, seed=3)
    told = {"n_iter": n_iter, "tol": -np.inf, "init_params": ""}
    if family == "categorical":
        theirs, ours = hmmlearn.CategoricalHMM(3, **told), CategoricalHMM(3, **told)
        for model in (theirs, ours):
            model.emissionprob_ = begin.emission.probabilities
        theirs.n_features = 4
    else:
        theirs, ours = hmmlearn.PoissonHMM(3, lambdas_prior=0.0, lambdas_weight=0.0, **told), PoissonHMM(3, **told)
        for model in (theirs, ours):
            model.lambdas_ = begin.emission.rates
        theirs.n_features = 2
    for model in (theirs, ours):
        model.startprob_, model.transmat_ = begin.start, begin.transition
    return theirs, ours


@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_hmmlearn_says_the_same(family: str) -> None:
    X = readings(family, (100,))
    theirs, ours = pair(family, 8)
    np.testing.assert_allclose(ours.score(X, LENGTHS), theirs.score(X, LENGTHS), rtol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(X, LENGTHS), theirs.predict_proba(X, LENGTHS), atol=1e-10)
    np.testing.assert_array_equal(ours.predict(X, LENGTHS), theirs.predict(X, LENGTHS))
    np.testing.assert_allclose(ours.bic(X, LENGTHS), theirs.bic(X, LENGTHS), rtol=1e-12)
    theirs.fit(X, LENGTHS)
    ours.fit(X, LENGTHS)
    for name in ("startprob_", "transmat_", "emissionprob_" if family == "categorical" else "lambdas_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-8, err_msg=name)


@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_what_was_sampled_is_found_again(family: str) -> None:
    truth: Any = CategoricalHMM(2) if family == "categorical" else PoissonHMM(2)
    truth.startprob_, truth.transmat_ = [0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]]
    name, values = (
        ("emissionprob_", np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]]))
        if family == "categorical"
        else ("lambdas_", np.array([[1.0, 7.0], [6.0, 2.0]]))
    )
    setattr(truth, name, values)
    X, _ = truth.sample(20_000, random_state=0)
    fitted = type(truth)(2, n_iter=200, tol=1e-3, random_state=1).fit(X)
    order = np.argsort(getattr(fitted, name)[:, 0])
    np.testing.assert_allclose(
        getattr(fitted, name)[order], values[np.argsort(values[:, 0])], atol=0.12 if name == "lambdas_" else 0.03
    )
    np.testing.assert_allclose(
        fitted.transmat_[np.ix_(order, order)], np.array(truth.transmat_)[np.ix_(*[np.argsort(values[:, 0])] * 2)], atol=0.02
    )
    missing = X.astype(float)
    missing[::7] = np.nan
    assert np.isfinite(fitted.score(missing))


def test_an_impossible_symbol_has_probability_zero() -> None:
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]]
    model.emissionprob_ = [[1.0, 0.0], [1.0, 0.0]]
    assert model.score([[0], [1], [0]]) == -np.inf
    np.testing.assert_allclose(model.score([[0], [0]]), 0.0, atol=1e-15)


def test_symbols_that_a_model_does_not_know_are_refused() -> None:
    model = CategoricalHMM(2, random_state=0).fit([[0], [1], [0], [1]])
    for ask in (model.score, model.predict):
        with pytest.raises(InputError, match=r"sequence 0, step 1, channel 0: found 1e[+]06, expected a symbol of 0 … 1"):
            ask([[0], [1_000_000]])
    group = Group(np.zeros(LANES, int), np.ones(LANES, int), np.full((1, 1, LANES), 5.0), None)
    emission = model.parameters_.emission
    with pytest.raises(InputError, match="a symbol outside of the model's"):
        emission.add_sums(group, np.ones((1, 2, LANES)), emission.no_sums())
    assert model.fit([[0], [4], [0], [4]]).emissionprob_.shape == (2, 5)


@pytest.mark.parametrize(
    ("model", "X", "message"),
    [
        (PoissonHMM(2), [[1], [-2]], "step 1, channel 0: found -2, expected a count"),
        (PoissonHMM(2), [[1], [0.5]], r"step 1, channel 0: found 0\.5, expected a count"),
        (PoissonHMM(2), [[1], [np.inf]], "step 1, channel 0: found inf, expected a count"),
        (CategoricalHMM(2, n_features=3), [[0], [3]], "step 1, channel 0: found 3, expected a symbol of 0 … 2"),
        (CategoricalHMM(2), [[0, 1]], "found 2 channels, expected one column of symbols"),
    ],
)
def test_readings_that_cannot_be_are_named(model: Any, X: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.fit(X)


def test_parameters_that_cannot_be_are_named() -> None:
    model = PoissonHMM(2)
    model.startprob_, model.transmat_, model.lambdas_ = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], [[1.0], [-1.0]]
    with pytest.raises(InputError, match="expected rates of 0 or more"):
        model.score([[1]])


def with_prior(family: str) -> HiddenMarkov[Any]:
    model = model_of(family)
    if family == "categorical":
        emission = replace(model.emission, prior=np.random.default_rng(5).uniform(1, 4, (3, 4)))
    else:
        emission = replace(model.emission, prior_counts=np.array([3.0, 8.0]), prior_steps=2.5)
    return replace(model, emission=emission)


@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_an_m_step_with_a_prior_is_the_most_probable(family: str) -> None:
    model, spans = with_prior(family), whole(readings(family, (6, 30)).astype(float))
    statistics = model.e_step(spans).emission
    after = model.emission.m_step(statistics)

    def objective(emission: Any) -> float:
        if family == "poisson":
            expected = (statistics.first * np.log(emission.rates) - statistics.weight * emission.rates).sum()
        else:
            possible = emission.probabilities > 0
            expected = (statistics.counts[possible] * np.log(emission.probabilities[possible])).sum()
        return float(expected + emission.log_prior)

    name, rng = after.PARAMETERS[0], np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        nearby = getattr(after, name) * rng.uniform(1 - size, 1 + size, getattr(after, name).shape)
        if family == "categorical":
            nearby /= nearby.sum(axis=1, keepdims=True)
        assert objective(replace(after, **{name: nearby})) < objective(after)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_the_likelihood_with_the_prior_never_falls(family: str, missing: bool) -> None:
    values = readings(family, (6, 30)).astype(float)
    observed = (np.random.default_rng(3).random(values.shape) > 0.3).astype(np.uint8) if missing else None
    model, before = with_prior(family), -np.inf
    for _ in range(25):
        statistics = model.e_step(whole(values, observed))
        now = statistics.log_likelihood + model.log_prior
        assert now >= before - 1e-10 * abs(now)
        model, before = model.m_step(statistics), now


def test_a_prior_of_counts_is_worth_the_counts_of_its_steps() -> None:
    emission = Poisson(np.array([[1.0], [1.0]]), prior_counts=6.0, prior_steps=2.0)
    sums = emission.no_sums()
    sums[0, 0, 0, :3], sums[1, 0, 0, :3] = 1.0, [2.0, 5.0, 1.0]  # three steps in the first state, none in the second
    np.testing.assert_allclose(emission.m_step(emission.statistics(sums)).rates, [[(6 + 8) / (2 + 3)], [6 / 2]], rtol=1e-15)


def test_of_one_state_hmmlearn_has_the_same_prior() -> None:
    X = readings("poisson", (50,))
    theirs = hmmlearn.PoissonHMM(1, lambdas_prior=3.0, lambdas_weight=2.0, n_iter=1, init_params="")
    theirs.startprob_, theirs.transmat_, theirs.lambdas_, theirs.n_features = np.ones(1), np.ones((1, 1)), np.ones((1, 2)), 2
    begin = HiddenMarkov(np.ones(1), np.ones((1, 1)), Poisson(np.ones((1, 2)), prior_counts=3.0, prior_steps=2.0))
    after = begin.m_step(begin.e_step(whole(X[None].astype(float))))
    np.testing.assert_allclose(after.emission.rates, theirs.fit(X).lambdas_, rtol=1e-13)


@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_fixed_parameters_stay_and_priors_go_with_their_states(family: str) -> None:
    model, spans = with_prior(family), whole(readings(family, (6, 30)).astype(float))
    held = replace(model.emission, fixed=frozenset(model.emission.PARAMETERS))
    statistics = model.e_step(spans)
    for name in held.PARAMETERS:
        np.testing.assert_array_equal(getattr(held.m_step(statistics.emission), name), getattr(held, name))
    order = np.array([2, 0, 1])
    permuted = model.permuted(order)
    np.testing.assert_allclose(permuted.log_prior, model.log_prior, rtol=1e-13)
    then, again = model.m_step(statistics).permuted(order), permuted.m_step(permuted.e_step(spans))
    np.testing.assert_allclose(getattr(again.emission, held.PARAMETERS[0]), getattr(then.emission, held.PARAMETERS[0]), rtol=1e-9)


@pytest.mark.parametrize("family", ["categorical", "poisson"])
def test_the_statistics_of_parts_add_up(family: str) -> None:
    model, values = model_of(family), readings(family, (40, 9)).astype(float)
    together = model.e_step(whole(values)).emission
    parts = [model.e_step(whole(part)).emission for part in np.array_split(values, 3)]
    for name, array in vars(parts[0] + parts[1] + parts[2]).items():
        np.testing.assert_allclose(array, getattr(together, name), rtol=1e-12)


def test_missing_symbols_are_not_symbol_0_where_states_begin() -> None:
    rng = np.random.default_rng(0)
    values = np.where(np.arange(400) < 200, 1, 2)[None, :, None].astype(float)  # no 0 at all
    observed = (rng.random(values.shape) > 0.6).astype(np.uint8)
    values[observed == 0] = 0
    one = Categorical(np.full((1, 3), 1 / 3))
    labels = one.first_states(whole(values, observed), 2, rng)[0]
    assert len(set(labels[:190])) == len(set(labels[210:])) == 1
    assert labels[0] != labels[-1]


def test_missing_counts_are_not_0_where_states_begin() -> None:
    rng = np.random.default_rng(0)
    rates = np.where(np.arange(400) < 200, 30.0, 60.0)[None, :, None]
    values, observed = rng.poisson(rates, (1, 400, 2)).astype(float), (rng.random((1, 400, 2)) > 0.3).astype(np.uint8)
    values[observed == 0] = 0
    labels = Poisson(np.full((1, 2), 45.0)).first_states(whole(values, observed), 2, rng)[0]
    both = observed[0].all(axis=1)
    early, late = labels[:200][both[:200]], labels[200:][both[200:]]
    assert max((early == 0).mean() + (late == 1).mean(), (early == 1).mean() + (late == 0).mean()) > 1.9


def test_shares_are_of_a_run_within_its_sequence() -> None:
    counts, totals = np.array([[1.0], [0.0], [2.0], [3.0], [0.0]]), np.array([2.0, 2.0, 2.0, 3.0, 0.0])
    found = shares(counts, totals, np.array([3, 1, 1]), 2)
    np.testing.assert_allclose(found[:, 0], [1 / 2, 1 / 4, 2 / 4, 1.0, 6 / 9], rtol=1e-15)


def test_a_symbol_that_is_never_seen_gets_probability_0_and_no_nan() -> None:
    spans = whole(np.random.default_rng(0).integers(0, 2, (1, 60, 1)).astype(float))
    begun = initialise(partial(Categorical.begin, symbols=3), spans, 2)
    after, _ = em.fit(begun, [spans], iterations=5, tolerance=0.0)
    np.testing.assert_array_equal(after.emission.probabilities[:, 2], 0.0)
    np.testing.assert_allclose(after.emission.probabilities.sum(axis=1), 1.0, rtol=1e-14)
    likely = initialise(partial(Categorical.begin, symbols=3, prior=2.0), spans, 2)
    kept, _ = em.fit(likely, [spans], iterations=5, tolerance=0.0)
    assert (kept.emission.probabilities[:, 2] > 0).all()


def test_a_channel_that_is_always_missing_keeps_its_rates() -> None:
    values, observed = readings("poisson", (3, 20)).astype(float), np.ones((3, 20, 2), np.uint8)
    observed[:, :, 1] = 0
    model = model_of("poisson")
    after = model.m_step(model.e_step(whole(values, observed)))
    np.testing.assert_array_equal(after.emission.rates[:, 1], model.emission.rates[:, 1])
    alone = replace(model, emission=Poisson(model.emission.rates[:, :1]))
    again = alone.m_step(alone.e_step(whole(values[:, :, :1])))
    np.testing.assert_allclose(after.emission.rates[:, :1], again.emission.rates, rtol=1e-13)


@pytest.mark.parametrize(
    ("emission", "told"),
    [
        (Poisson(np.ones(3)), r"expected rates of shape \(states, channels\), found shape \(3,\)"),
        (Poisson(np.array([[1.0], [np.nan]])), "state 1: expected rates of 0 or more"),
        (Poisson(np.ones((2, 3)), prior_counts=-1.0), "prior_counts: expected 0 or more"),
        (Poisson(np.ones((2, 3)), prior_steps=np.ones(2)), r"prior_steps: expected a number, or shape \(3,\) or \(2, 3\)"),
        (Categorical(np.ones(3)), r"expected probabilities of shape \(states, symbols\), found shape \(3,\)"),
        (
            Categorical(np.array([[0.5, 0.5], [0.5, 0.6]])),
            r"state 1: expected probabilities that add up to 1, found \[0.5, 0.6\]",
        ),
        (Categorical(np.full((2, 2), 0.5), prior=0.5), "prior: expected concentrations of 1 or more"),
        (Categorical(np.full((2, 2), 0.5), prior=np.ones(3)), r"prior: expected a number, or shape \(2,\) or \(2, 2\)"),
    ],
)
def test_a_fault_names_the_state(emission: Any, told: str) -> None:
    assert re.match(told, emission.fault)
