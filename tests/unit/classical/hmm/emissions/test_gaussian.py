"""Gaussian states with covariances of every kind: enumeration, plain EM, hmmlearn, and data that are hard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.shared.gaussian_prior import GaussianPrior
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import Spans, concatenated, whole
from hindcast.classical.hmm.model import HiddenMarkov

hmmlearn = pytest.importorskip("hmmlearn.hmm")
EXACT = {"rtol": 1e-11, "atol": 1e-12}
KINDS = ("spherical", "diag", "full", "tied")
C = 3


def model_of(kind: str, states: int = 3, seed: int = 0, groups: int | None = None, **told: Any) -> HiddenMarkov[Gaussian]:
    rng = np.random.default_rng(seed)
    start, transition = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states) * 3, states)
    means, roots = rng.normal(0, 1.5, (states, C)), rng.normal(0, 0.6, (states, C, C)) + np.eye(C)
    covars = {
        "spherical": rng.uniform(0.3, 1.5, states),
        "diag": rng.uniform(0.3, 1.5, (states, C)),
        "full": roots @ roots.swapaxes(1, 2),
        "tied": (roots @ roots.swapaxes(1, 2))[: groups or 1],
    }[kind]
    if groups:
        told["ties"] = np.arange(states) % groups
    elif kind == "tied":
        covars = covars[0]
    return HiddenMarkov(start, transition, Gaussian(means, covars, np.full(C, 1e-9), kind, **told))


def covariances_of(theirs: Any) -> np.ndarray:
    """(states, channels, channels). hmmlearn leaves spherical ones in a shape that it then reads wrong."""
    return theirs._covars_[:, :, None] * np.eye(C) if theirs.covariance_type == "spherical" else theirs.covars_


def covariance(emission: Gaussian, k: int) -> np.ndarray:
    """(channels, channels) of one state, told from the shapes that are promised."""
    covars = emission.covars
    if emission.covariance == "tied":
        return covars if emission.ties is None else covars[emission.ties[k]]
    return covars[k] if emission.covariance == "full" else np.eye(emission.channels) * covars[k]


def log_density(emission: Gaussian, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(steps, states) of what was observed of each step, one by one."""
    out = np.zeros((len(values), emission.states))
    for t, k in np.ndindex(*out.shape):
        o = np.flatnonzero(observed[t])
        S, e = covariance(emission, k)[np.ix_(o, o)], values[t, o] - emission.means[k, o]
        out[t, k] = -0.5 * (np.linalg.slogdet(2 * np.pi * S)[1] + e @ np.linalg.solve(S, e)) if len(o) else 0.0
    return out


def plain_m_step(emission: Gaussian, values: np.ndarray, observed: np.ndarray, gamma: np.ndarray) -> Any:
    """Means and covars after one step of EM for incomplete data, of the steps of which anything was observed."""
    means, scatters, weights = [], [], []
    for k in range(emission.states):
        m, S = emission.means[k], covariance(emission, k)
        completed, spread, weight = values.copy(), np.zeros((len(values), C, C)), gamma[:, k] * observed.any(axis=1)
        for t, seen in enumerate(observed > 0):
            o, u = np.flatnonzero(seen), np.flatnonzero(~seen)
            B = S[np.ix_(u, o)] @ np.linalg.inv(S[np.ix_(o, o)])
            completed[t, u] = m[u] + B @ (values[t, o] - m[o])
            spread[t][np.ix_(u, u)] = S[np.ix_(u, u)] - B @ S[np.ix_(o, u)]
        mean = weight @ completed / weight.sum()
        e = completed - mean
        means.append(mean)
        scatters.append(np.einsum("t,tij->ij", weight, spread + e[:, :, None] * e[:, None, :]))
        weights.append(weight.sum())
    return np.stack(means), _pooled(emission, np.stack(scatters), np.array(weights))


