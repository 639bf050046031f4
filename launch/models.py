"""Saved models, whatever their kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hindcast.forecasting.card import CARD, Card, must_forecast, read_card
from hindcast.forecasting.kind import Kind
from hindcast.launch.kinds import KINDS
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError


def load(folder: Path, dataset: SequenceDataset) -> Any:
    """A saved model that can forecast this dataset. Raises InputError where it cannot, or there is none."""
    must_forecast(read_card(folder), folder).check(dataset, folder)
    return load_any(folder)


def load_any(folder: Path) -> Any:
    """A saved model, of the kind that its card names. Raises InputError where it cannot be read."""
    return kind_of(read_card(folder), folder).load(folder)


def kind_of(card: Card[Any], folder: Path) -> Kind:
    """The kind of a saved model. Raises InputError for a kind that this version does not know."""
    if card.kind not in KINDS:
        raise InputError(
            f"{folder / CARD}: a model of kind {card.kind!r}, which this Hindcast does not know; it knows {', '.join(KINDS)}. "
            "Use a version that does"
        )
    return KINDS[card.kind]
