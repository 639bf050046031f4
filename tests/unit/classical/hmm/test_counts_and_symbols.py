"""Counts and symbols: the enumeration of all paths, printed values, hmmlearn, and readings that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classical.hmm.emissions.categorical import Categorical
from classical.hmm.emissions.poisson import Poisson
from classical.hmm.estimator import CategoricalHMM, PoissonHMM
from classical.hmm.inference import decoded, smoothed
from classical.hmm.lanes import Group, whole
from classical.hmm.model import HiddenMarkov
from classical.hmm.vector import LANES
from prep.errors import InputError

hmmlearn = pytest.importorskip("hmmlearn.hmm")
stats = pytest.importorskip("scipy.stats")
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
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_, model.emissionprob_ = told["pi"], told["A"], told["E"]
    X = np.array(told["obs"])[:, None]
    np.testing.assert_allclose(model.score(X), told["at"]["log_likelihood"], rtol=1e-13)
    log_probability, path = model.decode(X)
    assert path.tolist() == told["at"]["viterbi"]
    np.testing.assert_allclose(np.exp(log_probability), told["at"]["viterbi_probability"], rtol=1e-12)


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
        with pytest.raises(InputError, match="a symbol outside of the model's, 0 … 1"):
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
        (PoissonHMM(2), [[1], [np.inf]], "step 1, channel 0: found inf, expected a finite number"),
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
