"""Channels of several kinds in one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hindcast.classical import hmm
from hindcast.classical.hmm.data.training import ReadingsSummary
from hindcast.classical.hmm.emissions.product import Product
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.initial import Begin
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.errors import InputError


@dataclass(eq=False)
class ProductHMM(Estimator):
    """Each part of the channels has a family of its own; given the state, the parts are independent.

        ProductHMM(3, [(GaussianHMM(covariance_type="full"), [0, 1]), (PoissonHMM(), [2]), (CategoricalHMM(), [3])])

    parts       pairs of an estimator, whose arguments say what family it is (its n_components does not matter, its `params` say
                what of it is estimated), and the columns of `X` that it has; each column belongs to one part
    parts_      the same estimators with fitted parameters of their own; "e"
    """

    parts: Sequence[tuple[Estimator, Sequence[int]]] = ()

    LETTERS: ClassVar[Mapping[str, str]] = {"e": "parts"}
    ATTRIBUTES: ClassVar[Mapping[str, str]] = {"parts": "parts_"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.parts, list | tuple) or not self.parts:
            raise InputError(f"parts: found {self.parts!r}, expected pairs of an estimator and its columns")
        # The argument itself stays as it was given: scikit-learn compares it.
        self._pairs = tuple(self._pair(part) for part in self.parts)
        columns = sorted(c for _, part_columns in self._pairs for c in part_columns)
        if columns != list(range(len(columns))) or not all(part_columns for _, part_columns in self._pairs):
            raise InputError(
                f"parts: expected each of the columns 0 … {len(columns) - 1} once, and one a part at least, found {columns}"
            )

    def _pair(self, part: Any) -> tuple[Estimator, tuple[int, ...]]:
        try:
            estimator, columns = part
            pair = _estimator(estimator), tuple(int(c) for c in columns)
        except (TypeError, ValueError) as error:
            raise InputError(f"parts: found {part!r}, expected an estimator and its columns ({error})") from None
        pair[0].set_params(n_components=self.n_components)
        return pair

    def _names_states(self) -> bool:
        return super()._names_states() and all(part._names_states() for part, _ in self._pairs)

    @property
    def cannot_forecast(self) -> str | None:
        for part, columns in self._pairs:
            if part.cannot_forecast:
                return f"columns {', '.join(map(str, columns))}, {type(part).__name__}: {part.cannot_forecast}"
        return "parts that are regressions on their past are not forecast together with others" if self._order else None

    def must_emit(self, channels: Sequence[Column], where: str) -> None:
        self._must_have(len(channels))
        for part, columns in self._pairs:
            part.must_emit([channels[c] for c in columns], where)

    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        self._must_have(readings.shape[1])
        fine, expected = np.ones(readings.shape, bool), "a reading"
        for part, columns in self._pairs:
            fine[:, columns], words = part._check(np.ascontiguousarray(readings[:, columns]))
            if not fine[:, columns].all():
                expected = words
                break
        return fine, expected

    def _must_have(self, channels: int) -> None:
        expected = sum(len(columns) for _, columns in self._pairs)
        if channels != expected:
            raise InputError(f"found {channels} channels, and the parts have {expected} columns")

    @property
    def _order(self) -> int:
        return max(part._order for part, _ in self._pairs)

    def _begin(self, summary: ReadingsSummary) -> Begin:
        begins = [part._begin(summary.of(columns)) for part, columns in self._pairs]
        return lambda readings, seen: Product.begin(readings, seen, parts=begins, columns=[columns for _, columns in self._pairs])

    def _emission(self, like: Product | None) -> Product:
        restraints = [None] * len(self._pairs) if like is None else like.parts
        families = []
        for part, restraint in zip(self.parts_, restraints, strict=True):
            estimated = part._letters(part.params)
            fixed = frozenset(name for letter, name in part.LETTERS.items() if letter not in estimated)
            families.append(replace(part._emission(restraint), fixed=fixed))
        return Product(tuple(families), tuple(tuple(columns) for _, columns in self._pairs))

    def _take(self, emission: Product, names: set[str]) -> None:
        if "parts" in names:
            self.parts_ = tuple(type(part)(**part.get_params()) for part, _ in self._pairs)
            for part, family in zip(self.parts_, emission.parts, strict=True):
                part._take(family, set(part.LETTERS.values()))


def _estimator(part: Any) -> Estimator:
    """A copy of an estimator, or of what a file holds of one."""
    if isinstance(part, Estimator):
        return type(part)(**part.get_params())
    name = part.get("class") if isinstance(part, Mapping) else None
    if name not in hmm.ESTIMATORS:
        raise InputError(f"parts: found {part!r}, expected an estimator, such as GaussianHMM()")
    estimator: Estimator = getattr(hmm, name)(**{field: value for field, value in part.items() if field != "class"})
    return estimator
