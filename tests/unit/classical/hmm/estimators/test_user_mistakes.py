"""What a user may get wrong, and what surprises one who gets it right."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.prep.errors import InputError

X = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0.0], [5.0]], 30, axis=0)


def test_a_beginning_below_the_floor_is_raised_to_it() -> None:
    levels = np.repeat([[0.0], [1.0]], 50, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(100, 1))
    model = hmm.GaussianHMM(2, init_params="", n_iter=10, min_covar=1e-3)
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]]
    model.means_, model.covars_ = [[0.0], [1.0]], [[1e-4], [1e-4]]
    assert (np.diff(model.fit(levels).monitor_.history) >= -1e-9).all()
    for wide in (hmm.GaussianHMM(2, "full", random_state=0), hmm.GMMHMM(2, 2, random_state=0), hmm.StudentHMM(2, random_state=0)):
        wide.fit(X)
        wide.set_params(warm_start=True, n_iter=5).fit(1e6 * X)
        assert (np.diff(wide.monitor_.history) >= -1e-6).all()


def test_states_keep_the_order_of_a_prior_for_each() -> None:
    prior = hmm.GaussianHMM(means_prior=np.array([[100.0, 0], [-100.0, 0]]), means_weight=1e6)
    fitted = hmm.ProductHMM(2, [(prior, [0, 1])], n_iter=10, random_state=0).fit(X)
    np.testing.assert_allclose(fitted.parts_[0].means_[:, 0], [100, -100], atol=1)
    starts = [hmm.GaussianHMM(2, startprob_prior=kind([50.0, 1.0]), random_state=1).fit(X).startprob_ for kind in (list, tuple)]
    np.testing.assert_array_equal(*starts)


def test_nothing_is_predicted_of_steps_that_are_conditioned_on() -> None:
    model = hmm.AutoregressiveHMM(2, 2, random_state=0).fit(X, [30, 30])
    np.testing.assert_array_equal(model.predicted_proba(X, [30, 30]).any(axis=1), model.predict_proba(X, [30, 30]).any(axis=1))


def test_covariances_of_another_kind_are_refused() -> None:
    for kind, covars in (
        ("diag", [[[1, 0.9], [0.9, 1]]]),
        ("spherical", [np.diag([1.0, 5.0])]),
        ("tied", [np.eye(2), 9 * np.eye(2)]),
    ):
        model = hmm.GaussianHMM(len(covars), kind)
        with pytest.raises(InputError, match=f"are not {kind}"):
            model.covars_ = covars


def test_masked_readings_are_missing() -> None:
    masked = np.ma.masked_array(X, mask=X > 5)
    nan = np.where(X > 5, np.nan, X)
    assert hmm.GaussianHMM(2, random_state=0).fit(masked).monitor_ == hmm.GaussianHMM(2, random_state=0).fit(nan).monitor_


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, ">f8", ">i4", np.int8, np.uint64, bool])
def test_numbers_of_any_type_are_taken(kind: Any) -> None:
    counts = np.random.default_rng(0).integers(0, 2, (40, 1))
    model = hmm.PoissonHMM(2, random_state=0).fit(counts.astype(kind), np.array([15, 25], np.uint64))
    np.testing.assert_allclose(model.lambdas_, hmm.PoissonHMM(2, random_state=0).fit(counts, [15, 25]).lambdas_)


def test_seeds_may_be_drawn_and_files_leave_them_out(tmp_path: Path) -> None:
    model = hmm.GaussianHMM(2, random_state=np.random.RandomState(0)).fit(X)
    model.save(tmp_path / "m.json")
    assert hmm.load(tmp_path / "m.json").random_state is None
    sklearn = pytest.importorskip("sklearn.base")
    for one in (model, hmm.ProductHMM(2, [(hmm.GaussianHMM(), [0, 1])])):
        assert type(sklearn.clone(one)) is type(one)


def test_what_an_earlier_fit_said_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    model = hmm.GaussianHMM(2, random_state=0).fit(X)
    with caplog.at_level(logging.WARNING):
        model.fit_online([X[:20], X[:0], X[20:]], batches=2)
    assert not hasattr(model, "monitor_")
    assert not hasattr(model.fit(X), "online_history_")
    assert "sequences have no step" in caplog.text or "sequences without a step" in caplog.text


FITTED: dict[str, Any] = {}


def fitted() -> hmm.GaussianHMM:
    return FITTED.setdefault("gaussian", hmm.GaussianHMM(2, random_state=0).fit(X))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: hmm.GaussianHMM(2.0), "n_components: found 2.0, expected a whole number"),
        (lambda: hmm.GaussianHMM("2"), "n_components: found '2'"),
        (lambda: hmm.GaussianHMM(2, random_state=-1), "random_state: found -1"),
        (lambda: hmm.GaussianHMM(2, min_covar=None), "min_covar: found None"),
        (lambda: hmm.GaussianHMM(2, startprob_prior="x"), "startprob_prior: expected numbers"),
        (lambda: hmm.GaussianHMM(2, means_prior="x", means_weight=1).fit(X), "expected numbers, found 'x'"),
        (lambda: hmm.GaussianHMM(2).fit([[1.0, 2.0], [3.0]]), "X: expected numbers"),
        (lambda: hmm.GaussianHMM(2).fit(X, [[30], [15, 15]]), "lengths: expected one whole number a sequence"),
        (lambda: hmm.CategoricalHMM(2).fit([np.array([0, 1]), np.array([1, 0])]), "expected|found shape"),
        (lambda: hmm.GaussianHMM(2).fit(X, [30, 30], ["a", "b"]), "weights: expected numbers"),
        (lambda: hmm.CategoricalHMM(2).fit([[0.0], [1e9], [1.0]]), "step 1, channel 0: found 1e"),
        (lambda: hmm.CategoricalHMM(2, emissionprob_prior=np.ones(3)).fit([[0], [1], [0]]), "prior: expected"),
        (lambda: hmm.PoissonHMM(2, lambdas_prior=2, lambdas_weight=0).fit([[1], [2], [3]]), "prior_steps above 0"),
        (lambda: fitted().sample(5, currstate=-1), "currstate: found -1"),
        (lambda: fitted().sample(5, currstate=5), "currstate: found 5"),
        (lambda: fitted().sample(-1), "n_samples: found -1"),
        (lambda: fitted().transform(X), "expected a Spark DataFrame"),
        (lambda: fitted().bic(X[:0]), "found shape|no step is scored"),
        (lambda: hmm.search_states(hmm.GaussianHMM(), X, states=3), "states: found 3"),
        (lambda: hmm.ProductHMM(2, [(hmm.GaussianHMM(), [0]), (hmm.PoissonHMM(), [])]), "one a part at least"),
        (lambda: hmm.ProductHMM(2, [(hmm.GaussianHMM(), 0)]), "an estimator and its columns"),
        (lambda: hmm.ProductHMM(2, [hmm.GaussianHMM()]), "an estimator and its columns"),
        (lambda: hmm.ProductHMM(2, hmm.GaussianHMM()), "expected pairs"),
        (lambda: hmm.ProductHMM(2, [(hmm.GaussianHMM(), ["a"])]), "an estimator and its columns"),
    ],
)
def test_mistakes_are_told_in_words(ask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask()


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (lambda: hmm.GaussianHMM(2), {"means_": np.zeros(2)}, "shape"),
        (lambda: hmm.GMMHMM(2, 3), {"weights_": np.full((2, 2), 0.5)}, "found 2 components, expected n_mix, 3"),
        (lambda: hmm.AutoregressiveHMM(2, 1), {"weights_": np.zeros((2, 2, 3))}, "found 3 lags, expected order, 1"),
    ],
)
def test_parameters_of_other_shapes_are_refused(make: Any, wrong: dict[str, np.ndarray], message: str) -> None:
    model = make().set_params(random_state=0).fit(X)
    for name, value in wrong.items():
        setattr(model, name, value)
    with pytest.raises(InputError, match=message):
        model.score(X)


def test_arguments_that_are_refused_change_nothing() -> None:
    model = hmm.GaussianHMM(2)
    with pytest.raises(InputError, match="n_iter"):
        model.set_params(n_iter=0)
    assert model.n_iter == 10
