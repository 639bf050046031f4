"""Entrants of a comparison: models with names that the user gave them, and baselines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from hindcast.forecasting.card import Card
from hindcast.prep.errors import InputError

# Names stand in tables, names of folders, JSON, labels of metrics, and fields of the settings: --entrants.NAME.units.
NAME = re.compile(r"[^\W_][\w+-]{0,59}")


@dataclass(frozen=True)
class Entrant:
    """A model in a comparison.

    name         the entrant's own: two models of one kind have two names
    model        has the method that the task names
    description  what it is, in words
    fit_seconds, fit_cpu_seconds    what fitting cost
    parameters   how many numbers were estimated, of `bytes` in all; None where nobody knows
    card         of a model of a kind; None: a baseline, or a model of the user's own
    """

    name: str
    model: Any
    role: Literal["baseline", "model"]
    description: str
    fit_seconds: float = 0.0
    fit_cpu_seconds: float = 0.0
    parameters: int | None = None
    bytes: int | None = None
    card: Card[Any] | None = None


def must_be_names(names: Iterable[str], reserved: Iterable[str]) -> None:
    """Raises InputError for a name that is not well formed, that appears twice, or that is `reserved` for a baseline."""
    baselines, earlier = set(reserved), set[str]()
    for name in names:
        if not NAME.fullmatch(name):
            raise InputError(
                f"entrant {name!r}: a name has 1 to 60 letters, digits, and - _ +, and begins with a letter or a digit"
            )
        if name in baselines:
            raise InputError(f"entrant {name!r}: is the name of a baseline, which is in every comparison: choose another")
        if name in earlier:
            raise InputError(f"entrant {name!r}: the name is given twice, and each entrant needs one of its own: NAME=…")
        earlier.add(name)
