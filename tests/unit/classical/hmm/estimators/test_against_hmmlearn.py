"""The same numbers as hmmlearn: at fixed parameters, and after the same EM iterations from the same start without priors."""

from __future__ import annotations

import numpy as np
import pytest

from hindcast.classical.hmm import GaussianHMM

hmmlearn = pytest.importorskip("hmmlearn.hmm")
LENGTHS = [40, 1, 25, 34]


def readings(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0, 0.0], [3.0, -1.0, 1.0], [-2.0, 2.0, 0.5]])
    return centres[np.repeat(rng.integers(0, 3, 20), 5)] + rng.normal(size=(100, 3)) * [1.0, 0.5, 2.0]


def peer(kind: str, n_iter: int = 0) -> object:
    without_priors = {"min_covar": 0.0, "covars_prior": 0.0, "covars_weight": 0.0}
    model = hmmlearn.GaussianHMM(3, kind, n_iter=n_iter, tol=-np.inf, init_params="", **without_priors)
    model.n_features = 3
    rng = np.random.default_rng(5)
    model.startprob_, model.transmat_ = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3) * 3, 3)
    model.means_ = rng.normal(size=(3, 3))
    roots = rng.normal(0, 0.4, (3, 3, 3)) + np.eye(3)
    model.covars_ = rng.uniform(0.5, 2, (3, 3)) if kind == "diag" else roots @ roots.swapaxes(1, 2)
    return model


def ours(theirs: object, kind: str, n_iter: int = 1) -> GaussianHMM:
    model = GaussianHMM(3, kind, n_iter=n_iter, tol=-np.inf, init_params="", variance_floor=1e-12)
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        setattr(model, name, getattr(theirs, name))
    return model


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_at_fixed_parameters(kind: str) -> None:
    X, theirs = readings(), peer(kind)
    model = ours(theirs, kind)
    np.testing.assert_allclose(model.score(X, LENGTHS), theirs.score(X, LENGTHS), rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X, LENGTHS), theirs.predict_proba(X, LENGTHS), atol=1e-10)
    np.testing.assert_array_equal(model.predict(X, LENGTHS), theirs.predict(X, LENGTHS))
    np.testing.assert_allclose(model.decode(X, LENGTHS)[0], theirs.decode(X, LENGTHS)[0], rtol=1e-12)
    np.testing.assert_allclose(model.aic(X, LENGTHS), theirs.aic(X, LENGTHS), rtol=1e-12)
    np.testing.assert_allclose(model.bic(X, LENGTHS), theirs.bic(X, LENGTHS), rtol=1e-12)


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_the_same_iterations_from_the_same_start(kind: str) -> None:
    X, theirs = readings(), peer(kind, n_iter=8)
    model = ours(theirs, kind, n_iter=8)
    theirs.fit(X, LENGTHS)
    model.fit(X, LENGTHS)
    np.testing.assert_allclose(model.history_.log_likelihood, list(theirs.monitor_.history)[-8:], rtol=1e-9)
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        np.testing.assert_allclose(getattr(model, name), getattr(theirs, name), atol=1e-8, err_msg=name)
