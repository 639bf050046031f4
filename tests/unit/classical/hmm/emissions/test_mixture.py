"""Mixtures of Gaussian components: enumeration, plain EM, hmmlearn where it is exact, and components that die."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.mixture import Mixture
from hindcast.classical.hmm.emissions.shared.mixture_prior import MixturePrior
from hindcast.classical.hmm.inference import smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import Spans, concatenated, whole
from hindcast.classical.hmm.model import HiddenMarkov

hmmlearn = pytest.importorskip("hmmlearn.hmm")
EXACT = {"rtol": 1e-11, "atol": 1e-12}
KINDS = ("spherical", "diag", "full", "tied")
K, M, C = 2, 3, 3
LENGTHS = [40, 1, 25, 34]


def model_of(kind: str, seed: int = 0, components: int = M, **told: Any) -> HiddenMarkov[Mixture]:
    rng = np.random.default_rng(seed)
    start, transition = rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K) * 3, K)
    roots = rng.normal(0, 0.3, (K, components, C, C)) + np.eye(C)
    full = roots @ roots.swapaxes(-1, -2)
    covars = {
        "spherical": rng.uniform(0.5, 2, (K, components)),
        "diag": rng.uniform(0.5, 2, (K, components, C)),
        "full": full,
        "tied": full[:, 0],
    }[kind]
    weights, means = rng.dirichlet(np.ones(components) * 3, K), rng.normal(0, 1, (K, components, C))
    return HiddenMarkov(start, transition, Mixture(weights, means, covars, np.full(C, 1e-9), kind, **told))


def covariance(emission: Mixture, k: int, m: int) -> np.ndarray:
    """(channels, channels) of one component, told from the shapes that are promised."""
    if emission.covariance == "tied":
        return emission.covars[k]
    return emission.covars[k, m] if emission.covariance == "full" else np.eye(emission.channels) * emission.covars[k, m]


def log_joint(emission: Mixture, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(steps, states, components) of what was observed of each step, and its component, one by one."""
    with np.errstate(divide="ignore"):
        out = np.tile(np.log(emission.weights), (len(values), 1, 1))
    for t, k, m in np.ndindex(*out.shape):
        o = np.flatnonzero(observed[t])
        S, e = covariance(emission, k, m)[np.ix_(o, o)], values[t, o] - emission.means[k, m, o]
        out[t, k, m] += -0.5 * (np.linalg.slogdet(2 * np.pi * S)[1] + e @ np.linalg.solve(S, e)) if len(o) else 0.0
    return out