def _pooled(emission: Gaussian, scatters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if emission.covariance == "full":
        return scatters / weights[:, None, None]
    if emission.ties is None:
        return scatters.sum(axis=0) / weights.sum()
    groups = [emission.ties == g for g in range(len(emission.covars))]
    return np.stack([scatters[g].sum(axis=0) / weights[g].sum() for g in groups])


def readings(shape: tuple[int, ...], missing: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values, and whether they were observed. What was not is far off, to show where it is used."""
    rng = np.random.default_rng(seed)
    values, observed = rng.normal(0, 2, (*shape, C)), (rng.random((*shape, C)) >= missing).astype(np.uint8)
    return np.where(observed > 0, values, 77.0), observed


def ascent(model: HiddenMarkov[Any], spans: Spans, iterations: int = 12) -> tuple[HiddenMarkov[Any], np.ndarray]:
    """The model after so many iterations, and log-likelihood with log-prior before each."""
    found = []
    for _ in range(iterations):
        statistics = model.e_step(spans)
        found.append(statistics.log_likelihood + model.log_prior)
        model = model.m_step(statistics)
    return model, np.array(found)


def must_not_fall(found: np.ndarray) -> None:
    assert np.isfinite(found).all()
    assert (np.diff(found) >= -1e-10 * (np.abs(found[:-1]) + 1)).all(), np.diff(found)


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "groups"), [*((kind, None) for kind in KINDS), ("tied", 2)])
def test_the_enumeration_of_paths(kind: str, groups: int | None, missing: float, oracle: Any) -> None:
    model = model_of(kind, groups=groups)
    values, observed = readings((5, 6), missing)
    spans = whole(values, observed if missing else None)
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
    gamma = np.concatenate([one.smoothed for one in expected])
    values, observed = values.reshape(-1, C), observed.reshape(-1, C)
    if kind in ("full", "tied"):
        means, covars = plain_m_step(model.emission, values, observed, gamma)
    else:
        weight = np.einsum("tk,tc->kc", gamma, observed)
        means = np.einsum("tk,tc->kc", gamma, np.where(observed, values, 0)) / weight
        scatter = np.einsum("tk,tkc->kc", gamma, np.where(observed[:, None], (values[:, None] - means) ** 2, 0))
        covars = scatter.sum(axis=1) / weight.sum(axis=1) if kind == "spherical" else scatter / weight
    np.testing.assert_allclose(after.means, means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(after.covars, covars, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("channels", [11, 70])
def test_hardly_two_steps_that_lack_the_same_channels(channels: int) -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, channels, channels)) / np.sqrt(channels) + np.eye(channels)
    emission = Gaussian(rng.normal(size=(2, channels)), root @ root.swapaxes(1, 2), np.full(channels, 1e-9), "full")
    model = HiddenMarkov(np.ones(2) / 2, np.ones((2, 2)) / 2, emission)
    values, observed = rng.normal(size=(20, 7, channels)), rng.integers(0, 2, (20, 7, channels)).astype(np.uint8)
    density = log_density(emission, values.reshape(-1, channels), observed.reshape(-1, channels))
    expected = (np.logaddexp.reduce(density, axis=1) - np.log(2)).sum()
    np.testing.assert_allclose(model.e_step(whole(values, observed)).log_likelihood, expected, rtol=1e-12)


def test_what_is_all_observed_is_the_same_whether_or_not_it_is_said_to_be() -> None:
    for kind in KINDS:
        model, (values, observed) = model_of(kind), readings((20, 9), 0.0)
        observed[3] = 0  # one sequence of which nothing is known changes nothing of the others
        without = np.delete(values, 3, axis=0)
        one, other = model.e_step(whole(values, observed)), model.e_step(whole(without))
        np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-12)
        for name, array in vars(other.emission).items():
            np.testing.assert_allclose(getattr(one.emission, name), array, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize(("kind", "groups"), [*((kind, None) for kind in KINDS), ("tied", 2)])
def test_parts_add_up_to_the_whole_and_states_can_change_places(kind: str, groups: int | None) -> None:
    model, (values, observed) = model_of(kind, groups=groups), readings((40, 8), 0.3)
    together = model.e_step(whole(values, observed))
    parts = [model.e_step(whole(values[rows], observed[rows])) for rows in (slice(0, 7), slice(7, 29), slice(29, 40))]
    summed = parts[0] + parts[1] + parts[2]
    for name, array in vars(together.emission).items():
        np.testing.assert_allclose(getattr(summed.emission, name), array, rtol=1e-12, atol=1e-12 * np.abs(array).max())
    order = np.array([2, 0, 1])
    prior = GaussianPrior(np.arange(3.0)[:, None], np.arange(3.0), 0.1, 2.0)
    model = replace(model, emission=replace(model.emission, prior=prior))
    permuted = model.permuted(order)
    then, again = model.m_step(together).permuted(order), permuted.m_step(permuted.e_step(whole(values, observed)))
    assert then.log_prior == pytest.approx(model.m_step(together).log_prior, rel=1e-12)
    np.testing.assert_allclose(again.emission.means, then.emission.means, rtol=1e-9)
    np.testing.assert_allclose(again.emission.covars, then.emission.covars, rtol=1e-9)
    np.testing.assert_array_equal(then.emission.expanded, model.m_step(together).emission.expanded[order])


def peer(kind: str, n_iter: int = 0, **told: Any) -> tuple[Any, HiddenMarkov[Gaussian]]:
    """hmmlearn's, without priors unless told, and ours, of the same parameters."""
    ours = model_of(kind, seed=5)
    told = {"min_covar": 0.0, "covars_prior": 0.0, "covars_weight": 0.0, **told}
    theirs = hmmlearn.GaussianHMM(3, kind, n_iter=n_iter, tol=-np.inf, init_params="", **told)
    theirs.n_features = C
    theirs.startprob_, theirs.transmat_, theirs.means_ = ours.start, ours.transition, ours.emission.means
    theirs.covars_ = ours.emission.covars
    return theirs, ours


LENGTHS = [40, 1, 25, 34]


def regimes() -> np.ndarray:
    """(100, channels) of three states, all of them needed: hmmlearn has no transitions from a state that was left empty."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0, 0.0], [3.0, -1.0, 1.0], [-2.0, 2.0, 0.5]])
    return centres[np.repeat(rng.integers(0, 3, 20), 5)] + rng.normal(size=(100, C)) * [1.0, 0.5, 2.0]


@pytest.mark.parametrize("kind", KINDS)
def test_hmmlearn_says_the_same(kind: str) -> None:
    X = regimes()
    theirs, model = peer(kind, 8)
    spans = concatenated(X, np.array(LENGTHS))
    np.testing.assert_allclose(model.e_step(spans).log_likelihood, theirs.score(X, LENGTHS), rtol=1e-12)
    posterior = theirs.predict_proba(X, LENGTHS)
    for group, gamma, _ in smoothed(model, spans):
        for sequence, of_sequence in group.each(gamma):
            np.testing.assert_allclose(of_sequence, posterior[spans.start[sequence] : spans.stop[sequence]], atol=1e-10)
    np.testing.assert_allclose(-2 * theirs.score(X, LENGTHS) + 2 * model.parameters, theirs.aic(X, LENGTHS), rtol=1e-12)
    theirs.fit(X, LENGTHS)
    model, found = ascent(model, spans, 8)
    np.testing.assert_allclose(found, list(theirs.monitor_.history), rtol=1e-10)
    np.testing.assert_allclose(model.transition, theirs.transmat_, atol=1e-8)
    np.testing.assert_allclose(model.emission.means, theirs.means_, atol=1e-8)
    np.testing.assert_allclose([covariance(model.emission, k) for k in range(3)], covariances_of(theirs), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_hmmlearn_estimates_the_same_with_priors(kind: str) -> None:
    X = regimes()
    told = {"means_prior": 0.7, "means_weight": 5.0, "covars_prior": 0.4, "covars_weight": 9.0}
    theirs, model = peer(kind, 6, **told)
    theirs.fit(X, LENGTHS)
    prior = GaussianPrior.as_hmmlearn(kind, C, **told)
    model, found = ascent(replace(model, emission=replace(model.emission, prior=prior)), concatenated(X, np.array(LENGTHS)), 6)
    must_not_fall(found)
    np.testing.assert_allclose(model.emission.means, theirs.means_, atol=1e-8)
    np.testing.assert_allclose([covariance(model.emission, k) for k in range(3)], covariances_of(theirs), atol=1e-8)


@pytest.mark.parametrize("fixed", [(), ("means",), ("covars",)])
@pytest.mark.parametrize(("kind", "groups"), [*((kind, None) for kind in KINDS), ("tied", 2)])
def test_an_m_step_is_the_best_of_all_near_it(kind: str, groups: int | None, fixed: tuple[str, ...]) -> None:
    """Of expected log-likelihood and log-prior: no small change of what it may change is better."""
    told = {
        "prior": GaussianPrior(0.5, 3.0, 0.3 * np.eye(C) if kind in ("full", "tied") else 0.3, 2.0),
        "fixed": frozenset(fixed),
    }
    model, (values, observed) = model_of(kind, groups=groups, **told), readings((1, 60), 0.0)
    gamma = next(smoothed(model, whole(values)))[1][:, :, 0].copy()
    best = model.m_step(model.e_step(whole(values))).emission

    def objective(emission: Gaussian) -> float:
        return float((gamma * log_density(emission, values[0], observed[0])).sum() + emission.log_prior)

    rng, at_best = np.random.default_rng(2), objective(best)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(6):
            step = rng.normal(0, size, best.covars.shape)
            step = step + step.swapaxes(-1, -2) if kind in ("full", "tied") else step
            moved = best.moved(means=best.means + rng.normal(0, size, best.means.shape), covars=best.covars + step)
            assert moved.fault is not None or objective(moved) < at_best
    for name in fixed:
        np.testing.assert_array_equal(getattr(best, name), getattr(model.emission, name))


@pytest.mark.parametrize("prior", [None, GaussianPrior(0.5, 3.0, 0.3, 2.0)])
@pytest.mark.parametrize("fixed", [(), ("means",), ("covars",)])
@pytest.mark.parametrize(("kind", "groups"), [*((kind, None) for kind in KINDS), ("tied", 2)])
def test_the_likelihood_of_what_was_observed_never_falls(kind: str, groups: int | None, fixed: Any, prior: Any) -> None:
    model = model_of(kind, groups=groups, prior=prior, fixed=frozenset(fixed))
    values, observed = readings((12, 20), 0.4)
    after, found = ascent(model, whole(values, observed), 25)
    must_not_fall(found)
    assert found[-1] - found[0] > 0.1
    assert after.emission.fault is None


def test_a_missing_channel_is_told_by_the_others() -> None:
    """Of one state: the observed-data estimate of Anderson 1957, where only the last channel is ever missing."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 400, 2)) @ np.array([[1.0, 0.9], [0.0, 0.5]])
    observed = np.ones(values.shape, np.uint8)
    observed[0, 150:, 1] = 0
    emission = Gaussian(np.zeros((1, 2)), np.eye(2)[None], np.full(2, 1e-9), "full")
    model, found = ascent(HiddenMarkov(np.ones(1), np.ones((1, 1)), emission), whole(values, observed), 200)
    must_not_fall(found)
    x, y = values[0, :, 0], values[0, :150, 1]
    slope = np.cov(x[:150], y, bias=True)[0, 1] / x[:150].var()
    mean = y.mean() + slope * (x.mean() - x[:150].mean())
    residual = y.var() - slope**2 * x[:150].var()
    np.testing.assert_allclose(model.emission.means[0], [x.mean(), mean], atol=1e-9)
    expected = [[x.var(), slope * x.var()], [slope * x.var(), residual + slope**2 * x.var()]]
    np.testing.assert_allclose(model.emission.covars[0], expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_parameters_are_found_again_within_three_standard_errors(kind: str, missing: float) -> None:
    """States far apart, so that they are all but seen, and errors are those of the counts."""
    rng, steps = np.random.default_rng(3), 6000
    truth = model_of(kind, states=2)
    transition = np.array([[0.9, 0.1], [0.2, 0.8]])
    truth = replace(truth, transition=transition, emission=replace(truth.emission, means=np.array([[0.0, 0, 0], [9.0, -9, 9]])))
    states = np.zeros(steps, int)
    for t in range(1, steps):
        states[t] = rng.random() < transition[states[t - 1], 1]
    values = truth.emission.sample(states, rng)[None]
    observed = (rng.random(values.shape) >= missing).astype(np.uint8)
    spans = whole(np.where(observed > 0, values, 0.0), observed if missing else None)
    start = initialise(lambda x, seen: Gaussian.begin(x, seen, variance_floor=1e-6, covariance=kind), spans, 2)
    found, likelihoods = ascent(start, spans, 25)
    must_not_fall(likelihoods)
    found = found.permuted(np.argsort(found.emission.means[:, 0]))
    count = np.bincount(states)
    assert (np.abs(found.transition - transition)[:, 0] < 3 * np.sqrt(transition.prod(axis=1) / count)).all()
    for k in range(2):
        S, seen = covariance(truth.emission, k), observed[0][states == k].sum(axis=0)
        assert (np.abs(found.emission.means[k] - truth.emission.means[k]) < 3 * np.sqrt(np.diag(S) / seen)).all()
        pairs = np.einsum("ti,tj->ij", *[observed[0][states == k].astype(float)] * 2)
        error = np.sqrt((np.outer(np.diag(S), np.diag(S)) + S**2) / pairs)
        assert (np.abs(covariance(found.emission, k) - S) < 3 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_outliers_constants_and_too_few_steps_stay_finite_and_are_reported(kind: str) -> None:
    rng = np.random.default_rng(0)
    outliers = rng.normal(size=(1, 200, 4))
    outliers[0, ::50] *= 1e4
    constant = rng.normal(size=(1, 60, 4))
    constant[:, :, 1] = 7.0
    few = rng.normal(size=(1, 3, 4))
    gone = np.ones((1, 60, 4), np.uint8)
    gone[:, :, 2] = 0  # a channel that is never observed
    for values, observed in ((outliers, None), (constant, None), (few, None), (constant, gone)):
        spans = whole(values, observed)
        begin = initialise(lambda x, seen: Gaussian.begin(x, seen, variance_floor=1e-6, covariance=kind), spans, 3)
        model, found = ascent(begin, spans, 20)
        must_not_fall(found)
        emission = model.emission
        assert emission.fault is None
        assert np.isfinite(emission.means).all()
        if values is constant and kind != "spherical":
            named = "all states" if kind == "tied" else "state 0"
            assert named in emission.repairs[0]
            assert "raised to the floor" in emission.repairs[0]
            permuted = emission.permuted(np.array([2, 1, 0]))
            assert sum(permuted.floored) == sum(emission.floored)


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["diag", "full"])
def test_channels_may_be_of_any_scale(kind: str, missing: float) -> None:
    """The same fit in other units, up to rounding, where unscaled eigenvalues would have no digits left."""
    rng, units = np.random.default_rng(0), np.array([1e-7, 1.0, 1e7])
    values, observed = readings((6, 40), missing)
    values = values @ (np.eye(C) + rng.normal(0, 0.3, (C, C)))
    fits = []
    for unit in (np.ones(C), units):
        spans = whole(values * unit, observed if missing else None)
        begin = initialise(lambda x, seen: Gaussian.begin(x, seen, variance_floor=1e-6, covariance=kind), spans, 2)
        model, found = ascent(begin, spans, 10)
        must_not_fall(found)
        assert model.emission.fault is None
        fits.append(model.emission)
    np.testing.assert_allclose(fits[1].means / units, fits[0].means, rtol=1e-7)
    unit = units if kind == "diag" else np.sqrt(np.outer(units, units))
    np.testing.assert_allclose(fits[1].covars / unit**2, fits[0].covars, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_without_weight_keeps_what_it_has(kind: str) -> None:
    model = replace(model_of(kind), start=np.array([1.0, 0, 0]), transition=np.eye(3))
    values, observed = readings((4, 30), 0.3)
    after = model.m_step(model.e_step(whole(values, observed))).emission
    np.testing.assert_array_equal(after.means[1:], model.emission.means[1:])
    if kind != "tied":
        np.testing.assert_array_equal(after.covars[1:], model.emission.covars[1:])
    nothing = model.m_step(model.e_step(whole(values, np.zeros_like(observed)))).emission
    np.testing.assert_array_equal(nothing.means, model.emission.means)
    np.testing.assert_array_equal(nothing.covars, model.emission.covars)


def test_the_floor_keeps_a_full_covariance_the_likeliest_above_it() -> None:
    model = model_of("full")
    model = replace(model, emission=replace(model.emission, floor=np.array([0.5, 2.0, 0.1])))
    values = np.random.default_rng(0).normal(size=(1, 50, 3)) * [0.1, 3.0, 1.0]
    after = model.m_step(model.e_step(whole(values))).emission
    assert sum(after.floored) >= 1
    fixed = replace(model, emission=replace(model.emission, fixed=frozenset({"covars"})))
    assert fixed.m_step(model.e_step(whole(values))).emission.repairs == ()
    assert (np.linalg.eigvalsh(after.covars - np.diag(after.floor)) > -1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_their_state(kind: str) -> None:
    emission = model_of(kind).emission
    drawn = emission.sample(np.repeat([0, 2], 20_000), np.random.default_rng(0)).reshape(2, -1, C)
    for k, of_state in zip((0, 2), drawn, strict=True):
        S = covariance(emission, k)
        assert (np.abs(of_state.mean(axis=0) - emission.means[k]) < 4 * np.sqrt(np.diag(S) / 20_000)).all()
        error = np.sqrt((np.outer(np.diag(S), np.diag(S)) + S**2) / 20_000)
        assert (np.abs(np.cov(of_state.T) - S) < 4 * error).all()


def test_what_is_wrong_with_parameters_is_said_of_the_state() -> None:
    full, tied = model_of("full").emission, model_of("tied", groups=2).emission
    assert (full.fault, tied.fault) == (None, None)
    bent = full.covars.copy()
    bent[1] = np.eye(3) + 2 * (1 - np.eye(3))
    twisted = full.covars.copy()
    twisted[2, 0, 1] += 1.0
    cases = [
        (replace(full, covars=bent), "covars of state 1: not positive definite: the least eigenvalue of its correlations is -1"),
        (replace(full, covars=twisted), "covars of state 2: not symmetric"),
        (
            replace(full, covars=full.covars[:2]),
            r"covars: found shape (2, 3, 3), expected (3, 3, 3) for covariances that are full",
        ),
        (replace(full, means=np.array([[0.0, 0, 0], [0, np.nan, 0], [0, 0, 0]])), "means of state 1: expected finite numbers"),
        (
            replace(model_of("diag").emission, covars=np.array([[1.0, 1, 1], [1, 1, 1], [1, 0, 1]])),
            "covars of state 2: expected var",
        ),
        (replace(model_of("spherical").emission, covars=np.array([1.0, np.inf, 1])), "covars of state 1: expected finite"),
        (replace(tied, covars=np.stack([np.eye(3), -np.eye(3)])), "covars of state 1: expected variances above 0"),
        (replace(tied, ties=np.array([0, 1, 2])), "ties: expected 3 numbers of one of 2 covariances"),
        (replace(model_of("tied").emission, covars=np.ones((3, 3)) - 2), "covars of all states: expected variances above 0"),
        (replace(full, prior=GaussianPrior(count=-1.0)), "prior: expected weights and counts of 0 or more"),
        (replace(full, prior=GaussianPrior(means=np.zeros(7))), "prior: does not fit 3 states and 3 channels"),
        (replace(full, prior=GaussianPrior(scatter=-np.eye(3))), "prior: expected a scatter that is nowhere negative"),
    ]
    for emission, expected in cases:
        assert (emission.fault or "").startswith(expected), emission.fault
