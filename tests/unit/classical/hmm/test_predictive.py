"""Predictive distributions against ratios of likelihoods, enumeration of all paths, and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.mixture import Mixture as GaussianMixture
from hindcast.classical.hmm.emissions.multinomial import Multinomial
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.emissions.product import Product
from hindcast.classical.hmm.emissions.student import Student
from hindcast.classical.hmm.estimators.counts import CategoricalHMM, MultinomialHMM
from hindcast.classical.hmm.estimators.gaussian import GaussianHMM
from hindcast.classical.hmm.estimators.real_valued import AutoregressiveHMM
from hindcast.classical.hmm.forecast import HmmForecaster, after
from hindcast.classical.hmm.inference import filtered
from hindcast.classical.hmm.kernels.lanes import whole
from hindcast.classical.hmm.model import HiddenMarkov, stationary
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError

K, TRIALS, FLOOR = 3, 6, np.full(2, 1e-9)
MEMORYLESS = ("diag", "full", "tied", "mixture", "student", "poisson", "categorical", "multinomial", "product")


def emission_of(family: str, rng: np.random.Generator) -> Any:
    means, variances = rng.normal(0, 2, (K, 2)), rng.uniform(0.3, 1.5, (K, 2))
    roots = rng.normal(0, 0.6, (K, 2, 2)) + np.eye(2)
    covariances = roots @ roots.swapaxes(1, 2)
    match family:
        case "diag":
            return Gaussian(means, variances, FLOOR, "diag")
        case "full":
            return Gaussian(means, covariances, FLOOR, "full")
        case "tied":
            return Gaussian(means, covariances[0], FLOOR, "tied")
        case "mixture":
            weights = rng.dirichlet(np.ones(2), K)
            return GaussianMixture(weights, rng.normal(0, 2, (K, 2, 2)), rng.uniform(0.3, 1.5, (K, 2, 2)), FLOOR)
        case "student":
            return Student(means, np.sqrt(variances), rng.uniform(2.5, 6, (K, 2)), FLOOR)
        case "poisson":
            return Poisson(rng.uniform(0.5, 9, (K, 2)))
        case "categorical":
            return Categorical(rng.dirichlet(np.ones(4), K))
        case "multinomial":
            return Multinomial(rng.dirichlet(np.ones(3), K), TRIALS)
        case "product":
            parts = (emission_of("mixture", rng), emission_of("categorical", rng), emission_of("poisson", rng))
            return Product(parts, ((3, 0), (1,), (2, 4)))
    weights = rng.uniform(-1, 1, (K, 2, 2)) * 0.45
    return Autoregressive(means, weights, variances, FLOOR)


def model_of(family: str, seed: int = 0) -> HiddenMarkov[Any]:
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(K), K) * 0.5 + np.eye(K) * 0.5
    return HiddenMarkov(rng.dirichlet(np.ones(K)), transition, emission_of(family, rng))


def simulated(model: HiddenMarkov[Any], sequences: int, steps: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.empty((sequences, steps, model.emission.channels))
    for s in range(sequences):
        states = [rng.choice(K, p=model.start)]
        while len(states) < steps:
            states.append(rng.choice(K, p=model.transition[states[-1]]))
        out[s] = model.emission.sample(np.array(states), rng)
    return out


def likelihoods(model: HiddenMarkov[Any], values: np.ndarray) -> np.ndarray:
    """Log-likelihood of each sequence (sequences, steps, channels); NaN is missing."""
    seen = (~np.isnan(values)).astype(np.uint8)
    out = np.empty(len(values))
    for group, _, logs in filtered(model, whole(np.nan_to_num(values), None if seen.all() else seen)):
        taken = group.members >= 0
        out[group.members[taken]] = logs[taken]
    return out


def log_densities(emission: Any, values: np.ndarray) -> np.ndarray:
    """(steps, K) of each step of `values` (steps, channels), by SciPy. NaN is missing."""
    if isinstance(emission, Product):
        of_parts = (log_densities(p, values[:, list(c)]) for p, c in zip(emission.parts, emission.columns, strict=True))
        return np.sum(list(of_parts), axis=0)
    out = np.zeros((len(values), K))
    for (t, k), x in ((at, values[at[0]]) for at in np.ndindex(*out.shape)):
        seen = ~np.isnan(x)
        y = x[seen]
        if isinstance(emission, Gaussian) and len(y):
            covariance = emission.expanded[k] if emission.expanded.ndim == 3 else np.diag(emission.expanded[k])
            out[t, k] = stats.multivariate_normal(emission.means[k, seen], covariance[np.ix_(seen, seen)]).logpdf(y)
        elif isinstance(emission, GaussianMixture):
            each = stats.norm(emission.means[k][:, seen], np.sqrt(emission.covars[k][:, seen])).logpdf(y).sum(axis=1)
            out[t, k] = np.logaddexp.reduce(np.log(emission.weights[k]) + each)
        elif isinstance(emission, Student):
            out[t, k] = stats.t(emission.dofs[k, seen], emission.locations[k, seen], emission.scales[k, seen]).logpdf(y).sum()
        elif isinstance(emission, Poisson):
            out[t, k] = stats.poisson(emission.rates[k, seen]).logpmf(y).sum()
        elif isinstance(emission, Categorical) and len(y):
            out[t, k] = np.log(emission.probabilities[k, int(y[0])])
        elif isinstance(emission, Multinomial) and len(y):
            p = emission.probabilities[k]
            counts, shares = (y, p) if seen.all() else (np.append(y, TRIALS - y.sum()), np.append(p[seen], p[~seen].sum()))
            out[t, k] = stats.multinomial(TRIALS, shares).logpmf(counts)
    return out


def one_value(later: np.ndarray, ahead: int, channel: int, before: np.ndarray) -> np.ndarray:
    """What came before (sequences, steps, channels), nothing for a while, and then of `later` one channel alone."""
    gap = np.full((len(before), ahead, before.shape[2]), np.nan)
    gap[:, -1, channel] = later[:, ahead - 1, channel]
    return np.concatenate([before, gap], axis=1)


@pytest.mark.parametrize("family", MEMORYLESS)
def test_the_density_of_each_step_ahead_is_a_ratio_of_likelihoods(family: str) -> None:
    model = model_of(family)
    values = simulated(model, 9, 10)
    before, later = values[:, :7].copy(), values[:, 7:]
    if family != "categorical":
        before[2, 3, 0] = np.nan
    before[1, 6] = np.nan
    seen = ~np.isnan(before)
    found = after(model, whole(np.nan_to_num(before), seen.astype(np.uint8)), 3).density().log_density(later)
    for ahead, channel in np.ndindex(3, values.shape[2]):
        expected = likelihoods(model, one_value(later, ahead + 1, channel, before)) - likelihoods(model, before)
        np.testing.assert_allclose(found[:, ahead, channel], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", MEMORYLESS)
def test_the_density_of_each_step_ahead_is_that_of_all_paths(family: str, oracle: Any) -> None:
    model = model_of(family)
    values = simulated(model, 3, 7)
    before, later = values[:, :4].copy(), values[:, 4:]
    before[1, 2] = np.nan
    found = after(model, whole(np.nan_to_num(before), (~np.isnan(before)).astype(np.uint8)), 3).density().log_density(later)

    def of_paths(one: np.ndarray) -> float:
        return oracle.enumerate(model.start, model.transition, log_densities(model.emission, one)).log_likelihood

    for w, ahead, channel in np.ndindex(3, 3, values.shape[2]):
        longer = one_value(later[w : w + 1], ahead + 1, channel, before[w : w + 1])[0]
        np.testing.assert_allclose(found[w, ahead, channel], of_paths(longer) - of_paths(before[w]), rtol=1e-9, atol=1e-9)


def test_the_density_of_an_autoregression_one_step_ahead_is_a_ratio_of_likelihoods() -> None:
    model = model_of("autoregressive")
    values = simulated(model, 9, 12)
    found = after(model, whole(values[:, :-1]), 4).density().log_density(np.repeat(values[:, -1:], 4, axis=1))
    for channel in range(2):
        longer = one_value(values[:, -1:], 1, channel, values[:, :-1])
        expected = likelihoods(model, longer) - likelihoods(model, values[:, :-1])
        np.testing.assert_allclose(found[:, 0, channel], expected, rtol=1e-9)


@pytest.mark.parametrize("family", [*MEMORYLESS, "autoregressive"])
def test_the_distribution_has_the_mean_and_the_deviation_of_the_forecast(family: str) -> None:
    model = model_of(family)
    context = simulated(model, 5, 9)
    forecast = HmmForecaster(model, 6, lead=2).forecast(Given.of(context))
    np.testing.assert_allclose(forecast.density().mean(), forecast.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(forecast.density(slice(1, 3)).deviation(), forecast.deviation[1:3], rtol=1e-9)


@pytest.mark.parametrize(("family", "ahead"), [*((f, h) for f in MEMORYLESS for h in (1, 4)), ("autoregressive", 1)])
def test_what_the_model_itself_makes_falls_evenly_into_its_distribution(family: str, ahead: int) -> None:
    """Probability integral transforms, randomised where values are discrete (Czado, Gneiting and Held 2009), are uniform."""
    model, sequences = model_of(family), 400
    values = simulated(model, sequences, 12 + ahead)
    mixture = after(model, whole(values[:, :12]), ahead).density()
    x = values[:, 12:]
    discrete = np.concatenate([np.full(part.channels, part.discrete) for part in mixture.parts])
    jump = np.where(discrete, np.exp(mixture.log_density(x)), 0.0)
    pit = (mixture.cdf(x) - np.random.default_rng(2).random(jump.shape) * jump)[:, -1]
    for channel in range(values.shape[2]):
        assert stats.kstest(pit[:, channel], "uniform").pvalue > 0.003


@pytest.mark.parametrize("family", [*MEMORYLESS, "autoregressive"])
def test_far_ahead_the_past_is_forgotten(family: str) -> None:
    model = model_of(family)
    values = simulated(model, 2, 9)
    forecast = HmmForecaster(model, 1, lead=400).forecast(Given.of(values))
    mixture = forecast.density()
    x = mixture.quantile(0.3)[:1]
    cdf = mixture.cdf(x)
    if family == "autoregressive":
        np.testing.assert_allclose(forecast.mean[0], forecast.mean[1], rtol=1e-9)
        return
    np.testing.assert_allclose(cdf[0], cdf[1], rtol=1e-10)
    weights, parts = model.emission.marginals()
    long_run = stationary(model.start, model.transition) @ weights
    expected = np.concatenate([part.cdf(x[0, 0, c, None]) @ long_run for part, c in zip(parts, _channels(parts), strict=True)])
    np.testing.assert_allclose(cdf[0, 0], expected, rtol=1e-10)


def _channels(parts: Any) -> list[slice]:
    ends = np.cumsum([part.channels for part in parts])
    return [slice(end - part.channels, end) for end, part in zip(ends, parts, strict=True)]


def test_the_mean_of_a_student_state_without_a_deviation_is_told_and_its_deviation_is_infinite() -> None:
    emission = Student(np.array([[0.0, 1.0], [2.0, 3.0]]), np.ones((2, 2)), np.array([[3.0, 1.5], [4.0, 5.0]]), FLOOR)
    model = HiddenMarkov(np.array([1.0, 0.0]), np.array([[0.5, 0.5], [0.0, 1.0]]), emission)
    forecast = after(model, whole(np.array([[[0.0, 1.0]]])), 2)
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.deviation[..., 0]).all()
    assert np.isposinf(forecast.deviation[..., 1]).all()
    np.testing.assert_allclose(forecast.density().deviation(), forecast.deviation, rtol=1e-12)


def gaussian_estimator() -> GaussianHMM:
    model = model_of("diag")
    estimator = GaussianHMM(K)
    estimator.startprob_, estimator.transmat_ = model.start, model.transition
    estimator.means_, estimator.covars_ = model.emission.means, model.emission.covars
    return estimator


def autoregressive_estimator() -> AutoregressiveHMM:
    model = model_of("autoregressive")
    estimator = AutoregressiveHMM(K, order=2)
    estimator.startprob_, estimator.transmat_ = model.start, model.transition
    estimator.intercepts_, estimator.weights_ = model.emission.intercepts, model.emission.weights
    estimator.variances_ = model.emission.variances
    return estimator


def test_an_estimator_forecasts_after_each_sequence_which_begins_where_it_begins() -> None:
    estimator = gaussian_estimator()
    X, lengths = simulated(model_of("diag"), 1, 12)[0], [7, 1, 4]
    X[[3, 11], [0, 1]] = np.nan
    forecast = estimator.forecast(X, 2, lengths)
    assert forecast.mean.shape == (3, 2, 2)
    x = np.zeros((3, 2, 2))
    found = forecast.density().log_density(x)
    for sequence, end in enumerate(np.cumsum(lengths)):
        own = X[end - lengths[sequence] : end]
        for channel in range(2):
            following = np.where(np.arange(2) == channel, 0.0, np.nan)
            expected = estimator.score(np.vstack([own, following])) - estimator.score(own)
            np.testing.assert_allclose(found[sequence, 0, channel], expected, rtol=1e-9)


def test_of_a_sequence_without_steps_the_forecast_is_how_sequences_begin() -> None:
    estimator = gaussian_estimator()
    forecast = estimator.forecast(np.zeros((3, 2)), 2, [0, 3])
    mean = np.stack([estimator.startprob_, estimator.startprob_ @ estimator.transmat_]) @ estimator.means_
    np.testing.assert_allclose(forecast.mean[0], mean, rtol=1e-12)


def test_an_autoregressive_estimator_goes_on_from_the_last_readings_wherever_0_is() -> None:
    estimator, far = autoregressive_estimator(), autoregressive_estimator()
    X = simulated(model_of("autoregressive"), 1, 30)[0]
    here = estimator.forecast(X, 5, [20, 2, 8])
    shift = 2.0**20
    far.intercepts_ = estimator.intercepts_ + shift * (1 - estimator.weights_.sum(axis=2))
    there = far.forecast(X + shift, 5, [20, 2, 8])
    np.testing.assert_allclose(there.mean - shift, here.mean, atol=1e-7)
    np.testing.assert_allclose(there.deviation, here.deviation, rtol=1e-7)
    np.testing.assert_allclose(there.density().quantile(0.2) - shift, here.density().quantile(0.2), atol=1e-7)
    begun = (estimator.startprob_ @ estimator.intercepts_) + np.einsum(
        "k,kcl,lc->c", estimator.startprob_, estimator.weights_, X[20:22]
    )
    np.testing.assert_allclose(here.mean[1, 0], begun, rtol=1e-9)


def test_an_autoregressive_estimator_names_a_last_reading_that_is_missing() -> None:
    estimator = autoregressive_estimator()
    X = simulated(model_of("autoregressive"), 1, 20)[0]
    X[2, 1] = np.nan
    assert np.isfinite(estimator.forecast(X, 3, [12, 8]).mean).all()
    X[18, 1] = np.nan
    with pytest.raises(InputError, match="sequence 1, step 6, channel 1: missing"):
        estimator.forecast(X, 3, [12, 8])
    with pytest.raises(InputError, match="sequence 1: found 1 steps"):
        estimator.forecast(X[:13], 3, [12, 1])


def test_symbols_are_forecast_by_their_probabilities() -> None:
    estimator = CategoricalHMM(2)
    estimator.startprob_, estimator.transmat_ = np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    estimator.emissionprob_ = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    mixture = estimator.forecast(np.array([[0], [2]]), 2).density()
    found = np.exp([mixture.log_density(np.full((1, 2, 1), symbol))[0, :, 0] for symbol in range(3)])
    np.testing.assert_allclose(found.T, [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], rtol=1e-12)


def test_counts_of_symbols_need_to_know_among_how_many_trials() -> None:
    estimator = MultinomialHMM(1)
    estimator.startprob_, estimator.transmat_, estimator.emissionprob_ = np.ones(1), np.ones((1, 1)), np.array([[0.4, 0.6]])
    X = np.array([[2, 3], [4, 1]])
    with pytest.raises(InputError, match="trials"):
        estimator.forecast(X, 1)
    estimator.n_trials = 5
    np.testing.assert_allclose(estimator.forecast(X, 1).mean, [[[2.0, 3.0]]])


def test_a_product_of_which_a_part_has_memory_says_that_it_has_no_forecast() -> None:
    model = model_of("autoregressive")
    product = Product((model.emission, emission_of("poisson", np.random.default_rng(0))), ((0, 1), (2, 3)))
    with pytest.raises(InputError, match="Autoregressive: what a state says depends on the readings before"):
        after(HiddenMarkov(model.start, model.transition, product), whole(np.ones((1, 9, 4))), 2)


def test_no_step_ahead_is_refused() -> None:
    with pytest.raises(InputError, match="horizon: found 0"):
        gaussian_estimator().forecast(np.zeros((3, 2)), 0)
