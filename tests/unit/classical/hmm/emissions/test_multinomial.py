"""Multinomial emissions: SciPy, hmmlearn, the enumeration of all paths and of all missing counts, and readings that cannot be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hindcast.classical import em
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.multinomial import Multinomial
from hindcast.classical.hmm.inference import decoded, filtered, smoothed
from hindcast.classical.hmm.initial import initialise
from hindcast.classical.hmm.kernels.lanes import concatenated, groups, whole
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.prep.errors import InputError

hmmlearn = pytest.importorskip("hmmlearn.hmm")
EXACT = {"rtol": 1e-11, "atol": 1e-13}
TRIALS = 6


def model_of(seed: int = 0, symbols: int = 4, **more: Any) -> HiddenMarkov[Multinomial]:
    rng = np.random.default_rng(seed)
    start, transition, probabilities = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(symbols), 3)
    return HiddenMarkov(start, transition, Multinomial(probabilities, **more))


def readings(rows: int, steps: int, symbols: int = 4, seed: int = 1, trials: int | None = TRIALS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    each = rng.integers(0, 40, (rows, steps)) if trials is None else np.full((rows, steps), trials)
    return rng.multinomial(each, rng.dirichlet(np.ones(symbols))).astype(float)


def log_density(emission: Multinomial, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(steps, states): all counts that the missing ones could be, summed over, by SciPy."""
    out = np.zeros((len(values), emission.states))
    for t, k in np.ndindex(*out.shape):
        seen = observed[t] > 0
        if seen.any():
            out[t, k] = np.logaddexp.reduce(
                [stats.multinomial.logpmf(x, int(x.sum()), emission.probabilities[k]) for x in completed(values[t], seen)]
            )
    return out


