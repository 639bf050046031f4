"""Fits by settings and by estimators: what settings may say, what a fit keeps, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hindcast.classical import em, hmm
from hindcast.classical.hmm.data.training import training
from hindcast.classical.hmm.estimator_arguments import in_words
from hindcast.classical.hmm.from_settings import estimator_of
from hindcast.classical.hmm.settings import CATEGORIES, COUNTS, HmmSettings, channel_kinds
from hindcast.forecasting.inputs import NUMBERS
from hindcast.prep.errors import InputError
from tests.unit.classical.families import FAMILIES, LENGTHS

X = FAMILIES["gaussian"].readings
ROOT = Path(__file__).resolve().parents[4]


def test_kinds_of_channels_are_told_without_anything_compiled() -> None:
    expected = {
        "autoregressive": NUMBERS,
        "student": NUMBERS,
        "poisson": COUNTS,
        "multinomial": COUNTS,
        "categorical": CATEGORIES,
    }
    for emission, kinds in expected.items():
        assert channel_kinds(HmmSettings(emission=emission)) == kinds
    code = (
        "import sys; from hindcast.classical.hmm.part import HmmPart\n"
        "from hindcast.classical.hmm.settings import HmmSettings, channel_kinds\n"
        "channel_kinds(HmmSettings()); print(*sorted({'numba', 'pyspark', 'tensorflow'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300)
    assert ran.stdout.split() == []


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"emission": "full", "symbols": 3}, "symbols is of emission categorical, found emission full: leave it out"),
        ({"trials": 3}, "trials is of emission multinomial, found emission autoregressive"),
        ({"emission": "poisson", "mean_weight": 1}, "mean_weight is of emission spherical, diagonal, full, tied, mixture, found"),
        ({"emission": "tied", "variance_weight": 1}, "variance_weight is of emission spherical, diagonal, mixture, found"),
        ({"emission": "diagonal", "mean_prior": 2}, "mean_prior has no weight: say with mean_weight how much it counts"),
        ({"emission": "poisson", "rate_prior": 2}, "rate_prior has no weight"),
        ({"emission": "mixture", "covariance": "full", "variance_weight": 1}, "variance_weight is of diagonal components"),
        ({"emission": "poison"}, "'poisson'"),
        ({"structure": "round"}, "'left-right'"),
        ({"start_prior": 0.5}, "greater than or equal to 1"),
        ({"transition_prior": float("inf")}, "finite"),
    ],
)
def test_settings_that_would_do_nothing_or_cannot_be_are_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HmmSettings(**told)


@pytest.mark.parametrize("emission", ["spherical", "diagonal", "mixture"])
def test_priors_of_settings_are_readings_that_were_seen_before(emission: Any) -> None:
    own: dict[str, Any] = {"emission": emission, "states": 1, "iterations": 5, "tolerance": 0.0}
    own |= {"components": 1} if emission == "mixture" else {}
    alone = estimator_of(HmmSettings(**own, variance_prior=9.0, variance_weight=50.0)).fit(X)
    squares = ((X - X.mean(axis=0)) ** 2).sum(axis=0)
    expected = (squares + 50 * 9) / (len(X) + 50)
    expected = np.full(2, expected.mean()) if emission == "spherical" else expected
    np.testing.assert_allclose(
        np.ravel(alone.parameters_.emission.covars), np.unique(expected) if emission == "spherical" else expected
    )
    drawn = estimator_of(HmmSettings(**own, mean_prior=3.0, mean_weight=100.0)).fit(X)
    np.testing.assert_allclose(drawn.means_.reshape(2), (X.sum(axis=0) + 100 * 3) / (len(X) + 100))


def test_a_prior_of_rates_is_counts_in_steps() -> None:
    counts = FAMILIES["poisson"].readings
    settings = HmmSettings(emission="poisson", states=1, iterations=2, rate_prior=40.0, rate_weight=10.0)
    np.testing.assert_allclose(estimator_of(settings).fit(counts).lambdas_[0], (counts.sum(axis=0) + 40) / (len(counts) + 10))


def test_the_most_probable_restart_is_kept_not_the_likeliest() -> None:
    model = hmm.GaussianHMM(3, n_init=2, n_iter=1, random_state=0)
    with training(X, check=model._check) as given:
        begins = model.beginnings(given)
    likelier = em.History((-10.0,), (-100.0,), (1.0,), (1.0,), 150.0, "iterations")
    likely = em.History((-20.0,), (-1.0,), (1.0,), (1.0,), 150.0, "iterations")
    model.settle([(begins[0], likelier), (begins[1], likely)], given, 0.5, 0.25)
    assert model.history_ is likely
    assert model.monitor_.notes == ("the likeliest of 2 restarts, whose log-likelihoods with the prior were -110.0, -21.0",)
    assert (model.monitor_.seconds, model.monitor_.cpu_seconds) == (1.5, 1.25)


def test_states_are_in_the_order_of_their_levels_however_frequent_they_are() -> None:
    rng = np.random.default_rng(0)
    often, seldom = (hmm.GaussianHMM(2, n_iter=30, random_state=0) for _ in range(2))
    level = np.where(np.arange(400) % 40 < 30, 0.0, 8.0)
    for model, sign in ((often, 1.0), (seldom, -1.0)):
        model.fit((sign * level + rng.normal(size=400))[:, None])
        assert (np.diff(model.means_[:, 0]) > 0).all()
    assert often.get_stationary_distribution()[0] > 0.6 > 0.4 > seldom.get_stationary_distribution()[0]
    falling = np.repeat([[8.0], [0.0]], 40, axis=0) + rng.normal(size=(80, 1))
    stages = estimator_of(HmmSettings(emission="diagonal", structure="left-right")).fit(falling)
    np.testing.assert_allclose(stages.means_[:, 0], [8, 0], atol=0.5)  # their order is what was asked for


def test_a_fit_goes_on_only_from_where_it_was(tmp_path: Path) -> None:
    file, begin = tmp_path / "fit", FAMILIES["gaussian"].begun
    begin(n_iter=6).fit(X, LENGTHS, checkpoint=file)
    begin(n_iter=7, n_jobs=2, tol=1e-3).fit(X, LENGTHS, checkpoint=file, resume=True)
    moved = begin(n_iter=7)
    moved.means_ = moved.means_ + 1.0
    for model, how, message in (
        (moved, {}, "whose parameters is"),
        (begin(n_iter=7, min_covar=0.1), {}, "whose min_covar is 0.0; this one's is 0.1"),
        (begin(n_iter=7), {"weights": [1.0, 1.0, 2.0, 1.0]}, "whose data is"),
        (begin(n_iter=7, n_init=2), {}, "whose n_init is 1"),
    ):
        with pytest.raises(InputError, match=message):
            model.fit(X, LENGTHS, **how, checkpoint=file, resume=True)
    begin(n_iter=7).fit(X, LENGTHS, weights=np.ones(4), checkpoint=file, resume=True)
    begin(n_iter=7).fit(np.split(X, np.cumsum(LENGTHS)[:-1]), checkpoint=file, resume=True)
    with pytest.raises(InputError, match="resume: there is nothing to go on from"):
        begin().fit(X, LENGTHS, resume=True)
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        begin().fit(X, LENGTHS, checkpoint=tmp_path / "none", resume=True)


def test_a_tolerance_is_of_all_steps_or_of_each() -> None:
    whole = hmm.GaussianHMM(3, n_iter=200, tol=0.15, random_state=0).fit(X)
    each = hmm.GaussianHMM(3, n_iter=200, tol=0.15 / len(X), tol_of="step", random_state=0).fit(X)
    assert each.monitor_.history == whole.monitor_.history
    assert (each.monitor_.reason, each.history_.count) == ("tolerance", len(X))
    asked = estimator_of(HmmSettings(emission="diagonal", states=3, tolerance=0.15 / len(X))).fit(X)
    assert asked.monitor_.history == whole.monitor_.history
    with pytest.raises(InputError, match="tol_of: found 'all', expected 'total' or 'step'"):
        hmm.GaussianHMM(tol_of="all")  # type: ignore[arg-type]


def test_what_is_told_of_iterations_is_of_the_likeliest() -> None:
    seen: list[tuple[int, float]] = []
    model = hmm.GaussianHMM(3, n_init=3, n_iter=4, tol=-np.inf, random_state=0)
    model.fit(X, on_iteration=lambda number, likelihood: seen.append((number, likelihood)))
    expected = [max(history.log_likelihood[number] for history in model.restarts_) for number in range(4)]
    assert seen == list(enumerate(expected, 1))


def test_models_are_told_in_words() -> None:
    words = {
        "autoregressive": "autoregressive hidden Markov model, 3 states, order 2",
        "full": "full Gaussian hidden Markov model, 3 states",
        "mixture": "diagonal mixture hidden Markov model, 3 states, 2 components",
        "poisson": "Poisson hidden Markov model, 3 states",
    }
    for family, expected in words.items():
        model = FAMILIES[family].make()
        assert in_words(type(model).__name__, model.arguments()) == expected


def test_a_model_of_arrays_is_no_forecaster_when_it_is_read(tmp_path: Path) -> None:
    from hindcast.classical.hmm.saving import load

    for family, message in (("gaussian", "was fitted on arrays"), ("categorical", "forecasts no numbers")):
        FAMILIES[family].begun().save(tmp_path / family)
        with pytest.raises(InputError, match=message):
            load(tmp_path / family)
