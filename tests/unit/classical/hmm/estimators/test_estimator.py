"""The estimators as a user meets them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hindcast.classical.hmm import AutoregressiveHMM, GaussianHMM
from hindcast.prep.errors import InputError


def two_regimes(steps: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An autoregression that turns its sign, (steps, 1), and the regime of every step."""
    truth = AutoregressiveHMM(2, 1)
    truth.startprob_, truth.transmat_ = np.array([0.5, 0.5]), np.array([[0.97, 0.03], [0.03, 0.97]])
    truth.intercepts_, truth.weights_ = np.zeros((2, 1)), np.array([[[0.9]], [[-0.9]]])
    truth.variances_ = np.array([[0.1], [0.1]])
    return truth.sample(steps, random_state=seed)


@pytest.mark.parametrize(
    "model",
    [GaussianHMM(3, n_iter=30), GaussianHMM(3, "full", n_iter=30), AutoregressiveHMM(3, 4, n_iter=30)],
    ids=["diag", "full", "autoregressive"],
)
def test_the_likelihood_never_falls_and_the_fit_repeats(model: GaussianHMM | AutoregressiveHMM) -> None:
    rng = np.random.default_rng(3)
    X = np.cumsum(rng.normal(size=(300, 2)), axis=0)
    model.random_state, model.tol = 0, 0.0
    first = model.fit(X, [100, 150, 50]).history_.log_likelihood
    assert (np.diff(first) >= -1e-8).all()
    assert model.fit(X, [100, 150, 50]).history_.log_likelihood == first
    assert model.score(X, [100, 150, 50]) >= first[-1] - 1e-8


def test_regimes_are_found_again() -> None:
    X, regime = two_regimes()
    model = AutoregressiveHMM(2, 1, n_iter=100, tol=1e-4, random_state=0).fit(X)
    assert model.converged_
    np.testing.assert_allclose(np.sort(model.weights_.ravel()), [-0.9, 0.9], atol=0.08)
    states = model.predict(X)
    agreement = (states[1:] == regime[1:]).mean()
    assert max(agreement, 1 - agreement) > 0.95
    assert states[0] == -1
    assert not model.predict_proba(X)[0].any()


def test_sequences_are_apart_history_does_not_cross_them() -> None:
    X, _ = two_regimes(90)
    model = AutoregressiveHMM(2, 3, n_iter=3, random_state=0).fit(X, [40, 50])
    assert model.history_.count == 84
    np.testing.assert_allclose(model.score(X, [40, 50]), model.score(X[:40]) + model.score(X[40:]), rtol=1e-12)
    np.testing.assert_array_equal(np.flatnonzero(model.predict(X, [40, 50]) < 0), [0, 1, 2, 40, 41, 42])


def test_missing_readings_are_left_out_of_the_estimate() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(5.0, 2.0, (400, 2))
    X[rng.random(X.shape) < 0.3] = np.nan
    model = GaussianHMM(1, n_iter=2).fit(X)
    np.testing.assert_allclose(model.means_[0], np.nanmean(X, axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.diag(model.covars_[0]), np.nanvar(X, axis=0), rtol=1e-12)


def test_large_offsets_lose_no_digits() -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    near = GaussianHMM(2, n_iter=5, random_state=0).fit(X)
    far = GaussianHMM(2, n_iter=5, random_state=0).fit(X + 1e6)
    np.testing.assert_allclose(far.covars_, near.covars_, rtol=1e-6)
    np.testing.assert_allclose(far.means_ - 1e6, near.means_, atol=1e-6)


def test_constant_channels_and_spare_states_give_no_nan_and_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[:, 1] = 7.0
    for model in (GaussianHMM(4), GaussianHMM(4, "full"), AutoregressiveHMM(3, 2)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            model.fit(X)
        assert "raised to the floor" in caplog.text
        for value in vars(model).values():
            assert not isinstance(value, np.ndarray) or np.isfinite(value).all()


def test_a_state_that_nothing_is_assigned_to_keeps_its_parameters(caplog: pytest.LogCaptureFixture) -> None:
    model = GaussianHMM(2, n_iter=3, init_params="")
    model.startprob_, model.transmat_ = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.5, 0.5]])
    model.means_, model.covars_ = np.array([[0.0], [9.0]]), np.ones((2, 1))
    with caplog.at_level(logging.WARNING):
        model.fit(np.random.default_rng(0).normal(size=(50, 1)))
    assert model.means_[1] == 9.0
    np.testing.assert_array_equal(model.transmat_[1], [0.5, 0.5])
    assert "nothing was assigned to states 1" in caplog.text


def test_samples_have_the_moments_of_the_model() -> None:
    model = GaussianHMM(2, "full")
    model.startprob_, model.transmat_ = np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]])
    model.means_, model.covars_ = np.array([[0.0, 0.0], [5.0, 5.0]]), np.array([[[1.0, 0.9], [0.9, 1.0]]] * 2)
    X, states = model.sample(4000, random_state=0)
    np.testing.assert_array_equal(states[:4], [0, 1, 0, 1])
    np.testing.assert_allclose(X[states == 1].mean(axis=0), [5, 5], atol=0.1)
    np.testing.assert_allclose(np.cov(X[states == 0].T), model.covars_[0], atol=0.1)


@pytest.mark.parametrize(
    ("X", "lengths", "message"),
    [
        (np.zeros(5), None, r"expected numbers \(steps, channels\)"),
        (np.zeros((5, 2)), [2, 2], "add up to 4, and X has 5"),
        (np.array([[0.0], [np.inf]]), None, "step 1, channel 0"),
        (np.zeros((5, 2)), [6, -1], "lengths"),
    ],
)
def test_readings_that_cannot_be_used_are_named(X: np.ndarray, lengths: list[int] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GaussianHMM(2).fit(X, lengths)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="startprob_ is not set"):
        GaussianHMM(2).score(np.zeros((3, 1)))
    with pytest.raises(InputError, match="no sequence is longer than 5"):
        AutoregressiveHMM(2, 5).fit(np.zeros((4, 1)))
    with pytest.raises(InputError, match="sequence 1, step 1, channel 0: found inf"):
        GaussianHMM(1).fit(np.array([[0.0], [1.0], [2.0], [np.inf]]), [2, 2])
    with pytest.raises(InputError, match="covariance_type"):
        GaussianHMM(1, "round")  # type: ignore[arg-type]
    model = GaussianHMM(1).fit(np.random.default_rng(0).normal(size=(20, 2)))
    with pytest.raises(InputError, match="3 channels, and the model has 2"):
        model.score(np.zeros((3, 3)))
    model.transmat_ = np.array([[0.5]])
    with pytest.raises(InputError, match="transition, row 0"):
        model.score(np.zeros((3, 2)))
