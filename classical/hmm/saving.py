"""A fitted model as a folder: `model.json` says what it is, `parameters.json` holds its parameters. No pickles."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from classical.hmm.fitting import FittedHmm
from classical.hmm.forecast import HmmForecaster, gives_deviation
from classical.hmm.part import HmmPart
from classical.hmm.stored import read_model
from classical.persistence import encoded
from forecasting.card import CARD, Card, Gives, Sequences, must_be_model, read_card, typed
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.placing import placed_folder

KIND = "hmm"
PARAMETERS = "parameters.json"
BYTES_A_PARAMETER = 8
PACKAGES = ("hindcast", "numpy", "numba")


def forecaster_of(fitted: FittedHmm, dataset: SequenceDataset) -> HmmForecaster:
    """What was fitted on `dataset`, as a forecaster of its horizon, after its lead, with a card."""
    history = fitted.history
    rows = zip(history.log_likelihood, history.seconds, history.cpu_seconds, strict=True)
    card = Card[HmmPart](
        kind=KIND,
        data=Sequences.of(dataset),
        gives=Gives(deviation=gives_deviation(fitted.model.emission, dataset.layout.horizon)),
        parameters=fitted.model.parameters,
        bytes=BYTES_A_PARAMETER * fitted.model.parameters,
        fit_seconds=fitted.seconds,
        fit_cpu_seconds=fitted.cpu_seconds,
        seed=fitted.settings.seed,
        history=tuple(
            {"iteration": iteration, "log_likelihood": likelihood, "seconds": wall, "cpu_seconds": cpu}
            for iteration, (likelihood, wall, cpu) in enumerate(rows, 1)
        ),
        notes=fitted.notes,
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        part=HmmPart(settings=fitted.settings, stopped_by=history.stopped_by, steps=history.count),
    )
    return HmmForecaster(fitted.model, dataset.layout.horizon, card, dataset.layout.lead)


def save(forecaster: HmmForecaster, folder: str | Path, overwrite: bool = False) -> None:
    """Writes beside the folder, then renames: a folder is whole or not there.

    Raises InputError where the folder is taken (with `overwrite`: taken by anything but a model), ValueError for a forecaster
    without a card.
    """
    if forecaster.card is None:
        raise ValueError("only a forecaster of a dataset can be saved: `forecaster_of` makes one")
    with placed_folder(Path(folder), overwrite, must_be_model) as staging:
        (staging / PARAMETERS).write_text(json.dumps(encoded(forecaster.model)) + "\n", encoding="utf-8")
        forecaster.card.write(staging)


def load(folder: str | Path) -> HmmForecaster:
    """A saved forecaster. Raises InputError, naming the file, where the folder holds none or a file is damaged."""
    folder = Path(folder)
    card = typed(read_card(folder), KIND, HmmPart, folder)
    data = card.sequences(folder)
    model = read_model(folder / PARAMETERS)
    if model.emission.channels != len(data.channels):
        raise InputError(
            f"{folder / PARAMETERS}: found parameters of {model.emission.channels} channels, and {CARD} names "
            f"{len(data.channels)}: the model is damaged; fit it again"
        )
    return HmmForecaster(model, data.horizon, card, data.lead)
