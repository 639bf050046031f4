"""The compiled lattice against the enumeration of all paths, and against what others have printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.inference import decoded, filtered, smoothed
from hindcast.classical.hmm.kernels import lattice
from hindcast.classical.hmm.kernels.lanes import Spans, whole
from hindcast.classical.hmm.kernels.vector import LANES

FAMILIES = ("diagonal", "full", "autoregressive")
EXACT = {"rtol": 1e-11, "atol": 1e-13}


def run(log_b: np.ndarray, start: np.ndarray, transition: np.ndarray) -> dict[str, Any]:
    """Forward and backward of one sequence (steps, states), in the first lane."""
    T, K = log_b.shape
    b, alpha = np.zeros((T, K, LANES)), np.empty((T, K, LANES))
    b[:, :, 0] = log_b
    lengths, begins = np.zeros(LANES, np.int64), np.zeros(1, np.int64)
    lengths[0] = T
    scale, likelihood, starts, xi = np.empty((T, LANES)), np.empty(LANES), np.zeros(K), np.zeros((K, K))
    lattice.forward(b, None, begins, lengths, start, transition, alpha, scale, likelihood)
    filtered = alpha[:, :, 0] * scale[:, :1]
    lattice.backward(b, begins, lengths, np.ones(LANES), transition, alpha, scale, starts, xi)
    return {"log_likelihood": likelihood[0], "filtered": filtered, "gamma": alpha[:, :, 0], "xi": xi, "starts": starts}


@pytest.mark.parametrize("family", FAMILIES)
def test_ragged_sequences_give_what_the_enumeration_of_paths_gives(family: str, oracle: Any, random_model: Any) -> None:
    model = random_model(family)
    order = model.emission.order
    rng = np.random.default_rng(1)
    stop = np.array([order + steps for steps in (5, 1, 7, 3)])
    spans = Spans(rng.normal(size=(4, stop.max(), 2)), None, np.arange(4), np.zeros(4, int), np.zeros(4, int) + order, stop)
    expected = [
        oracle.enumerate(model.start, model.transition, oracle.log_density(model.emission, spans.values[r, :end]))
        for r, end in enumerate(stop)
    ]
    for group, alpha, likelihood in filtered(model, spans):
        for lane, row in enumerate(group.members[:4]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(alpha[: group.lengths[lane], :, lane], expected[row].filtered, **EXACT)
    for group, gamma, likelihood in smoothed(model, spans):
        assert not gamma[:, :, 4:].any()
        for lane, row in enumerate(group.members[:4]):
            np.testing.assert_allclose(likelihood[lane], expected[row].log_likelihood, **EXACT)
            np.testing.assert_allclose(gamma[: group.lengths[lane], :, lane], expected[row].smoothed, **EXACT)
            assert not gamma[group.lengths[lane] :, :, lane].any()
    for group, path, log_probability in decoded(model, spans):
        for lane, row in enumerate(group.members[:4]):
            np.testing.assert_array_equal(path[: group.lengths[lane], lane], expected[row].path)
            np.testing.assert_allclose(log_probability[lane], expected[row].log_probability, **EXACT)
    statistics = model.e_step(spans)
    np.testing.assert_allclose(statistics.transitions, sum(one.pairs for one in expected), **EXACT)
    np.testing.assert_allclose(statistics.starts, sum(one.smoothed[0] for one in expected), **EXACT)
    np.testing.assert_allclose(statistics.log_likelihood, sum(one.log_likelihood for one in expected), **EXACT)
    assert (statistics.count, statistics.sequences) == (16, 4)


def test_more_sequences_than_lanes_are_each_scored_once(random_model: Any) -> None:
    model = random_model("diagonal")
    values = np.random.default_rng(0).normal(size=(2 * LANES + 3, 6, 2))
    together = {
        int(m): lane for group, _, ll in filtered(model, whole(values)) for m, lane in zip(group.members, ll, strict=True)
    }
    alone = [float(next(filtered(model, whole(values[[row]])))[2][0]) for row in range(len(values))]
    np.testing.assert_allclose([together[row] for row in range(len(values))], alone, rtol=1e-13)


def test_missing_channels_are_marginalised(oracle: Any, random_model: Any) -> None:
    rng = np.random.default_rng(2)
    for family in ("diagonal", "autoregressive"):
        model = random_model(family)
        values, observed = rng.normal(size=(1, 8, 2)), rng.integers(0, 2, (1, 8, 2)).astype(np.uint8)
        expected = oracle.enumerate(
            model.start, model.transition, oracle.log_density(model.emission, values[0], observed[0].astype(float))
        )
        *_, likelihood = next(filtered(model, whole(values, observed)))
        np.testing.assert_allclose(likelihood[0], expected.log_likelihood, **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_of_2_is_the_sequence_given_twice_and_0_leaves_it_out(family: str, random_model: Any) -> None:
    model, values = random_model(family), np.random.default_rng(4).normal(size=(4, 9, 2))
    stop = np.array([9, 3, 6, 8])

    def expected(rows: list[int], weight: list[float] | None) -> list[np.ndarray]:
        zero, starts, transitions, sums = np.zeros(len(rows), int), np.zeros(3), np.zeros((3, 3)), model.emission.no_sums()
        spans = Spans(values, None, np.array(rows), zero, zero, stop[rows], None if weight is None else np.array(weight))
        for group, gamma, _ in smoothed(model, spans, starts, transitions, weighted=True):
            model.emission.add_sums(group, gamma, sums)
        return [starts, transitions, *vars(model.emission.statistics(sums)).values()]

    weighted, given = expected([0, 1, 2, 3], [1.0, 2.0, 0.0, 2.0]), expected([0, 1, 1, 3, 3], None)
    for one, other in zip(weighted, given, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_posteriors_that_are_asked_for_have_no_weights(random_model: Any) -> None:
    spans = replace(whole(np.random.default_rng(4).normal(size=(2, 9, 2))), weight=np.array([3.0, 0.0]))
    _, gamma, _ = next(smoothed(random_model("diagonal"), spans))
    np.testing.assert_allclose(gamma[:, :, :2].sum(axis=1), 1.0, rtol=1e-13)


@pytest.mark.parametrize("far", [50.0, 1e3, 1e6])
def test_a_frame_that_every_state_all_but_excludes_stays_finite(far: float, oracle: Any, random_model: Any) -> None:
    model = random_model("diagonal", states=2)
    transition = np.array([[1.0, 0.0], [0.0, 1.0]])  # the state that fits the far frame best cannot be reached
    values = np.zeros((6, 2))
    values[3] = far
    log_b = oracle.log_density(model.emission, values)
    for start in (np.array([1.0, 0.0]), np.array([1 - 1e-250, 1e-250]), np.array([0.5, 0.5])):
        found, expected = run(log_b, start, transition), oracle.enumerate(start, transition, log_b)
        np.testing.assert_allclose(found["log_likelihood"], expected.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(found["gamma"], expected.smoothed, atol=1e-12)
        np.testing.assert_allclose(found["xi"], expected.pairs, atol=1e-12)


def test_readings_that_no_state_can_emit_have_probability_zero_and_no_nan() -> None:
    log_b = np.array([[0.0, 0.0], [-np.inf, -np.inf], [0.0, -1.0]])
    found = run(log_b, np.array([0.5, 0.5]), np.full((2, 2), 0.5))
    assert found["log_likelihood"] == -np.inf
    assert np.isfinite(found["gamma"]).all()
    np.testing.assert_allclose(found["gamma"].sum(axis=1), 1.0)


@pytest.mark.data
def test_textbook_examples(shared: Any) -> None:
    reference = json.loads((shared / "reference" / "hmm.json").read_text())
    weather, umbrella = reference["rainy_sunny"], reference["umbrella"]
    cases = [
        (weather, np.log(np.array(weather["E"])[:, weather["obs"]].T)),
        (umbrella, np.log(np.array(umbrella["B"]))),
    ]
    for case, log_b in cases:
        start, transition, at = np.array(case["pi"]), np.array(case["A"]), case["at"]
        found = run(log_b, start, transition)
        np.testing.assert_allclose(found["log_likelihood"], at["log_likelihood"], rtol=1e-14)
        np.testing.assert_allclose(found["gamma"][:, 0], at["gamma0"], atol=5e-9)
        path, log_probability = np.empty((len(log_b), LANES), np.int32), np.empty(LANES)
        lengths = np.full(LANES, len(log_b))
        with np.errstate(divide="ignore"):
            lanes = np.repeat(log_b[:, :, None], LANES, axis=2)
            lattice.viterbi(
                lanes, np.zeros(1, int), lengths, np.log(start), np.log(transition), np.empty_like(lanes), path, log_probability
            )
        np.testing.assert_array_equal(path[:, 0], at["viterbi"])
        expected = at.get("viterbi_log_probability") or np.log(at["viterbi_probability"])
        np.testing.assert_allclose(log_probability[0], expected, rtol=1e-13)
    found = run(cases[1][1], np.array(umbrella["pi"]), np.array(umbrella["A"]))
    np.testing.assert_allclose(found["xi"], umbrella["at"]["xi_sum"], atol=5e-9)
    after = weather["after_one_em_step"]
    found = run(cases[0][1], np.array(weather["pi"]), np.array(weather["A"]))
    np.testing.assert_allclose(found["starts"], after["pi"], atol=5e-9)
    np.testing.assert_allclose(found["xi"] / found["xi"].sum(axis=1, keepdims=True), after["A"], atol=5e-9)
