"""The families of emissions, and readings of three regimes that each can emit: what the tests of all families go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from hindcast.classical import hmm

LENGTHS = [60, 1, 35, 54]
TRIALS = 6
LEVELS = np.array([[0.0, 0.0], [4.0, -2.0], [-3.0, 3.0]])

# A reading (channels,) -> readings (n, channels) that differ from it in some channels only, a weight for each (n,), and which
# channels these are: all that could stand there, so that the weighted densities add up to that of the others.
Completions = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, list[int]]]


def real(steps: int) -> np.ndarray:
    regime, rng = _regime(steps)
    return LEVELS[regime] + rng.normal(size=(steps, 2))


def symbols(steps: int) -> np.ndarray:
    regime, rng = _regime(steps)
    return (regime * 2 + rng.integers(0, 3, steps))[:, None]


def counts(steps: int) -> np.ndarray:
    regime, rng = _regime(steps)
    return rng.poisson(np.array([[1.0, 6.0], [9.0, 2.0], [4.0, 15.0]])[regime])


def trials(steps: int) -> np.ndarray:
    regime, rng = _regime(steps)
    return np.stack([rng.multinomial(TRIALS, p) for p in np.eye(3)[regime] * 0.7 + 0.1])


def several(steps: int) -> np.ndarray:
    regime, rng = _regime(steps)
    levels = np.array([[0.0, 4.0], [5.0, -2.0], [-3.0, 3.0]])[regime] + rng.normal(size=(steps, 2))
    return np.stack([levels[:, 0], regime * 2 + rng.integers(0, 3, steps), levels[:, 1]], axis=1)


def any_number(reading: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """By the trapezoid rule on sinh, under which tails of any family end."""
    u, step = np.linspace(-30.0, 30.0, 6001, retstep=True)
    return _replaced(reading, 1, reading[1] + np.sinh(u)), np.cosh(u) * step, [1]


def any_count(reading: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    return _replaced(reading, 1, np.arange(200)), np.ones(200), [1]


def any_symbol(reading: np.ndarray, channel: int = 0) -> tuple[np.ndarray, np.ndarray, list[int]]:
    return _replaced(reading, channel, np.arange(7)), np.ones(7), [channel]


def any_split(reading: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Of as many trials among the first two symbols."""
    both = int(reading[0] + reading[1])
    filled = np.tile(reading, (both + 1, 1))
    filled[:, 0], filled[:, 1] = np.arange(both + 1), both - np.arange(both + 1)
    return filled, np.ones(both + 1), [0, 1]


@dataclass(frozen=True)
class Case:
    """A family.

    make        its estimator, of three states; takes further arguments
    drawn       so many steps of readings (steps, channels)
    completions None where no single channel may be missing
    kinds       of dataset channels that it emits, one a column of the readings
    wrong       readings of the first channel that it cannot emit
    settings    what asks for it in `HmmSettings`; None where only Python can
    """

    make: Callable[..., Any]
    drawn: Callable[[int], np.ndarray] = real
    completions: Completions | None = any_number
    kinds: tuple[str, ...] = ("real", "count")
    wrong: tuple[float, ...] = (np.inf, -np.inf)
    settings: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def readings(self) -> np.ndarray:
        """(150, channels)"""
        return self.drawn(sum(LENGTHS))

    def begun(self, **how: Any) -> Any:
        """Fitted by one iteration; `how` are arguments of an estimator that begins there."""
        begin = self.make(n_iter=1, random_state=0).fit(self.readings, LENGTHS)
        return self.make(**({"tol": -np.inf, "init_params": ""} | how)).adopt(begin.parameters_)


def gaussian(kind: str) -> Callable[..., Any]:
    return partial(hmm.GaussianHMM, 3, kind)


def mixture(kind: str) -> Callable[..., Any]:
    return partial(hmm.GMMHMM, 3, 2, kind)


NO_COUNTS, NO_SYMBOLS = (-1.0, 0.5, np.inf), (-1.0, 0.5, 2e6, np.inf)
PARTS = [(hmm.GaussianHMM(), [0, 2]), (hmm.CategoricalHMM(), [1])]
FAMILIES: dict[str, Case] = {
    "spherical": Case(gaussian("spherical"), settings={"emission": "spherical"}),
    "gaussian": Case(gaussian("diag"), settings={"emission": "diagonal"}),
    "full": Case(gaussian("full"), settings={"emission": "full"}),
    "tied": Case(gaussian("tied"), settings={"emission": "tied"}),
    "mixture": Case(mixture("diag"), settings={"emission": "mixture"}),
    "mixture-spherical": Case(mixture("spherical"), settings={"emission": "mixture", "covariance": "spherical"}),
    "mixture-full": Case(mixture("full"), settings={"emission": "mixture", "covariance": "full"}),
    "mixture-tied": Case(mixture("tied"), settings={"emission": "mixture", "covariance": "tied"}),
    "student": Case(partial(hmm.StudentHMM, 3), settings={"emission": "student"}),
    "autoregressive": Case(partial(hmm.AutoregressiveHMM, 3, 2), settings={"emission": "autoregressive", "order": 2}),
    "categorical": Case(
        partial(hmm.CategoricalHMM, 3), symbols, any_symbol, ("category",), NO_SYMBOLS, {"emission": "categorical"}
    ),
    "multinomial": Case(
        partial(hmm.MultinomialHMM, 3), trials, None, ("count",) * 3, NO_COUNTS, {"emission": "multinomial"}
    ),
    "multinomial-trials": Case(
        partial(hmm.MultinomialHMM, 3, TRIALS), trials, any_split, ("count",) * 3, NO_COUNTS,
        {"emission": "multinomial", "trials": TRIALS},
    ),
    "poisson": Case(partial(hmm.PoissonHMM, 3), counts, any_count, ("count",) * 2, NO_COUNTS, {"emission": "poisson"}),
    "product": Case(
        partial(hmm.ProductHMM, 3, PARTS), several, partial(any_symbol, channel=1), ("real", "category", "real"), settings=None
    ),
}  # fmt: skip


def _regime(steps: int) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(4)
    return np.repeat(rng.integers(0, 3, steps // 5), 5), rng


def _replaced(reading: np.ndarray, channel: int, values: np.ndarray) -> np.ndarray:
    filled = np.tile(reading.astype(float), (len(values), 1))
    filled[:, channel] = values
    return filled
