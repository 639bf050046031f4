"""However sequences are laid into lanes, side by side, one after the other or folded, the answers are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.inference import decoded, filtered, scored, smoothed
from hindcast.classical.hmm.kernels import lanes, lattice_in_pieces
from hindcast.classical.hmm.kernels.lanes import LANES, Spans, batches, concatenated, whole
from hindcast.classical.hmm.model import HiddenMarkov

FAMILIES = ("diagonal", "full", "autoregressive", "categorical", "poisson")
EXACT = {"rtol": 1e-11, "atol": 1e-13}
NEVER, ALWAYS = (), ((1, 1.0),)


def model_of(family: str, states: int, random_model: Any) -> HiddenMarkov[Any]:
    if family not in ("categorical", "poisson"):
        return random_model(family, states=states)
    rng = np.random.default_rng(states)
    probabilities = rng.dirichlet(np.ones(5), states)
    emission: Any = Categorical(probabilities) if family == "categorical" else Poisson(rng.uniform(0.5, 9, (states, 2)))
    return HiddenMarkov(rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states), emission)


def readings(family: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    if family == "categorical":
        return rng.integers(0, 5, (*shape, 1)).astype(float)
    return rng.poisson(4.0, (*shape, 2)).astype(float) if family == "poisson" else rng.normal(0, 2, (*shape, 2))


def answers(model: HiddenMarkov[Any], spans: Spans) -> dict[str, np.ndarray]:
    """All that is said of the sequences: of each one by itself, and summed with weights."""
    K, sums = model.states, model.emission.no_sums()
    starts, transitions, parts = np.zeros(K), np.zeros((K, K)), {}
    for group, gamma, likelihood in smoothed(model, spans, starts, transitions, weighted=True):
        model.emission.add_sums(group, gamma, sums)
        parts |= {f"gamma {sequence}": part.copy() for sequence, part in group.each(gamma)}
        parts["likelihood"] = parts.get("likelihood", 0.0) + likelihood.sum()
    for group, alpha, _ in filtered(model, spans):
        parts |= {f"alpha {sequence}": part.copy() for sequence, part in group.each(alpha)}
    for group, path, log_probability in decoded(model, spans):
        parts |= {f"path {sequence}": part.copy() for sequence, part in group.each(path)}
        parts["path"] = parts.get("path", 0.0) + log_probability.sum()
    scores = sum(likelihood.sum() for _, likelihood in scored(model, spans))
    np.testing.assert_allclose(scores, parts["likelihood"], rtol=1e-14)
    told = vars(model.emission.statistics(sums))
    return parts | {"starts": starts, "transitions": transitions} | {name: np.asarray(value) for name, value in told.items()}


def folded_and_not(model: Any, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    monkeypatch.setattr(lanes, "FILLED", NEVER)
    plain = answers(model, spans)
    monkeypatch.setattr(lanes, "FILLED", ALWAYS)
    return answers(model, spans), plain


@pytest.mark.parametrize("family", FAMILIES[:3])
def test_a_folded_sequence_is_what_the_enumeration_of_paths_says(
    family: str, oracle: Any, random_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FILLED", ALWAYS)
    model = random_model(family)
    order = model.emission.order
    for steps in (1, 2, 7, 8):
        values = readings(family, 1, order + steps)
        log_b = oracle.log_density(model.emission, values[0])
        expected, found = oracle.enumerate(model.start, model.transition, log_b), answers(model, whole(values))
        np.testing.assert_allclose(found["likelihood"], expected.log_likelihood, **EXACT)
        np.testing.assert_allclose(found["alpha 0"], expected.filtered, **EXACT)
        np.testing.assert_allclose(found["gamma 0"], expected.smoothed, **EXACT)
        np.testing.assert_allclose(found["transitions"], expected.pairs, **EXACT)
        np.testing.assert_allclose(found["starts"], expected.smoothed[0], **EXACT)
        np.testing.assert_array_equal(found["path 0"], expected.path)
        np.testing.assert_allclose(found["path"], expected.log_probability, **EXACT)


@pytest.mark.parametrize(("states", "steps"), [(2, 1000), (5, 257), (16, 300), (17, 513)])
@pytest.mark.parametrize("family", FAMILIES)
def test_folded_and_unfolded_are_equal(
    family: str, states: int, steps: int, random_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, lengths = readings(family, steps + 40), np.array([steps, 40])
    for observed in (None, np.random.default_rng(1).integers(0, 2, values.shape).astype(np.uint8)):
        if observed is not None and family == "full":
            continue
        model, spans = model_of(family, states, random_model), concatenated(values, lengths, observed)
        folded, plain = folded_and_not(model, replace(spans, weight=np.array([3.0, 0.5])), monkeypatch)
        for name, expected in plain.items():
            np.testing.assert_allclose(folded[name], expected, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_short_sequences_in_one_call_are_what_they_are_alone(family: str, random_model: Any) -> None:
    model, lengths = model_of(family, 3, random_model), np.random.default_rng(3).integers(0, 12, 5 * LANES + 3)
    values = readings(family, int(lengths.sum()))
    together, stop = answers(model, concatenated(values, lengths)), np.cumsum(lengths)
    scored = np.flatnonzero(lengths > model.emission.order)
    alone = {row: answers(model, whole(values[None, stop[row] - lengths[row] : stop[row]])) for row in scored}
    for what in ("alpha", "gamma", "path"):
        for row in scored:
            np.testing.assert_allclose(together[f"{what} {row}"], alone[row][f"{what} 0"], **EXACT)
    for what in ("likelihood", "path", "starts", "transitions"):
        np.testing.assert_allclose(together[what], sum(one[what] for one in alone.values()), **EXACT)


def test_ten_thousand_steps_and_64_states(random_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("diagonal", states=64)
    folded, plain = folded_and_not(model, whole(readings("diagonal", 1, 10_000)), monkeypatch)
    np.testing.assert_allclose(plain["gamma 0"].sum(axis=1), 1.0, rtol=1e-10)
    for name, expected in plain.items():
        np.testing.assert_allclose(folded[name], expected, rtol=1e-9, atol=1e-10, err_msg=name)


def in_pieces(model: HiddenMarkov[Any], steps: int) -> tuple[Any, ...]:
    """The lattice of one sequence of noise in pieces, each begun with a guess, and after how many steps they had forgotten it."""
    spans = whole(readings("diagonal", 1, steps))
    K, group = model.states, next(batches(spans, 0, model.emission.centre, 1))
    wide = (group.steps, K, LANES)
    b, alpha, scale, likelihood = np.empty(wide), np.empty(wide), np.empty((group.steps, LANES)), np.empty(LANES)
    model.emission.log_density(group, b)
    forgotten = lattice_in_pieces.forward(b, None, group.lengths, model.start, model.transition, alpha, scale, likelihood)
    return group, b, alpha, scale, forgotten


def test_pieces_are_answered_for_where_they_forget_and_else_not(random_model: Any) -> None:
    model = random_model("diagonal")
    *_, forgotten = in_pieces(model, 4000)
    assert 0 < forgotten < 60
    alike = model.emission.permuted(np.zeros(3, int))
    *_, forgotten = in_pieces(replace(model, transition=np.eye(3), emission=alike), 4000)
    assert forgotten == 0
    *_, forgotten = in_pieces(model, 40)
    assert forgotten == 0


def test_pieces_whose_beta_has_not_forgotten_add_nothing(random_model: Any) -> None:
    model = random_model("diagonal")
    sticky = replace(model, transition=0.999 * np.eye(3) + 0.001 * model.transition)
    group, b, alpha, scale, _ = in_pieces(sticky, 4000)
    starts, xi = np.zeros(3), np.zeros((3, 3))
    few = -(lattice_in_pieces.LEAST - 2) // 4  # two steps to forget in
    assert not lattice_in_pieces.backward(b, group.lengths, group.weights, sticky.transition, alpha, scale, starts, xi, few)
    assert not starts.any()
    assert not xi.any()


def test_a_chain_that_hardly_forgets_is_what_it_is_unfolded(random_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("diagonal")
    for stay in (0.99, 0.9999, 1.0):
        sticky = replace(model, transition=stay * np.eye(3) + (1 - stay) * model.transition)
        folded, plain = folded_and_not(sticky, whole(readings("diagonal", 1, 3000)), monkeypatch)
        for name, expected in plain.items():
            np.testing.assert_allclose(folded[name], expected, rtol=1e-10, atol=1e-11, err_msg=name)


def log_forward(model: HiddenMarkov[Any], log_b: np.ndarray) -> float:
    """The log-likelihood, all in logs."""
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(model.start), np.log(model.transition)
    alpha = log_start + log_b[0]
    for here in log_b[1:]:
        alpha = np.logaddexp.reduce(alpha[:, None] + log_transition, axis=0) + here
    return float(np.logaddexp.reduce(alpha))


@pytest.mark.parametrize("fold", [False, True])
def test_outliers_and_states_that_cannot_be_left_are_finite_and_right(
    fold: bool, oracle: Any, random_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FILLED", ALWAYS if fold else NEVER)
    values = readings("diagonal", 1, 400)
    values[0, [0, 17, 18, 200, 399]] = [[1e4, -1e4], [-1e4, 3.0], [1e4, 1e4], [0.0, 1e4], [1e4, 0.0]]
    for transition in (None, np.eye(3), np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]])):
        model = random_model("diagonal")
        if transition is not None:
            model = HiddenMarkov(np.array([1 - 1e-250, 1e-250, 0.0]), transition, model.emission)
        found = answers(model, whole(values))
        assert all(np.isfinite(value).all() for value in found.values())
        expected = log_forward(model, oracle.log_density(model.emission, values[0]))
        np.testing.assert_allclose(found["likelihood"], expected, rtol=1e-12)
        np.testing.assert_allclose(found["gamma 0"].sum(axis=1), 1.0, rtol=1e-9)
        assert found["path"] <= found["likelihood"] * (1 - 1e-14)  # both are below 0


@pytest.mark.parametrize("fold", [False, True])
def test_a_symbol_that_no_state_gives_makes_a_likelihood_of_zero_and_no_nan(fold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FILLED", ALWAYS if fold else NEVER)
    emission = Categorical(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    model = HiddenMarkov(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.0, 1.0]]), emission)
    found = answers(model, whole(np.array([0, 1, 1, 2, 0, 1])[None, :, None].astype(float)))
    assert found["likelihood"] == -np.inf
    assert np.isfinite(found["gamma 0"]).all()
    found = answers(model, whole(np.array([0, 1, 1, 1, 0, 1])[None, :, None].astype(float)))
    np.testing.assert_allclose(found["gamma 0"], [[1, 0]] * 6, atol=1e-15)


@pytest.mark.parametrize("states", [8, 11])
def test_symbols_of_more_states_than_a_block_are_looked_up_and_counted_one_by_one(states: int) -> None:
    rng = np.random.default_rng(0)
    emission = Categorical(rng.dirichlet(np.ones(5), states))
    symbols, observed = rng.integers(0, 5, (20, 7)), rng.integers(0, 2, (20, 7))
    for seen in (None, observed.astype(np.uint8)[..., None]):
        for group in batches(whole(symbols[..., None].astype(float), seen), 0, emission.centre, 100):
            gamma, sums, counts = rng.random((group.steps, states, LANES)), emission.no_sums(), np.zeros((states, 5))
            gamma *= group.inside[:, None]
            logs, relative, peaks = np.empty_like(gamma), np.empty_like(gamma), np.empty((group.steps, LANES))
            emission.log_density(group, logs)
            emission.relative_density(group, relative, peaks)
            emission.add_sums(group, gamma, sums)
            parts = zip(*map(group.each, (gamma, logs, np.log(relative) + peaks[:, None])), strict=True)
            for (row, weight), (_, log_b), (_, from_relative) in parts:
                there = np.ones(7, bool) if seen is None else observed[row] > 0
                expected = np.where(there[:, None], np.log(emission.probabilities.T[symbols[row]]), 0.0)
                np.testing.assert_allclose(log_b, expected, rtol=1e-14)
                np.testing.assert_allclose(from_relative, expected, rtol=1e-13, atol=1e-15)
                np.add.at(counts.T, symbols[row][there], weight[there])
            np.testing.assert_allclose(emission.statistics(sums).counts, counts, rtol=1e-12)


def test_each_sequence_is_in_one_place_whole_less_the_centre() -> None:
    lengths = np.array([3, 700, 0, 40, 40, 300, 1, *[9] * 40])
    values, centre = np.random.default_rng(0).normal(size=(lengths.sum(), 2)), np.array([1.0, -2.0])
    spans = concatenated(values, lengths)
    found = {}
    for group in batches(spans, 0, centre, 64):
        assert group.inside.sum() == group.lengths.sum()
        for sequence, part in group.each(group.values):
            assert sequence not in found
            found[sequence] = part.copy()
        lane = int(np.flatnonzero(group.inside[-1])[0])
        assert group.label(group.steps - 1, lane).startswith(f"sequence {group.members[-LANES + lane]}, step ")
    assert sorted(found) == [sequence for sequence, length in enumerate(lengths) if length]
    for sequence, part in found.items():
        np.testing.assert_array_equal(part, values[spans.start[sequence] : spans.stop[sequence]] - centre)
