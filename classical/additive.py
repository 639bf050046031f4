"""Statistics that add up: what two parts of the data say together is the sum of what each says."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Additive:
    """A dataclass of numbers, arrays, other additive statistics and tuples of these, added and scaled field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_added(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    def __mul__(self, factor: float) -> Self:
        return type(self)(*(_scaled(getattr(self, f.name), factor) for f in fields(self)))


def pairwise_sum(parts: Iterable[Any], add: Callable[[Any, Any], Any] = operator.add) -> Any:
    """The sum of some statistics, one at least, always in the same order, with rounding errors that grow with the logarithm of
    their number. As many are held at a time as that logarithm says."""
    held: list[tuple[int, Any]] = []  # sums of 2**n neighbours, n falling
    for total in parts:
        n = 0
        while held and held[-1][0] == n:
            total, n = add(held.pop()[1], total), n + 1
        held.append((n, total))
    total = held.pop()[1]
    while held:
        total = add(held.pop()[1], total)
    return total


def _added(a: Any, b: Any) -> Any:
    return tuple(_added(*pair) for pair in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def _scaled(a: Any, factor: float) -> Any:
    return tuple(_scaled(one, factor) for one in a) if isinstance(a, tuple) else a * factor