def readings(shape: tuple[int, ...], missing: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values, and whether they were observed. What was not is far off, to show where it is used."""
    rng = np.random.default_rng(seed)
    values, observed = rng.normal(0, 2, (*shape, C)), (rng.random((*shape, C)) >= missing).astype(np.uint8)
    return np.where(observed > 0, values, 77.0), observed


def ascent(model: HiddenMarkov[Any], spans: Spans, iterations: int = 12) -> tuple[HiddenMarkov[Any], np.ndarray]:
    """The model after so many iterations, and log-likelihood with log-prior before each, which never falls."""
    found = []
    for _ in range(iterations):
        statistics = model.e_step(spans)
        found.append(statistics.log_likelihood + model.log_prior)
        model = model.m_step(statistics)
    values = np.array(found)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= -1e-10 * (np.abs(values[:-1]) + 1)).all(), np.diff(values)
    return model, values


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_enumeration_of_paths_and_an_m_step_of_the_components(kind: str, missing: float, oracle: Any) -> None:
    model = model_of(kind)
    values, observed = readings((5, 8), missing)
    spans = whole(values, observed if missing else None)
    joints = [log_joint(model.emission, *pair) for pair in zip(values, observed, strict=True)]
    expected = [oracle.enumerate(model.start, model.transition, np.logaddexp.reduce(joint, axis=2)) for joint in joints]
    for group, gamma, likelihood in smoothed(model, spans):
        for lane, row in enumerate(group.members[:5]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(gamma[:, :, lane], expected[row].smoothed, **EXACT)
    after = model.m_step(model.e_step(spans)).emission
    joint, gamma = np.concatenate(joints), np.concatenate([one.smoothed for one in expected])
    share = np.exp(joint - np.logaddexp.reduce(joint, axis=2, keepdims=True)) * gamma[:, :, None]
    share *= observed.reshape(-1, C).any(axis=1)[:, None, None]
    weight = share.sum(axis=0)
    np.testing.assert_allclose(after.weights, weight / weight.sum(axis=1, keepdims=True), **EXACT)
    if not missing:
        x = values.reshape(-1, C)
        means = np.einsum("tkm,tc->kmc", share, x) / weight[:, :, None]
        e = x[:, None, None] - means
        scatter = np.einsum("tkm,tkmc,tkmd->kmcd", share, e, e)
        variances = np.diagonal(scatter, axis1=2, axis2=3) / weight[:, :, None]
        covars = {
            "spherical": variances.mean(axis=2),
            "diag": variances,
            "full": scatter / weight[:, :, None, None],
            "tied": scatter.sum(axis=1) / weight.sum(axis=1)[:, None, None],
        }[kind]
        np.testing.assert_allclose(after.means, means, rtol=1e-10)
        np.testing.assert_allclose(after.covars, covars, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_one_component_is_a_gaussian(kind: str, missing: float) -> None:
    model, (values, observed) = model_of(kind, components=1), readings((8, 12), missing)
    emission, spans = model.emission, whole(values, observed if missing else None)
    covars = emission.covars if kind == "tied" else emission.covars[:, 0]
    ties = np.arange(K) if kind == "tied" else None
    one, _ = ascent(model, spans, 5)
    other, _ = ascent(replace(model, emission=Gaussian(emission.means[:, 0], covars, emission.floor, kind, ties)), spans, 5)
    np.testing.assert_allclose(one.emission.means[:, 0], other.emission.means, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(one.emission.covars.reshape(covars.shape), other.emission.covars, rtol=1e-9, atol=1e-10)
    assert one.parameters == other.parameters


def peer(kind: str, n_iter: int, params: str, **told: Any) -> tuple[Any, HiddenMarkov[Mixture]]:
    """hmmlearn's and ours, of the same parameters. Its spherical default is a prior unless components are as many as channels."""
    fixed = frozenset(name for letter, name in (("w", "weights"), ("m", "means"), ("c", "covars")) if letter not in params)
    ours = model_of(kind, seed=5, fixed=fixed)
    if kind == "spherical":
        told = {"covars_prior": -1.0 - C / 2, **told}
    theirs = hmmlearn.GMMHMM(
        K, M, covariance_type=kind, n_iter=n_iter, tol=-np.inf, init_params="", params=params, min_covar=0.0, **told
    )
    theirs.n_features = C
    theirs.startprob_, theirs.transmat_ = ours.start, ours.transition
    theirs.weights_, theirs.means_, theirs.covars_ = ours.emission.weights, ours.emission.means, ours.emission.covars
    return theirs, ours


def regimes() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (K, M, C))
    return centres[np.repeat(rng.integers(0, K, 20), 5), rng.integers(0, M, 100)] + rng.normal(size=(100, C))


@pytest.mark.parametrize("kind", KINDS)
def test_hmmlearn_says_the_same_of_the_same_parameters(kind: str) -> None:
    X, spans = regimes(), concatenated(regimes(), np.array(LENGTHS))
    theirs, model = peer(kind, 1, "stmcw")
    np.testing.assert_allclose(model.e_step(spans).log_likelihood, theirs.score(X, LENGTHS), rtol=1e-12)
    posterior = theirs.predict_proba(X, LENGTHS)
    for group, gamma, _ in smoothed(model, spans):
        for sequence, of_sequence in group.each(gamma):
            np.testing.assert_allclose(of_sequence, posterior[spans.start[sequence] : spans.stop[sequence]], atol=1e-10)


# hmmlearn sums squares about the means that an iteration began with, so its M-step of covariances is not that of EM unless the
# means stay; where either stays, both are exact.
@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("params", ["stcw", "stmw"])
@pytest.mark.parametrize("kind", KINDS)
def test_hmmlearn_estimates_the_same_where_its_steps_are_exact(kind: str, params: str, priors: bool) -> None:
    told: dict[str, Any] = {}
    if priors:
        covars_prior = {"spherical": 2.0, "diag": 3.0, "full": np.eye(C) * 0.7, "tied": np.eye(C) * 0.7}[kind]
        told = {"weights_prior": 2.0, "means_prior": 0.4, "means_weight": 3.0, "covars_prior": covars_prior, "covars_weight": 1.5}
    X, spans = regimes(), concatenated(regimes(), np.array(LENGTHS))
    theirs, model = peer(kind, 6, params, **told)
    prior = MixturePrior.as_hmmlearn(kind, M, C, **told) if priors else None
    theirs.fit(X, LENGTHS)
    model, found = ascent(replace(model, emission=replace(model.emission, prior=prior)), spans, 6)
    if not priors:
        np.testing.assert_allclose(found, list(theirs.monitor_.history), rtol=1e-10)
    np.testing.assert_allclose(model.transition, theirs.transmat_, atol=1e-8)
    for name in ("weights", "means", "covars"):
        np.testing.assert_allclose(getattr(model.emission, name), getattr(theirs, name + "_"), atol=1e-8, err_msg=name)


