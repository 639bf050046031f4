"""Chains with transitions that are impossible, where states fade away that turn out to matter, against sums in logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.classical.hmm import inference
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.inference import filtered, scored, smoothed
from hindcast.classical.hmm.kernels import lanes, logs
from hindcast.classical.hmm.kernels.lanes import Spans, concatenated
from hindcast.classical.hmm.model import HiddenMarkov

NEVER, ALWAYS = ((1, 0.0),), ((1, 1.0),)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
ABSORBED = np.array([[0.9, 0.1], [0.0, 1.0]])
HALF = np.array([[0.5, 0.5], [0.0, 1.0]])


def gaussian(means: Any, variance: float, start: Any, transition: Any) -> HiddenMarkov[Gaussian]:
    column = np.array(means, float)[:, None]
    emission = Gaussian(column, np.full_like(column, variance), np.full(1, 1e-9))
    return HiddenMarkov(np.array(start, float), np.array(transition, float), emission)


def categorical(start: Any, transition: Any) -> HiddenMarkov[Categorical]:
    emission = Categorical(np.array([[0.999, 0.001], [0.001, 0.999]]))
    return HiddenMarkov(np.array(start, float), np.array(transition, float), emission)


def runs(*pairs: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(steps, level, float) for level, steps in pairs])


SLIGHT = 1.77e-12
DETOUR = [[1, 0, 0], [1 - SLIGHT, SLIGHT, 0], [0, 0, 1]]
CASES = {
    "a jump back": (gaussian([0, 10], 1.0, [1, 0], ABSORBED), runs((0, 20), (10, 15), (0, 20), (10, 9)), -816.804),
    "slow decay": (categorical([1, 0], ABSORBED), runs((0, 20), (1, 120), (0, 140), (1, 9)), -860.80),
    "one reading": (gaussian([0, 38], 1.0, [1, 0], HALF), np.array([0, 38, 0, 0, 38.0]), -729.37),
    "density from nothing": (
        gaussian([-2.3, 1.67, -2.2], 1e-3, np.full(3, 1 / 3), DETOUR),
        np.array([0.22, 2.25, -0.9, 2.43]),
        -4882.8,
    ),
}


def estimator(model: HiddenMarkov[Any]) -> Any:
    if isinstance(model.emission, Gaussian):
        found = hmm.GaussianHMM(model.states, covariance_type="diag")
        found.means_, found.covars_ = model.emission.means, model.emission.covars
    else:
        found = hmm.CategoricalHMM(model.states)
        found.emissionprob_ = model.emission.probabilities
    found.startprob_, found.transmat_ = model.start, model.transition
    return found


def log_density(model: HiddenMarkov[Any], x: np.ndarray) -> np.ndarray:
    """(steps, states) of readings (steps,)."""
    if isinstance(model.emission, Gaussian):
        variance = model.emission.covars[:, 0]
        return -0.5 * (np.log(2 * np.pi * variance) + (x[:, None] - model.emission.means[:, 0]) ** 2 / variance)
    return np.log(model.emission.probabilities.T[x.astype(int)])


def in_logs(model: HiddenMarkov[Any], x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Log-likelihood, filtered and smoothed (steps, states), expected transitions (states, states), in plain NumPy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_b, start, transition = log_density(model, x), np.log(model.start), np.log(model.transition)
        alpha, beta = [start + log_b[0]], [np.zeros(model.states)]
        for b in log_b[1:]:
            alpha.append(np.logaddexp.reduce(alpha[-1][:, None] + transition, axis=0) + b)
        for b in log_b[:0:-1]:
            beta.append(np.logaddexp.reduce(transition + (b + beta[-1]), axis=1))
        a, after = np.array(alpha), np.array(beta[::-1])
        total = np.logaddexp.reduce(a[-1])
        xi = np.zeros_like(transition)
        for t in range(1, len(x)):
            xi += np.exp(a[t - 1][:, None] + transition + log_b[t] + after[t] - total)
        return total, np.exp(a - np.logaddexp.reduce(a, axis=1)[:, None]), np.exp(a + after - total), xi


def spans_of(sequences: list[np.ndarray], weight: Any = None) -> Spans:
    spans = concatenated(np.concatenate(sequences)[:, None], np.array([len(x) for x in sequences]))
    return spans if weight is None else replace(spans, weight=np.array(weight, float))


def check(model: HiddenMarkov[Any], sequences: list[np.ndarray], weight: Any = None) -> None:
    """All that is said of some sequences in one call, and the sums over them."""
    spans, expected = spans_of(sequences, weight), [in_logs(model, x) for x in sequences]
    times = np.ones(len(sequences)) if weight is None else np.array(weight, float)
    for found, which in ((filtered(model, spans), 1), (smoothed(model, spans), 2)):
        for group, of_lanes, likelihood in found:
            for sequence, part in group.each(of_lanes):
                np.testing.assert_allclose(part, expected[sequence][which], **CLOSE)
                np.testing.assert_allclose(part.sum(axis=1), 1.0, rtol=1e-12)
                place = np.flatnonzero(group.members == sequence)[0]
                np.testing.assert_allclose(likelihood[place], expected[sequence][0], rtol=1e-9)
            assert not of_lanes[~np.broadcast_to(group.inside[:, None], of_lanes.shape)].any()
    for group, likelihood in scored(model, spans):
        for sequence, place in {int(m): p for p, m in reversed(list(enumerate(group.members))) if m >= 0}.items():
            np.testing.assert_allclose(likelihood[place], expected[sequence][0], rtol=1e-9)
    statistics = model.e_step(spans)
    np.testing.assert_allclose(statistics.starts, sum(w * e[2][0] for w, e in zip(times, expected, strict=True)), **CLOSE)
    np.testing.assert_allclose(statistics.transitions, sum(w * e[3] for w, e in zip(times, expected, strict=True)), **CLOSE)
    likelihood = sum(w * e[0] for w, e in zip(times, expected, strict=True))
    np.testing.assert_allclose(statistics.log_likelihood, likelihood, rtol=1e-9)
    weights, starts, xi, sums = times, np.zeros(model.states), np.zeros((model.states,) * 2), model.emission.no_sums()
    for group, gamma, _ in smoothed(model, spans, starts, xi, weighted=True):
        model.emission.add_sums(group, gamma, sums)
        for sequence, part in group.each(gamma):
            np.testing.assert_allclose(part, weights[sequence] * expected[sequence][2], **CLOSE)


@pytest.mark.parametrize("folds", [NEVER, ALWAYS])
@pytest.mark.parametrize("case", CASES)
def test_a_state_that_faded_away_is_found_again(case: str, folds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FILLED", folds)
    model, x, truth = CASES[case]
    found, expected = estimator(model), in_logs(model, x)
    X = x[:, None] if isinstance(model.emission, Gaussian) else x[:, None].astype(int)
    np.testing.assert_allclose(found.score(X), truth, rtol=1e-4)
    np.testing.assert_allclose(found.score(X), expected[0], rtol=1e-9)
    np.testing.assert_allclose(found.predict_proba(X), expected[2], **CLOSE)
    np.testing.assert_allclose(found.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.filtered_proba(X), expected[1], **CLOSE)
    check(model, [x])


@pytest.mark.parametrize("folds", [NEVER, ALWAYS])
def test_only_what_was_lost_is_redone(folds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FILLED", folds)
    redone: list[float] = []
    kernel = logs.forward_backward
    monkeypatch.setattr(inference.logs, "forward_backward", lambda b, *rest: redone.append(len(b)) or kernel(b, *rest))
    model, x, _ = CASES["a jump back"]
    fine = [runs((0, steps), (10, 3 * steps)) for steps in (1, 4, 7, 12)]
    sequences = [fine[0], x, *fine[1:], x[:58], *fine]
    model.e_step(spans_of(sequences))
    assert sorted(redone) == [58, 64]
    check(model, sequences)
    check(model, sequences, np.arange(len(sequences)) / 2)  # one of them counts 0 times
    check(model, [x + 0.1 * n for n in range(3)] * 7 + fine * 10)


def test_random_sparse_models() -> None:
    rng = np.random.default_rng(0)
    for trial in range(300):
        K = int(rng.integers(2, 7))
        start, transition = rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), K)
        transition[rng.random((K, K)) < 0.5] *= 1e-12
        transition[rng.random((K, K)) < 0.5] = 0.0
        if trial % 3 == 0:
            transition, start = np.triu(transition), np.eye(K)[0]
        transition += np.where(transition.sum(axis=1) > 1e-200, 0.0, 1.0)[:, None] * np.eye(K)
        transition /= transition.sum(axis=1, keepdims=True)
        model = gaussian(rng.normal(0, 2, K), 10.0 ** rng.integers(-5, 1), start, transition)
        check(model, [rng.normal(0, 2, rng.integers(1, 13)) for _ in range(int(rng.integers(1, 6)))])


def test_a_long_sequence_that_is_folded() -> None:
    rng = np.random.default_rng(1)
    model = CASES["a jump back"][0]
    check(model, [np.concatenate([rng.normal(0, 1, 2500), rng.normal(10, 1, 40), rng.normal(0, 1, 60), rng.normal(10, 1, 2400)])])
    cyclic = gaussian([0, 4, 8], 1.0, [0.5, 0.5, 0], [[0.9, 0.1, 0], [0, 0.9, 0.1], [0.1, 0, 0.9]])
    check(cyclic, [np.tile(np.repeat([0.0, 4.0, 8.0], 10), 170) + rng.normal(0, 1, 5100)])


def test_readings_that_no_path_can_emit_leave_posteriors_finite() -> None:
    table = np.array([[1.0, 0.0], [0.0, 1.0]])
    model = HiddenMarkov(np.array([1.0, 0.0]), ABSORBED, Categorical(table))
    spans = spans_of([runs((0, 3), (1, 2), (0, 2)), runs((0, 3), (1, 2))])
    for group, gamma, likelihood in smoothed(model, spans):
        np.testing.assert_allclose(likelihood[:2], [-np.inf, 2 * np.log(0.9) + np.log(0.1)], rtol=1e-12)
        for _, part in group.each(gamma):
            np.testing.assert_allclose(part.sum(axis=1), 1.0, rtol=1e-12)


def test_what_can_be_at_a_step() -> None:
    transition = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    expected = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(logs.counts(np.array([1.0, 0.0, 0.0]), transition) == 1.0, expected == 1)