def completed(x: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
    """All vectors of TRIALS counts that agree with what was seen."""
    if seen.all():
        return [x]
    every = []
    for guess in itertools.product(range(TRIALS + 1), repeat=int((~seen).sum())):
        candidate = x.copy()
        candidate[~seen] = guess
        if candidate.sum() == TRIALS:
            every.append(candidate)
    return every


@pytest.mark.parametrize("missing", [False, True])
def test_the_enumeration_of_paths_and_of_missing_counts(missing: bool, oracle: Any) -> None:
    model, values = model_of(trials=TRIALS if missing else None), readings(5, 7, trials=TRIALS if missing else None)
    observed = np.random.default_rng(2).integers(0, 2, values.shape) if missing else np.ones(values.shape, int)
    if missing:
        observed[0, 0], observed[1, 1] = 0, [1, 1, 1, 0]
    spans = whole(np.where(observed > 0, values, 77.0), observed.astype(np.uint8) if missing else None)
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
    counts = np.zeros((3, 4))
    for row, t, k in np.ndindex(5, 7, 3):
        seen, p = observed[row, t] > 0, model.emission.probabilities[k]
        if seen.any():
            every = completed(values[row, t], seen)
            chance = np.array([stats.multinomial.pmf(x, int(x.sum()), p) for x in every])
            counts[k] += expected[row].smoothed[t, k] * (chance / chance.sum() @ np.array(every))
    after = model.m_step(model.e_step(spans)).emission
    np.testing.assert_allclose(after.probabilities, counts / counts.sum(axis=1, keepdims=True), rtol=1e-10)


def test_hmmlearn_says_the_same() -> None:
    begin, X, lengths = model_of(3), readings(1, 100)[0].astype(int), np.array([40, 1, 25, 34])
    theirs = hmmlearn.MultinomialHMM(3, n_trials=TRIALS, n_iter=8, tol=-np.inf, init_params="")
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = begin.start, begin.transition, begin.emission.probabilities
    theirs.n_features = 4
    spans = concatenated(X.astype(float), lengths)
    found = sum(likelihood[group.members >= 0].sum() for group, _, likelihood in filtered(begin, spans))
    np.testing.assert_allclose(found, theirs.score(X, lengths), rtol=1e-12)
    posterior = theirs.predict_proba(X, lengths)
    for group, gamma, _ in smoothed(begin, spans):
        for sequence, of_sequence in group.each(gamma):
            np.testing.assert_allclose(of_sequence, posterior[spans.start[sequence] : spans.stop[sequence]], atol=1e-10)
    theirs.fit(X, lengths)
    model = begin
    for _ in range(8):
        model = model.m_step(model.e_step(spans))
    for found, name in (
        (model.start, "startprob_"),
        (model.transition, "transmat_"),
        (model.emission.probabilities, "emissionprob_"),
    ):
        np.testing.assert_allclose(found, getattr(theirs, name), atol=1e-8, err_msg=name)


def test_one_trial_a_step_is_a_symbol_a_step() -> None:
    model, symbols = model_of(), np.random.default_rng(0).integers(0, 4, (3, 30))
    counted = model.e_step(whole(np.eye(4)[symbols]))
    coded = replace(model, emission=Categorical(model.emission.probabilities)).e_step(whole(symbols[:, :, None].astype(float)))
    np.testing.assert_allclose(counted.log_likelihood, coded.log_likelihood, rtol=1e-13)
    np.testing.assert_allclose(counted.emission.counts, coded.emission.counts, rtol=1e-11)


@pytest.mark.parametrize("prior", [1.0, np.array([2.0, 1.0, 3.0, 1.5]), np.random.default_rng(5).uniform(1, 4, (3, 4))])
@pytest.mark.parametrize("missing", [False, True])
def test_the_likelihood_with_the_prior_never_falls(missing: bool, prior: Any) -> None:
    values = readings(6, 30)
    observed = (np.random.default_rng(3).random(values.shape) > 0.2).astype(np.uint8) if missing else None
    model, before = model_of(trials=TRIALS, prior=prior), -np.inf
    for _ in range(25):
        statistics = model.e_step(whole(values, observed))
        now = statistics.log_likelihood + model.log_prior
        assert now >= before - 1e-11 * abs(now)
        model, before = model.m_step(statistics), now
    with_prior = model.m_step(statistics).emission.probabilities
    added = statistics.emission.counts + np.asarray(prior) - 1
    np.testing.assert_allclose(with_prior, added / added.sum(axis=1, keepdims=True), rtol=1e-12)


def test_fixed_probabilities_stay_and_priors_go_with_their_states() -> None:
    model, spans, order = (
        model_of(prior=np.random.default_rng(5).uniform(1, 4, (3, 4))),
        whole(readings(3, 9)),
        np.array([2, 0, 1]),
    )
    held = replace(model.emission, fixed=frozenset({"probabilities"}))
    statistics = model.e_step(spans)
    np.testing.assert_array_equal(held.m_step(statistics.emission).probabilities, held.probabilities)
    permuted = model.permuted(order)
    np.testing.assert_allclose(permuted.log_prior, model.log_prior, rtol=1e-13)
    then, again = model.m_step(statistics).permuted(order), permuted.m_step(permuted.e_step(spans))
    np.testing.assert_allclose(again.emission.probabilities, then.emission.probabilities, rtol=1e-9)


def test_the_statistics_of_parts_add_up() -> None:
    model, values = model_of(trials=TRIALS), readings(40, 9)
    observed = (np.random.default_rng(3).random(values.shape) > 0.2).astype(np.uint8)
    together = model.e_step(whole(values, observed)).emission
    parts = [model.e_step(whole(values[rows], observed[rows])).emission for rows in np.array_split(np.arange(40), 3)]
    np.testing.assert_allclose((parts[0] + parts[1] + parts[2]).counts, together.counts, rtol=1e-12)


def test_what_was_sampled_is_found_again_within_three_standard_errors() -> None:
    rng = np.random.default_rng(0)
    p = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.1, 0.5, 0.3]])
    states = np.zeros(6000, int)
    for t in range(1, len(states)):
        states[t] = rng.random() < (0.05 if states[t - 1] == 0 else 0.9)
    values = Multinomial(p, trials=20).sample(states, rng).astype(float)
    spans = whole(values[None])
    begun = initialise(partial(Multinomial.begin, trials=20), spans, 2)
    fitted, _ = em.fit(begun, [spans], iterations=100, tolerance=1e-9)
    found = fitted.emission.probabilities[np.argsort(-fitted.emission.probabilities[:, 0])]
    trials = 20 * np.bincount(states)[:, None]
    np.testing.assert_array_less(np.abs(found - p), 3 * np.sqrt(p * (1 - p) / trials))


