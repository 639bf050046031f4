"""The table of the kinds of models. A new kind is its package and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hindcast.classical.hmm.kind import HMM
from hindcast.deep.kind import LSTM
from hindcast.forecasting.kind import Kind
from hindcast.prep.errors import InputError

KINDS: dict[str, Kind] = {kind.name: kind for kind in (HMM, LSTM)}


def kind_named(name: str, where: str, more: str = "") -> Kind:
    """The kind of a name. Raises InputError for an unknown one.

    where  the command or setting that names it, for the error
    more   other names that would have been right there, for the error
    """
    if name not in KINDS:
        raise InputError(f"{where}: no kind of models {name!r}; there are {', '.join(KINDS)}{more}")
    return KINDS[name]


def quick_settings(regimes: int | None) -> Mapping[str, dict[str, Any]]:
    """Tables with which every kind is fitted in a minute or two. `regimes`: how many the data are known to have."""
    return {name: table for kind in KINDS.values() for name, table in kind.quick(regimes).items()}
