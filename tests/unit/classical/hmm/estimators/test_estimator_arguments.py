"""What the arguments of estimators do: weights, restarts, threads, structure, what is fixed, priors, and storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.classical import em, hmm
from hindcast.classical.hmm.inference import filtered
from hindcast.classical.persistence import encoded
from hindcast.prep.errors import InputError
from tests.unit.classical.families import FAMILIES, LENGTHS


def parameters(model: Any) -> dict[str, np.ndarray]:
    fitted = model.parameters_
    parts = getattr(fitted.emission, "parts", (fitted.emission,))
    arrays = {f"{number}.{name}": array for number, part in enumerate(parts) for name, array in part.arrays().items()}
    return {"start": fitted.start, "transition": fitted.transition, **arrays}


def assert_same(one: Any, other: Any, **within: float) -> None:
    for name, array in parameters(other).items():
        np.testing.assert_allclose(parameters(one)[name], array, err_msg=name, **within)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_of_two_is_the_sequence_twice_and_of_zero_none(family: str) -> None:
    X = FAMILIES[family].readings
    pieces = np.split(X, np.cumsum(LENGTHS)[:-1])
    # The beginning is looked for in a sample that knows no weights: both begin from the same parameters.
    begin = FAMILIES[family].make(n_iter=1, random_state=0).fit(X, LENGTHS)
    weighted = (
        FAMILIES[family]
        .make(n_iter=4, tol=-np.inf, init_params="")
        .adopt(begin.parameters_)
        .fit(X, LENGTHS, [2.0, 1.0, 0.0, 1.0])
    )
    twice = FAMILIES[family].make(n_iter=4, tol=-np.inf, init_params="").adopt(begin.parameters_)
    twice.fit([pieces[0], pieces[0], pieces[1], pieces[3]])
    np.testing.assert_allclose(weighted.monitor_.history, twice.monitor_.history, rtol=1e-10)
    assert_same(weighted, twice, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_restarts_share_passes_and_the_likeliest_is_kept(family: str) -> None:
    X = FAMILIES[family].readings
    model = FAMILIES[family].make(n_iter=8, n_init=4, random_state=0).fit(X, LENGTHS)
    alone = FAMILIES[family].make(n_iter=8, random_state=0).fit(X, LENGTHS)
    assert len(model.restarts_) == 4
    np.testing.assert_allclose(model.restarts_[0].log_likelihood, alone.monitor_.history, rtol=1e-12)
    assert model.monitor_.history[-1] == max(history.log_likelihood[-1] for history in model.restarts_)
    again = FAMILIES[family].make(n_iter=8, n_init=4, random_state=0, n_jobs=2).fit(X, LENGTHS)
    assert_same(again, model, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_warm_start_goes_on_where_the_fit_ended(family: str) -> None:
    X = FAMILIES[family].readings
    whole = FAMILIES[family].make(n_iter=6, tol=-np.inf, random_state=0).fit(X, LENGTHS)
    model = FAMILIES[family].make(n_iter=3, tol=-np.inf, random_state=0).fit(X, LENGTHS)
    model.set_params(warm_start=True).fit(X, LENGTHS)
    np.testing.assert_allclose(model.monitor_.history[-1], whole.monitor_.history[-1], rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_params_name_what_is_estimated(family: str) -> None:
    X = FAMILIES[family].readings
    begin = FAMILIES[family].make(n_iter=1, random_state=0).fit(X, LENGTHS)
    for letter in ("s", "t", *begin.LETTERS):
        model = FAMILIES[family].make(n_iter=2, tol=-np.inf, init_params="", params=letter).adopt(begin.parameters_)
        before = parameters(model)
        history = model.fit(X, LENGTHS).monitor_.history
        after = parameters(model)
        name = {"s": "start", "t": "transition", "e": "0."}.get(letter) or f"0.{model.LETTERS[letter]}"
        moved = [other for other, array in after.items() if not np.array_equal(array, before[other])]
        assert all(other.startswith(name) or (family, letter) == ("product", "e") for other in moved), moved
        assert history[1] >= history[0] - 1e-9
        assert letter == "s" or moved


def test_filtered_and_predicted_are_what_the_beginning_of_the_sequence_says() -> None:
    X = FAMILIES["gaussian"].readings
    model = FAMILIES["gaussian"].make(n_iter=5, random_state=0).fit(X, LENGTHS)
    known, ahead = model.filtered_proba(X, LENGTHS), model.predicted_proba(X, LENGTHS)
    start = 0
    for length in LENGTHS:
        for t in range(0, length, 7):
            upto = model.predict_proba(X[start : start + t + 1])
            np.testing.assert_allclose(known[start + t], upto[-1], atol=1e-12)
            before = model.startprob_ if t == 0 else model.predict_proba(X[start : start + t])[-1] @ model.transmat_
            np.testing.assert_allclose(ahead[start + t], before, atol=1e-12)
        start += length
    passes = filtered(model.parameters_, model._spans(X, LENGTHS))
    np.testing.assert_allclose(model.score(X, LENGTHS), sum(likelihood.sum() for _, _, likelihood in passes))


def test_left_to_right_never_goes_back() -> None:
    rng = np.random.default_rng(0)
    levels = [np.repeat([[0.0], [5.0], [1.0]], rng.integers(5, 15, 3), axis=0) for _ in range(12)]
    sequences = [one + rng.normal(0, 0.5, one.shape) for one in levels]
    model = hmm.GaussianHMM(3, structure="left-right", n_iter=50, random_state=0).fit(sequences)
    assert not np.tril(model.transmat_, -1).any()
    np.testing.assert_array_equal(model.startprob_, [1, 0, 0])
    np.testing.assert_allclose(model.means_[:, 0], [0, 5, 1], atol=0.2)
    assert (np.diff(model.predict(sequences[0])) >= 0).all()
    possible = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    ring = hmm.GaussianHMM(3, structure=possible, n_iter=5, random_state=0).fit(sequences)
    assert not ring.transmat_[possible == 0].any()
    for wrong, message in (
        ("round", "'ergodic', 'left-right'"),
        (np.ones((2, 2)), "shape"),
        (np.diag([1, 1, 0]), "state 2 can go"),
    ):
        with pytest.raises(InputError, match=message):
            hmm.GaussianHMM(3, structure=wrong)


def test_two_fits_name_the_states_alike() -> None:
    X = FAMILIES["gaussian"].drawn(600)
    models = [hmm.GaussianHMM(3, n_iter=100, tol=1e-6, n_init=3, random_state=seed).fit(X) for seed in (1, 2)]
    np.testing.assert_allclose(models[0].means_, models[1].means_, atol=1e-2)
    assert (np.diff(models[0].means_[:, 0]) > 0).all()


def test_durations_are_those_of_the_paths() -> None:
    model = hmm.CategoricalHMM(2)
    model.startprob_, model.transmat_ = [1.0, 0.0], [[0.75, 0.25], [0.5, 0.5]]
    model.emissionprob_ = [[0.999, 0.001], [0.001, 0.999]]
    np.testing.assert_allclose(model.durations_, [4, 2])
    lasted = model.durations([[0], [0], [1], [0], [1], [1], [1], [0], [0]], [6, 3])
    assert [one.tolist() for one in lasted] == [[2, 1, 3], [1, 2]]
    model.transmat_ = [[1.0, 0.0], [0.5, 0.5]]
    assert model.durations_[0] == np.inf


def test_the_monitor_says_why_it_stopped() -> None:
    X = FAMILIES["gaussian"].readings
    out = hmm.GaussianHMM(3, n_iter=2, tol=0, random_state=0).fit(X)
    assert (out.monitor_.reason, out.monitor_.converged, out.monitor_.iter) == ("iterations", False, 2)
    done = hmm.GaussianHMM(3, n_iter=500, tol=1e-3, random_state=0).fit(X)
    assert (done.monitor_.reason, done.monitor_.converged) == ("tolerance", True)
    assert "gained less than the tolerance" in str(done.monitor_)
    assert done.monitor_.history[-1] - done.monitor_.history[-2] < 1e-3


def test_a_falling_likelihood_is_an_error_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X = FAMILIES["gaussian"].readings
    model = hmm.GaussianHMM(3, n_iter=5, random_state=0).fit(X)
    before = parameters(model)
    model.set_params(warm_start=True, tol=-np.inf)
    from hindcast.classical.hmm.emissions.gaussian import Gaussian

    right = Gaussian.m_step
    monkeypatch.setattr(Gaussian, "m_step", lambda self, statistics: right(self, statistics).moved(means=self.means + 3.0))
    with pytest.raises(em.FallingLikelihoodError, match="fell from"):
        model.fit(X)
    assert model.monitor_.reason == "falling"
    for name, array in before.items():
        np.testing.assert_array_equal(parameters(model)[name], array)


def test_a_fit_that_fails_leaves_the_parameters_as_they_were() -> None:
    X = FAMILIES["gaussian"].readings
    model = hmm.GaussianHMM(3, n_iter=5, random_state=np.random.RandomState(0)).fit(X)
    before = parameters(model)
    new = hmm.GaussianHMM(3, startprob_prior=[1, 2])
    for one in (model.set_params(transmat_prior=np.ones((2, 2))), new):
        with pytest.raises(InputError, match="prior: found shape"):
            one.fit(X + 1)
    assert not hasattr(new, "means_")
    model.set_params(transmat_prior=1.0)
    for name, array in before.items():
        np.testing.assert_array_equal(parameters(model)[name], array)


def test_verbose_reports_every_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    hmm.GaussianHMM(2, n_iter=3, tol=-np.inf, verbose=True, random_state=0).fit(FAMILIES["gaussian"].readings)
    assert [line.split()[3] for line in capsys.readouterr().err.splitlines()] == ["1", "2", "3"]


def test_sequences_without_steps_and_channels_never_measured_are_reported() -> None:
    X = FAMILIES["gaussian"].readings
    model = hmm.GaussianHMM(2, n_iter=2, random_state=0).fit([X[:50], X[:0], X[50:51]])
    assert "sequence 1" in model.monitor_.repairs[0]
    assert model.score([X[:50], X[:0]]) == model.score(X[:50])
    never = np.column_stack([X, np.full(len(X), np.nan)])
    model = hmm.GaussianHMM(2, n_iter=2, random_state=0).fit(never)
    assert any("channel 2 was never measured" in note for note in model.monitor_.repairs)
    assert np.isfinite(model.means_).all()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda X: hmm.GaussianHMM(0), "n_components: found 0"),
        (lambda X: hmm.GaussianHMM(2, params="sx"), "params: found 'sx', expected letters of 'cmst'"),
        (lambda X: hmm.GaussianHMM(2, algorithm="best"), "algorithm: found 'best'"),
        (lambda X: hmm.GaussianHMM(2, transmat_prior=0.5), "transmat_prior: found 0.5"),
        (lambda X: hmm.GaussianHMM(2, startprob_prior=[1, 2, 3]).fit(X), r"startprob_prior: found shape \(3,\)"),
        (lambda X: hmm.GaussianHMM(2).set_params(colour=1), "GaussianHMM has no argument 'colour'"),
        (lambda X: hmm.GaussianHMM(2).fit(X, [100, 50], [1.0]), "one for each of the 2 sequences"),
        (lambda X: hmm.GaussianHMM(2).fit(X, [100, 50], [1.0, -1.0]), "weights: sequence 1: found -1"),
        (lambda X: hmm.GaussianHMM(2).fit(X, [100, 50], [0.0, 0.0]), "all are 0"),
        (lambda X: hmm.GaussianHMM(7).fit(X[:5]), "found 5 steps, and 7 states"),
        (lambda X: hmm.GaussianHMM(2).fit([X[:5], X[:5, :1]]), "sequence 1 has shape"),
        (lambda X: hmm.GaussianHMM(2).fit([X[:0]]), "nothing to fit"),
        (lambda X: hmm.GaussianHMM(2).fit(X.astype(str)), "expected numbers"),
        (lambda X: hmm.GaussianHMM(2).fit(X, [100.5, 49.5]), "lengths: expected whole numbers"),
    ],
)
def test_what_cannot_be_is_named(ask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(FAMILIES["gaussian"].readings)


VERSION_0_2 = Path(__file__).resolve().parents[4] / "data" / "v0_2" / "estimator.json"


def test_files_that_are_no_estimators_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    with pytest.raises(InputError, match="no such model"):
        hmm.load(file)
    good = json.loads(VERSION_0_2.read_text())
    for damage, message in (
        ({"format": "other"}, "expected an object of format"),
        ({"version": 2}, "found version 2"),
        ({"estimator": "system"}, "found estimator 'system'"),
        ({"arguments": {"colour": 1}}, "colour"),
        ({"parameters": {**good["parameters"], "start": [0.7, 0.7, 0.7]}}, "add up to 1"),
    ):
        file.write_text(json.dumps({**good, **damage}))
        with pytest.raises(InputError, match=message):
            hmm.load(file)
    file.write_text(json.dumps(good)[:100])
    with pytest.raises(InputError, match="not an estimator, or damaged"):
        hmm.load(file)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_sequences_does_not_matter(family: str) -> None:
    pieces = np.split(FAMILIES[family].readings, np.cumsum(LENGTHS)[:-1])
    model = FAMILIES[family].make(n_iter=1, random_state=0).fit(pieces)
    turned = [pieces[number] for number in (2, 0, 3, 1)]
    np.testing.assert_allclose(model.score(turned), model.score(pieces), rtol=1e-12)
    states = np.split(model.predict(pieces), np.cumsum(LENGTHS)[:-1])
    np.testing.assert_array_equal(model.predict(turned), np.concatenate([states[number] for number in (2, 0, 3, 1)]))
    one, other = (FAMILIES[family].make(n_iter=3, tol=-np.inf, init_params="").adopt(model.parameters_) for _ in range(2))
    assert_same(one.fit(pieces), other.fit(turned), rtol=1e-8, atol=1e-10)


def test_files_whose_parameters_are_not_the_estimators_are_refused(tmp_path: Path) -> None:
    file, good = tmp_path / "model.json", json.loads(VERSION_0_2.read_text())
    other = hmm.StudentHMM(2, n_iter=1, random_state=0).fit(FAMILIES["gaussian"].readings)
    for damage in (
        {"parameters": encoded(other.parameters_)},
        {"parameters": {**good["parameters"], "start": 3}},
        {"parameters": {**good["parameters"], "emission": {**good["parameters"]["emission"], "means": 3}}},
        {"parameters": 3},
        {"arguments": {**good["arguments"], "n_components": 2}},
        {"arguments": {**good["arguments"], "n_components": 0}},
        {"arguments": 3},
        {"monitor": 3},
    ):
        file.write_text(json.dumps({**good, **damage}))
        with pytest.raises(InputError, match=r"model\.json: not an estimator, or damaged"):
            hmm.load(file)


def test_folders_whose_card_and_parameters_differ_are_refused(tmp_path: Path) -> None:
    hmm.StudentHMM(2, n_iter=1, random_state=0).fit(FAMILIES["gaussian"].readings).save(tmp_path / "other")
    hmm.GaussianHMM(2, n_iter=1, random_state=0).fit(FAMILIES["gaussian"].readings).save(tmp_path / "model")
    with pytest.raises(InputError, match="model: is there already"):
        hmm.GaussianHMM(2, n_iter=1, random_state=0).fit(FAMILIES["gaussian"].readings).save(tmp_path / "model")
    card, parameters = tmp_path / "model" / "model.json", tmp_path / "model" / "parameters.json"
    good = json.loads(card.read_text())
    for part in (
        {"estimator": "system"},
        {"arguments": good["part"]["arguments"] | {"colour": 1}},
        {"arguments": good["part"]["arguments"] | {"n_components": 3}},
        {"arguments": good["part"]["arguments"] | {"n_components": 0}},
    ):
        card.write_text(json.dumps(good | {"part": good["part"] | part}))
        with pytest.raises(InputError, match=r"model\.json: not that of the parameters\.json beside it"):
            hmm.load(tmp_path / "model")
    card.write_text(json.dumps(good))
    parameters.write_text((tmp_path / "other" / "parameters.json").read_text())
    with pytest.raises(InputError, match=r"model\.json: not that of the parameters\.json beside it"):
        hmm.load(tmp_path / "model")
    parameters.unlink()
    with pytest.raises(InputError, match=r"parameters\.json: is missing"):
        hmm.load(tmp_path / "model")
    card.write_text(json.dumps(good | {"part": good["part"] | {"stopped_by": "thirst"}}))
    with pytest.raises(InputError, match=r"field part\.stopped_by"):
        hmm.load(tmp_path / "model")


def test_numbers_that_are_not_finite_are_saved(tmp_path: Path) -> None:
    model = hmm.CategoricalHMM(2, n_iter=2, tol=-np.inf, init_params="")
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]]
    model.emissionprob_ = [[1.0, 0.0], [1.0, 0.0]]  # the symbol that is there cannot be
    model.fit([[0], [1]])
    assert model.monitor_.history[0] == -np.inf
    model.save(tmp_path / "model")
    again = hmm.load(tmp_path / "model")
    assert (again.tol, again.monitor_.history) == (-np.inf, model.monitor_.history)