def test_states_begin_where_symbols_come_alike_though_few_come_in_a_step() -> None:
    rng = np.random.default_rng(0)
    p = np.where(np.arange(400)[:, None] < 200, [0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    values = rng.multinomial(2, p).astype(float)[None]
    observed = np.ones(values.shape, np.uint8)
    observed[0, ::3, 1] = 0
    values[0, ::3] = [500, 0, 0]
    labels = Multinomial(np.full((1, 3), 1 / 3), trials=2).first_states(whole(values, observed), 2, rng)[0]
    assert max(abs((labels[:200] == k).mean() - (labels[200:] == k).mean()) for k in (0, 1)) > 0.8


def test_impossible_and_never_seen_symbols_have_no_nan() -> None:
    emission = Multinomial(np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]), trials=4)
    model = HiddenMarkov(np.array([0.5, 0.5]), np.full((2, 2), 0.5), emission)
    values = np.array([[[2.0, 2.0, 0.0], [1.0, 0.0, 3.0], [4.0, 0.0, 0.0]]])
    group, gamma, likelihood = next(smoothed(model, whole(values)))
    np.testing.assert_allclose(gamma[1, :, 0], [0.0, 1.0], atol=1e-15)
    out = np.empty((group.steps, 2, group.values.shape[-1]))
    emission.log_density(group, out)
    assert out[1, 0, 0] == -np.inf
    hidden = np.array([[[1, 1, 0], [0, 0, 1], [1, 1, 0]]], np.uint8)
    after = model.m_step(model.e_step(whole(values, hidden)))
    assert np.isfinite(likelihood[0])
    assert np.isfinite(after.emission.probabilities).all()
    assert after.emission.probabilities[0, 2] == 0.0
    alone = HiddenMarkov(np.ones(1), np.ones((1, 1)), Multinomial(np.array([[0.5, 0.5, 0.0]])))
    assert alone.e_step(whole(values)).log_likelihood == -np.inf


def test_steps_that_were_not_measured_at_all_say_nothing() -> None:
    model, values, observed = model_of(), readings(2, 9), np.ones((2, 9, 4), np.uint8)
    observed[:, 3:5] = 0
    after = model.m_step(model.e_step(whole(values, observed))).emission
    values[:, 3:5] = 999
    np.testing.assert_array_equal(model.m_step(model.e_step(whole(values, observed))).emission.probabilities, after.probabilities)
    observed[:] = 0
    nothing = model.e_step(whole(values, observed))
    np.testing.assert_allclose(nothing.log_likelihood, 0.0, atol=1e-12)
    np.testing.assert_array_equal(model.m_step(nothing).emission.probabilities, model.emission.probabilities)


def test_readings_that_cannot_be_are_named() -> None:
    values, observed = readings(3, 9), np.ones((3, 9, 4), np.uint8)
    values[1, 4, 0] += 1
    with pytest.raises(InputError, match="sequence 1, step 4: the counts add up to 7, expected 6 trials"):
        model_of(trials=TRIALS).e_step(whole(values))
    observed[2, 5, :2] = 0
    with pytest.raises(InputError, match="sequence 2, step 5: 2 of 4 counts are missing: tell the number of trials"):
        model_of().e_step(whole(values, observed))
    values[1, 4, 0] -= 1
    values[2, 5, 2] = 60
    with pytest.raises(
        InputError, match=r"sequence 2, step 5: the counts that are there add up to 6[0-9], expected at most 6 trials"
    ):
        model_of(trials=TRIALS).e_step(whole(values, observed))
    with pytest.raises(InputError, match="trials: how many a sampled step has is not told"):
        model_of().emission.sample(np.zeros(2, int), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("emission", "told"),
    [
        (Multinomial(np.array([[0.5, 0.5], [0.5, np.nan]])), "state 1: expected probabilities that add up to 1"),
        (Multinomial(np.full((2, 2), 0.5), trials=-1), "trials: expected 0 or more, found -1"),
        (Multinomial(np.full((2, 2), 0.5), prior=0.0), "prior: expected concentrations of 1 or more"),
    ],
)
def test_a_fault_names_what_is_wrong(emission: Multinomial, told: str) -> None:
    assert str(emission.fault).startswith(told)


def test_large_counts_have_scipys_densities() -> None:
    values = np.array([[[1500.0, 900.0, 20.0, 3000.0], [1024.0, 1023.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    model = model_of()
    group = next(groups(whole(values), 0, model.emission.centre))
    out = np.empty((3, 3, group.values.shape[-1]))
    model.emission.log_density(group, out)
    expected = [[stats.multinomial.logpmf(x, int(x.sum()), p) for p in model.emission.probabilities] for x in values[0]]
    np.testing.assert_allclose(out[:, :, 0], expected, rtol=1e-11)
