"""A fitted model as a folder: `model.json` says what it is, `parameters.json` holds its parameters. No pickles."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from classical.hmm.fitting import FittedHmm
from classical.hmm.forecast import HmmForecaster
from classical.hmm.stored import read_model
from classical.persistence import encoded
from forecasting.card import CARD, Card, must_be_model, read_card
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.placing import placed_folder

PARAMETERS = "parameters.json"
PACKAGES = ("hindcast", "numpy", "numba")


def forecaster_of(fitted: FittedHmm, dataset: SequenceDataset) -> HmmForecaster:
    """What was fitted on `dataset`, as a forecaster of its horizon, after its lead, with a card."""
    history = fitted.history
    rows = zip(history.log_likelihood, history.seconds, history.cpu_seconds, strict=True)
    card = Card(
        kind="hmm",
        channels=dataset.channels,
        step_micros=dataset.step_micros,
        context=dataset.layout.context,
        horizon=dataset.layout.horizon,
        lead=dataset.layout.lead,
        scaling=dataset.scaling,
        dataset=dataset.digest,
        preparation=dataset.preparation,
        parameters=fitted.model.parameters,
        fit_seconds=fitted.seconds,
        fit_cpu_seconds=fitted.cpu_seconds,
        settings={
            **fitted.settings.model_dump(),
            "stopped_by": history.stopped_by,
            "steps": history.count,
            "notes": list(fitted.notes),
        },
        history=tuple(
            {"iteration": iteration, "log_likelihood": likelihood, "seconds": wall, "cpu_seconds": cpu}
            for iteration, (likelihood, wall, cpu) in enumerate(rows, 1)
        ),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    )
    return HmmForecaster(fitted.model, card.horizon, card, card.lead)


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
    card = read_card(folder)
    if card.kind != "hmm":
        raise InputError(f"{folder / CARD}: a model of kind {card.kind!r}, not 'hmm'")
    model = read_model(folder / PARAMETERS)
    if model.emission.channels != len(card.channels):
        raise InputError(
            f"{folder / PARAMETERS}: found parameters of {model.emission.channels} channels, and {CARD} names "
            f"{len(card.channels)}: the model is damaged; fit it again"
        )
    return HmmForecaster(model, card.horizon, card, card.lead)