@pytest.mark.parametrize("prior", [None, MixturePrior(2.0, 0.5, 3.0, 0.3, 2.0)])
@pytest.mark.parametrize("fixed", [(), ("means",), ("covars", "weights")])
@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_of_what_was_observed_never_falls(kind: str, fixed: Any, prior: Any) -> None:
    model, (values, observed) = model_of(kind, prior=prior, fixed=frozenset(fixed)), readings((12, 20), 0.4)
    after, found = ascent(model, whole(values, observed), 25)
    assert found[-1] - found[0] > 0.1
    assert after.emission.fault is None
    for name in fixed:
        np.testing.assert_array_equal(getattr(after.emission, name), getattr(model.emission, name))


@pytest.mark.parametrize("kind", KINDS)
def test_an_m_step_is_the_best_of_all_near_it(kind: str) -> None:
    scatter = 0.3 if kind in ("spherical", "diag") else 0.3 * np.eye(C)
    model = model_of(kind, prior=MixturePrior(1.5, 0.5, 3.0, scatter, 2.0))
    values, observed = readings((1, 80), 0.0)
    gamma = next(smoothed(model, whole(values)))[1][:, :, 0].copy()
    joint = log_joint(model.emission, values[0], observed[0])
    share = np.exp(joint - np.logaddexp.reduce(joint, axis=2, keepdims=True)) * gamma[:, :, None]
    best = model.m_step(model.e_step(whole(values))).emission

    def objective(emission: Mixture) -> float:
        return float((share * log_joint(emission, values[0], observed[0])).sum() + emission.log_prior)

    rng, at_best = np.random.default_rng(2), objective(best)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(6):
            step = rng.normal(0, size, best.covars.shape)
            step = step + step.swapaxes(-1, -2) if kind in ("full", "tied") else step
            weights = best.weights * np.exp(rng.normal(0, size, best.weights.shape))
            moved = best.moved(
                weights=weights / weights.sum(axis=1, keepdims=True),
                means=best.means + rng.normal(0, size, best.means.shape),
                covars=best.covars + step,
            )
            assert moved.fault is not None or objective(moved) < at_best


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_to_the_whole_and_states_can_change_places(kind: str) -> None:
    model, (values, observed) = model_of(kind), readings((40, 8), 0.3)
    model = replace(model, emission=replace(model.emission, prior=MixturePrior(np.array([[1.0], [2.0]]), 0.5, 1.0, 0.2, 1.0)))
    together = model.e_step(whole(values, observed))
    parts = [model.e_step(whole(values[rows], observed[rows])) for rows in (slice(0, 7), slice(7, 29), slice(29, 40))]
    summed = parts[0] + parts[1] + parts[2]
    np.testing.assert_allclose(summed.emission.counts, together.emission.counts, rtol=1e-12)
    for name, array in vars(together.emission.components).items():
        found = getattr(summed.emission.components, name)
        np.testing.assert_allclose(found, array, rtol=1e-12, atol=1e-12 * np.abs(array).max())
    permuted = model.permuted(np.array([1, 0]))
    then, again = model.m_step(together).permuted(np.array([1, 0])), permuted.m_step(permuted.e_step(whole(values, observed)))
    assert then.log_prior == pytest.approx(model.m_step(together).log_prior, rel=1e-12)
    for name in ("weights", "means", "covars"):
        np.testing.assert_allclose(getattr(again.emission, name), getattr(then.emission, name), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_parameters_are_found_again_within_three_standard_errors(kind: str, missing: float) -> None:
    """From clusters. Components of one state lie together, and all far apart, so that errors are those of the counts."""
    rng, steps = np.random.default_rng(4), 8000
    truth = model_of(kind, components=2).emission
    offset = np.array([[0.0, 9.0, -9.0], [60.0, 69.0, 51.0]])
    means = np.stack([offset, offset + np.array([9.0, 0.0, 9.0])], axis=1)
    truth = replace(truth, means=means, weights=np.array([[0.3, 0.7], [0.55, 0.45]]))
    transition = np.array([[0.9, 0.1], [0.2, 0.8]])
    states = np.zeros(steps, int)
    for t in range(1, steps):
        states[t] = rng.random() < transition[states[t - 1], 1]
    values = truth.sample(states, rng)[None]
    observed = (rng.random(values.shape) >= missing).astype(np.uint8)
    spans = whole(np.where(observed > 0, values, 0.0), observed if missing else None)
    begin = initialise(lambda x, seen: Mixture.begin(x, seen, components=2, variance_floor=1e-6, covariance=kind), spans, 2)
    found = ascent(begin, spans, 40)[0].emission
    found = found.permuted(np.argsort(found.landmarks[:, 0]))
    for k in range(2):
        order = np.argsort(found.means[k, :, 0])
        share, count = found.weights[k, order], (states == k).sum()
        assert (np.abs(share - truth.weights[k]) < 3 * np.sqrt(truth.weights[k].prod() / count / (1 - missing**3))).all()
        for m in range(2):
            S, seen = covariance(truth, k, m), count * truth.weights[k, m] * (1 - missing)
            assert (np.abs(found.means[k, order[m]] - truth.means[k, m]) < 3 * np.sqrt(np.diag(S) / seen)).all()
            error = np.sqrt((np.outer(np.diag(S), np.diag(S)) + S**2) / (seen * (1 - missing)))
            assert (np.abs(covariance(found, k, order[m]) - S) < 3 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_0_stays_and_its_component_is_kept_and_reported(kind: str) -> None:
    model, (values, observed) = model_of(kind), readings((6, 20), 0.3)
    weights = np.array([[0.0, 0.4, 0.6], [0.5, 0.5, 0.0]])
    model = replace(model, emission=replace(model.emission, weights=weights))
    after, _ = ascent(model, whole(values, observed))
    emission = after.emission
    np.testing.assert_array_equal(emission.weights == 0, weights == 0)
    np.testing.assert_array_equal(emission.means[0, 0], model.emission.means[0, 0])
    np.testing.assert_array_equal(emission.means[1, 2], model.emission.means[1, 2])
    assert "nothing was assigned to component 0 of state 0, component 2 of state 1" in emission.repairs[-1]
    swapped = emission.permuted(np.array([1, 0])).repairs[-1]
    assert "component 2 of state 0, component 0 of state 1" in swapped
    nothing = model.m_step(model.e_step(whole(values, np.zeros_like(observed)))).emission
    for name in ("weights", "means", "covars"):
        np.testing.assert_array_equal(getattr(nothing, name), getattr(model.emission, name))
    assert nothing.empty == ()


@pytest.mark.parametrize("kind", KINDS)
def test_outliers_constants_and_too_few_steps_stay_finite_and_are_reported(kind: str) -> None:
    rng = np.random.default_rng(0)
    outliers = rng.normal(size=(1, 200, 4))
    outliers[0, ::50] *= 1e4
    constant = rng.normal(size=(1, 60, 4))
    constant[:, :, 1] = 7.0
    for values in (outliers, constant, rng.normal(size=(1, 3, 4)), np.ones((2, 9, 4))):
        spans = whole(values)
        begin = initialise(lambda x, seen: Mixture.begin(x, seen, components=3, variance_floor=1e-6, covariance=kind), spans, 2)
        emission = ascent(begin, spans, 20)[0].emission
        assert emission.fault is None
        if values is constant and kind != "spherical":
            assert "state 0" in emission.repairs[0]
            assert "raised to the floor" in emission.repairs[0]
            assert emission.permuted(np.array([1, 0])).permuted(np.array([1, 0])).floored == emission.floored


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_their_state(kind: str) -> None:
    emission = model_of(kind).emission
    drawn = emission.sample(np.repeat([0, 1], 20_000), np.random.default_rng(0)).reshape(2, -1, C)
    for k, of_state in enumerate(drawn):
        mean, w = emission.landmarks[k], emission.weights[k]
        off = emission.means[k] - mean
        S = sum(w[m] * (covariance(emission, k, m) + np.outer(off[m], off[m])) for m in range(M))
        assert (np.abs(of_state.mean(axis=0) - mean) < 4 * np.sqrt(np.diag(S) / 20_000)).all()
        np.testing.assert_allclose(np.cov(of_state.T), S, atol=0.05 * np.trace(S))


def test_what_is_wrong_with_parameters_is_said_of_the_component() -> None:
    full, tied = model_of("full").emission, model_of("tied").emission
    assert (full.fault, tied.fault) == (None, None)
    bent, shared, means = full.covars.copy(), tied.covars.copy(), full.means.copy()
    bent[1, 2], shared[1], means[1, 0, 0] = 2.0 - np.eye(C), 2.0 - np.eye(C), np.inf
    cases = [
        (replace(full, weights=full.weights * 2), "weights of state 0: expected probabilities that add up to 1"),
        (replace(full, weights=full.weights[:, :2]), "found weights and means of shapes (2, 2) and (2, 3, 3)"),
        (replace(full, covars=bent), "covars of component 2 of state 1: not positive definite"),
        (replace(tied, covars=shared), "covars of state 1: not positive definite"),
        (replace(tied, covars=full.covars), "covars: found shape (2, 3, 3, 3), expected (2, 3, 3)"),
        (replace(full, means=means), "means of component 0 of state 1: expected finite numbers"),
        (replace(full, prior=MixturePrior(weights=0.5)), "prior: expected concentrations of weights of 1 or more"),
        (replace(full, prior=MixturePrior(means=np.zeros(7))), "prior: does not fit 2 states of 3 components and 3 channels"),
        (replace(full, prior=MixturePrior(count=-1.0)), "prior: expected weights and counts of 0 or more"),
    ]
    for emission, expected in cases:
        assert (emission.fault or "").startswith(expected), emission.fault
