"""Statistics that add up: what two parts of the data say together is the sum of what each says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Additive:
    """A dataclass of numbers, arrays, other additive statistics and tuples of these, added and scaled field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_added(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    def __mul__(self, factor: float) -> Self:
        return type(self)(*(_scaled(getattr(self, f.name), factor) for f in fields(self)))


def pairwise_sum(parts: Sequence[Any]) -> Any:
    """The sum of some statistics, always in the same order, with rounding errors that grow with the logarithm of their number."""
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _added(a: Any, b: Any) -> Any:
    return tuple(_added(*pair) for pair in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def _scaled(a: Any, factor: float) -> Any:
    return tuple(_scaled(one, factor) for one in a) if isinstance(a, tuple) else a * factor
