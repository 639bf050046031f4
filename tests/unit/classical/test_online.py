"""Online EM: one pass finds what twenty find, on enough data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.classical.additive import Additive
from hindcast.classical.online import fit_online
from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Sums(Additive):
    count: float
    total: float


@dataclass(frozen=True)
class Mean:
    """Its M-step is the mean of what its statistics say, whatever the model was: online EM is then a weighted mean."""

    at: float = 0.0
    log_prior: float = 0.0

    def e_step(self, data: np.ndarray) -> Sums:
        return Sums(float(len(data)), float(data.sum()))

    def m_step(self, statistics: Sums) -> Mean:
        return Mean(statistics.total / statistics.count)

    def log_likelihood(self, statistics: Sums) -> float:
        return -abs(self.at * statistics.count - statistics.total)

    def anchored(self) -> Mean:
        return self

    def released(self) -> Mean:
        return self


def test_weights_are_those_of_the_recursion() -> None:
    data = [np.array([float(value)] * (value + 1)) for value in range(6)]
    order = np.random.default_rng(3).permutation(6)
    averages = [float(order[0])]
    for number, index in enumerate(order[1:], 2):
        rate = 1 / number if number <= 2 else number**-0.7
        averages.append((1 - rate) * averages[-1] + rate * index)
    model, history = fit_online(Mean(), data, batches=6, kappa=0.7, seed=3)
    np.testing.assert_allclose(model.at, np.mean(averages[3:]), rtol=1e-12)
    assert history.count == sum(len(one) for one in data)
    assert len(history.log_likelihood) == 6
    with_one, _ = fit_online(Mean(), data, batches=1)
    np.testing.assert_allclose(with_one.at, sum(one.sum() for one in data) / 21)


WORSE = 1e-2  # in log-likelihood of a step, than many passes


def truth(family: str) -> Any:
    model = (
        hmm.GaussianHMM(2, "full") if family == "gaussian" else hmm.StudentHMM(2) if family == "student" else hmm.PoissonHMM(2)
    )
    model.startprob_, model.transmat_ = np.array([0.5, 0.5]), np.array([[0.95, 0.05], [0.1, 0.9]])
    if family == "gaussian":
        model.means_ = np.array([[1e3, 0.0], [1e3 + 3.0, 2.0]])
        model.covars_ = np.array([[[1.0, 0.5], [0.5, 2.0]], [[1.0, 0.0], [0.0, 0.5]]])
    elif family == "student":
        model.locations_, model.scales_, model.dofs_ = (
            np.array([[0.0], [5.0]]),
            np.array([[1.0], [0.7]]),
            np.array([[4.0], [6.0]]),
        )
    else:
        model.lambdas_ = np.array([[1.0, 7.0], [6.0, 2.0]])
    return model


@pytest.mark.parametrize("family", ["gaussian", "student", "poisson"])
def test_one_pass_finds_what_the_data_were_drawn_with(family: str) -> None:
    model = truth(family)
    sequences = [model.sample(100, random_state=number)[0] for number in range(400)]
    fitted = type(model)(**{**model.get_params(), "random_state": 0}).fit_online(sequences)
    twenty = type(model)(**{**model.get_params(), "random_state": 0, "n_iter": 30}).fit(sequences)
    assert fitted.online_history_.count == 40_000
    np.testing.assert_allclose(fitted.transmat_, model.transmat_, atol=0.02)
    best = twenty.score(sequences)
    assert (best - fitted.score(sequences)) / 40_000 < WORSE
    assert np.mean(fitted.online_history_.log_likelihood[-20:]) > fitted.online_history_.log_likelihood[0]


def test_it_repeats_and_refuses_what_cannot_be() -> None:
    sequences = [truth("poisson").sample(30, random_state=number)[0] for number in range(40)]
    first, again = (hmm.PoissonHMM(2, random_state=1).fit_online(sequences, batches=10) for _ in range(2))
    np.testing.assert_array_equal(first.lambdas_, again.lambdas_)
    with pytest.raises(InputError, match=r"kappa: found 0\.5"):
        hmm.PoissonHMM(2).fit_online(sequences, kappa=0.5)
    with pytest.raises(InputError, match="at least 1 of each"):
        hmm.PoissonHMM(2).fit_online(sequences, batches=0)
    with pytest.raises(InputError, match="nothing to fit"):
        fit_online(Mean(), [])
