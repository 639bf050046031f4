"""A model as a folder: `model.json` is its card, `parameters.json` holds its parameters. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from hindcast.classical.hmm.forecast import HmmForecaster
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.hmm.part import HmmPart
from hindcast.classical.hmm.stored import read_model
from hindcast.classical.persistence import encoded
from hindcast.forecasting.card import CARD, Card, must_be_model, must_forecast, read_card, typed
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_folder

KIND = "hmm"
PARAMETERS = "parameters.json"


class Saveable(Protocol):
    """An estimator, or a forecaster of one. It has no card where the data of its fit are unknown."""

    @property
    def model(self) -> HiddenMarkov[Any]: ...

    @property
    def card(self) -> Card[HmmPart] | None: ...


def save(model: Saveable, folder: str | Path, overwrite: bool = False) -> None:
    """Writes a model as a folder: first beside it, then renamed, so that a folder is whole or not there.

    Raises InputError where the folder is taken (with `overwrite`: taken by anything but a model), ValueError without a card.
    """
    if model.card is None:
        raise ValueError("only a forecaster with a card can be saved: the `forecaster` of an estimator has one")
    with placed_folder(Path(folder), overwrite, must_be_model) as staging:
        (staging / PARAMETERS).write_text(json.dumps(encoded(model.model)) + "\n", encoding="utf-8")
        model.card.write(staging)


def load(folder: str | Path) -> HmmForecaster:
    """A saved model as a forecaster.

    Raises InputError, naming the file, where the folder holds none or a file is damaged, and where the model forecasts nothing.
    """
    folder = Path(folder)
    card = read(folder)
    data = must_forecast(card, folder)
    model = read_model(folder / PARAMETERS)
    states = card.part.arguments.get("n_components")
    if states != model.states:
        raise InputError(
            f"{folder / PARAMETERS}: found parameters of {model.states} states, and {CARD} says {states}: the model is "
            "damaged; fit it again"
        )
    if model.emission.channels != len(data.channels):
        raise InputError(
            f"{folder / PARAMETERS}: found parameters of {model.emission.channels} channels, and {CARD} names "
            f"{len(data.channels)}: the model is damaged; fit it again"
        )
    return HmmForecaster(model, data.horizon, card, data.lead)


def read(folder: Path) -> Card[HmmPart]:
    """The card of a hidden Markov model. Raises InputError where the folder has none."""
    return typed(read_card(folder), KIND, HmmPart, folder)
