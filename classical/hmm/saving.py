"""A fitted model as a folder: `model.json` says what it is, `parameters.npz` holds its arrays. No pickles."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.fitting import FittedHmm
from classical.hmm.forecast import HmmForecaster
from classical.hmm.model import HiddenMarkov
from forecasting.card import CARD, Card, must_be_model, read_card
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.placing import placed_folder

PARAMETERS = "parameters.npz"
PACKAGES = ("hindcast", "numpy", "numba")
FAMILIES: dict[frozenset[str], Any] = {
    frozenset({"means", "covars", "floor"}): Gaussian,
    frozenset({"intercepts", "weights", "variances", "floor"}): Autoregressive,
}


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
    model = forecaster.model
    with placed_folder(Path(folder), overwrite, must_be_model) as staging:
        np.savez(staging / PARAMETERS, start=model.start, transition=model.transition, **model.emission.arrays())
        forecaster.card.write(staging)


def load(folder: str | Path) -> HmmForecaster:
    """A saved forecaster. Raises InputError, naming the file, where the folder holds none or a file is damaged."""
    folder = Path(folder)
    card = read_card(folder)
    if card.kind != "hmm":
        raise InputError(f"{folder / CARD}: a model of kind {card.kind!r}, not 'hmm'")
    file = folder / PARAMETERS
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{file}: is missing: the model is damaged; fit it again") from None
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise InputError(f"{file}: not the parameters of a model, or damaged ({error}): fit the model again") from None
    return HmmForecaster(_model(arrays, len(card.channels), file), card.horizon, card, card.lead)


def _model(arrays: dict[str, np.ndarray], channels: int, file: Path) -> HiddenMarkov[Any]:
    family = FAMILIES.get(frozenset(arrays.keys() - {"start", "transition"}))
    if family is None or not {"start", "transition"} <= arrays.keys():
        raise InputError(f"{file}: its arrays ({', '.join(sorted(arrays))}) are not those of a model; fit the model again")
    for name, array in arrays.items():
        shapes = _shapes(name, arrays["start"].size, channels, array)
        if array.dtype != np.float64 or array.shape not in shapes or not np.isfinite(array).all():
            raise InputError(f"{file}: {name} is not a finite float64 array of shape {shapes[0]}: damaged; fit the model again")
    rows = np.concatenate([arrays["start"][None], arrays["transition"]])
    if (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1.0, atol=1e-9):
        raise InputError(f"{file}: start or transition are not probabilities: the model is damaged; fit it again")
    emission = family(**{name: array for name, array in arrays.items() if name not in ("start", "transition")})
    if emission.fault:
        raise InputError(f"{file}: {emission.fault}: the model is damaged; fit it again")
    return HiddenMarkov(arrays["start"], arrays["transition"], emission)


def _shapes(name: str, K: int, C: int, array: np.ndarray) -> list[tuple[int, ...]]:
    order = array.shape[-1] if array.ndim == 3 else 1
    one = {"start": (K,), "transition": (K, K), "floor": (C,), "weights": (K, C, max(1, order))}.get(name, (K, C))
    return [one, (K, C, C)] if name == "covars" else [one]
