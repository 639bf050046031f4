"""The number of states, by the earthquakes whose fits are published, and by data whose number is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.prep.errors import InputError


@pytest.mark.data
def test_earthquakes_have_the_published_optima(shared: Path) -> None:
    told = json.loads((shared / "reference/hmm.json").read_text())["earthquakes"]
    X = np.array(told["data"])[:, None]
    found = hmm.search_states(hmm.PoissonHMM(n_iter=3000, tol=1e-10, n_init=8, random_state=0), X, states=[1, 2, 3])
    optima = told["fit"]["hmm_free_start_log_likelihood"]
    for candidate in found.candidates[1:]:
        np.testing.assert_allclose(candidate.log_likelihood, optima[str(candidate.states)], atol=6e-5)
    np.testing.assert_allclose(found.candidates[0].log_likelihood, told["fit"]["poisson_mixture_log_likelihood"]["1"], atol=6e-5)
    # The start is free here: BIC charges three states for two more numbers than where the chain is stationary, AIC less so.
    assert (found.best.states, replace(found, criterion="aic").best.states) == (2, 3)
    for candidate in found.candidates:
        np.testing.assert_allclose(candidate.bic, candidate.model.bic(X), rtol=1e-12)
        np.testing.assert_allclose(candidate.aic, candidate.model.aic(X), rtol=1e-12)


def test_the_number_that_data_were_drawn_with_is_found() -> None:
    truth = hmm.GaussianHMM(3)
    truth.startprob_, truth.transmat_ = np.full(3, 1 / 3), np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    truth.means_, truth.covars_ = np.array([[-4.0], [0.0], [4.0]]), np.ones((3, 1))
    X, _ = truth.sample(1500, random_state=0)
    found = hmm.search_states(hmm.GaussianHMM(n_iter=60, n_init=2, random_state=0), X, [700, 800], states=range(1, 6))
    assert found.best.states == 3
    assert "← best by bic" in str(found).splitlines()[3]
    alone = hmm.GaussianHMM(2, n_iter=60, n_init=2, random_state=0).fit(X, [700, 800])
    np.testing.assert_allclose(found.candidates[1].log_likelihood, alone.score(X, [700, 800]), rtol=1e-9)


def test_a_search_of_nothing_is_refused() -> None:
    X = np.zeros((9, 1))
    with pytest.raises(InputError, match="no number of states"):
        hmm.search_states(hmm.GaussianHMM(), X, states=[])
    with pytest.raises(InputError, match="criterion: found 'dic'"):
        hmm.search_states(hmm.GaussianHMM(), X, criterion="dic")
