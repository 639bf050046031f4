"""The driver, with a model so small that every number is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hindcast.classical import em
from hindcast.classical.additive import pairwise_sum
from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Counted:
    count: float
    total: float

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.count + other.count, self.total + other.total)


@dataclass(frozen=True)
class Halving:
    """Its distance to the mean halves in every iteration; its log-likelihood is minus that distance, times `sign`."""

    at: float
    sign: float = 1.0
    log_prior: float = 0.0

    def e_step(self, data: np.ndarray) -> Counted:
        return Counted(len(data), float(data.sum()))

    def m_step(self, statistics: Counted) -> Halving:
        return Halving((self.at + statistics.total / statistics.count) / 2, self.sign)

    def log_likelihood(self, statistics: Counted) -> float:
        return -self.sign * abs(self.at - statistics.total / statistics.count)


DATA = [np.arange(3.0), np.arange(5.0), np.array([7.0])]


def test_each_iteration_records_the_likelihood_of_the_parameters_it_began_with() -> None:
    seen: list[tuple[int, float]] = []
    model, history = em.fit(
        Halving(10.0), DATA, iterations=3, tolerance=0.0, on_iteration=lambda iteration, value: seen.append((iteration, value))
    )
    mean = 20 / 9
    np.testing.assert_allclose(history.log_likelihood, [-(10 - mean), -(10 - mean) / 2, -(10 - mean) / 4])
    np.testing.assert_allclose(model.at, mean + (10 - mean) / 8)
    assert seen == list(enumerate(history.log_likelihood, 1))
    assert (history.stopped_by, history.count) == ("iterations", 9)
    assert len(history.seconds) == len(history.cpu_seconds) == 3


def test_it_stops_after_an_iteration_that_gains_less_per_step() -> None:
    _, history = em.fit(Halving(10.0), DATA, iterations=50, tolerance=0.05)
    assert history.stopped_by == "tolerance"
    gains = np.diff(history.log_likelihood)
    assert (gains[:-1] >= 9 * 0.05).all()
    assert gains[-1] < 9 * 0.05


def test_a_falling_likelihood_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="EM iteration 2: the log-likelihood fell"):
        em.fit(Halving(10.0, sign=-1.0), DATA, iterations=5, tolerance=0.0)


def test_a_likelihood_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="nan"):
        em.fit(Halving(float("nan")), DATA, iterations=5, tolerance=0.0)


def test_nothing_to_fit_is_said() -> None:
    with pytest.raises(InputError, match="nothing to fit"):
        em.fit(Halving(0.0), [], iterations=5, tolerance=0.0)
    with pytest.raises(InputError, match="iterations"):
        em.fit(Halving(0.0), DATA, iterations=0, tolerance=0.0)


def test_parts_are_summed_pairwise_in_their_order() -> None:
    class Text(str):
        def __add__(self, other: Any) -> Text:
            return Text(f"({self}{other})")

    assert pairwise_sum([Text(letter) for letter in "abcde"]) == "(((ab)(cd))e)"
    assert pairwise_sum(Text(letter) for letter in "abcdefg") == "(((ab)(cd))((ef)g))"
    assert pairwise_sum([Text("a")]) == "a"
