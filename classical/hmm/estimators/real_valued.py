"""Estimators of real readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from hindcast.classical.hmm.data.training import ReadingsSummary
from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.student import Student
from hindcast.classical.hmm.estimators.arguments import is_whole
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.initial import Begin
from hindcast.forecasting.inputs import NUMBERS
from hindcast.prep.errors import InputError


@dataclass(eq=False)
class Real(Estimator):
    """Readings are any numbers. NaN is a missing one, and is marginalised.

    variance_floor  the least variance that is estimated, relative to each channel's own
    """

    _: KW_ONLY
    variance_floor: float = 1e-6

    KINDS: ClassVar[frozenset[str]] = NUMBERS

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("variance_floor", self.variance_floor > 0, "a number above 0")

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        return np.isfinite(readings), "a finite number"

    def _floor(self, like: Any, channels: int) -> np.ndarray:
        return np.zeros(channels) if like is None else like.floor


@dataclass(eq=False)
class AutoregressiveHMM(Real):
    """In each state, each channel is a regression on its own last `order` values, with Gaussian noise.

    The first `order` steps of a sequence are conditioned on: they are not scored, and no state is said of them.

    intercepts_, variances_   (n_components, channels); "i", "v"
    weights_                  (n_components, channels, order), the oldest lag first; "w"
    filled_                   whether values that were not measured are regressed on: those that a dataset has filled are
    """

    order: int = 1

    LETTERS: ClassVar[Mapping[str, str]] = {"i": "intercepts", "w": "weights", "v": "variances"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"intercepts": "intercepts_", "weights": "weights_", "variances": "variances_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._must_be("order", is_whole(self.order, 1), "a whole number of at least 1; GaussianHMM is the model without a past")

    @property
    def _order(self) -> int:
        return self.order

    def _begin(self, summary: ReadingsSummary) -> Begin:
        return partial(Autoregressive.begin, variance_floor=self.variance_floor, order=self.order, filled=summary.filled)

    def _emission(self, like: Autoregressive | None) -> Autoregressive:
        intercepts, weights, variances = (self._array(name) for name in ("intercepts", "weights", "variances"))
        if weights.shape[-1] != self.order:
            raise InputError(f"weights_: found {weights.shape[-1]} lags, expected order, {self.order}")
        filled = getattr(self, "filled_", False) if like is None else like.filled
        return Autoregressive(intercepts, weights, variances, self._floor(like, intercepts.shape[-1]), filled=filled)

    def _take(self, emission: Autoregressive, names: set[str]) -> None:
        super()._take(emission, names)
        self.filled_ = emission.filled


@dataclass(eq=False)
class StudentHMM(Real):
    """Each channel has Student's t-distribution in each state: outliers neither move a state nor become one.

    locations_, scales_, dofs_  (n_components, channels); "l", "c", "d"
    """

    LETTERS: ClassVar[Mapping[str, str]] = {"l": "locations", "c": "scales", "d": "dofs"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"locations": "locations_", "scales": "scales_", "dofs": "dofs_"}

    def _begin(self, summary: ReadingsSummary) -> Begin:
        return partial(Student.begin, variance_floor=self.variance_floor)

    def _emission(self, like: Student | None) -> Student:
        locations, scales, dofs = (self._array(name) for name in ("locations", "scales", "dofs"))
        return Student(locations, scales, dofs, self._floor(like, locations.shape[-1]))
