"""The weights of many models of one network: a file for each, without pickles, and an index of their keys.

Keys are names of series or values of an attribute: they may hold anything. Files are called by numbers.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hindcast.deep.digests import digest_of
from hindcast.prep.errors import InputError

INDEX = "models.json"
MEND = "the model is damaged; fit it again"


class Entry(BaseModel):
    """A model: the file and the SHA-256 of its weights, its training windows and epochs, and its best validation loss."""

    model_config = ConfigDict(frozen=True)
    file: Annotated[str, Field(pattern=r"^weights-\d+\.npz$")]
    sha256: str
    windows: int
    epochs: int
    best_epoch: int
    validation_loss: float | None


class Index(BaseModel):
    """Which series has which model.

    models      key → model
    key_of      series → key
    without     key, or a series without a key → the reason why there is no model
    """

    model_config = ConfigDict(frozen=True)
    format: Literal["hindcast-models"] = "hindcast-models"
    version: Literal[1] = 1
    models: dict[str, Entry]
    key_of: dict[str, str]
    without: dict[str, str]


@dataclass(frozen=True)
class Models:
    """Models by their keys. `weights`: of each, in the order of the network's `get_weights`."""

    index: Index
    weights: Mapping[str, Sequence[np.ndarray]]

    def key_of(self, series: str) -> str:
        """The key of the model that forecasts a series. Raises InputError, with the name of the series, where there is none."""
        key = self.index.key_of.get(series)
        if key is not None and key in self.index.models:
            return key
        why = self.index.without.get(series if key is None else key, "it is not in the dataset of the fit")
        of = "it" if key in (None, series) else f"its group {key!r}"
        raise InputError(
            f"series {series!r}: there is no model of {of}: {why}. Fit one on a dataset with enough of it, or one model for "
            'all series (partitions.models = "averaged", or --cluster.on local)'
        )

    def write(self, folder: Path) -> None:
        """Writes weights and index into a folder that holds no models yet."""
        for key, entry in self.index.models.items():
            np.savez(folder / entry.file, **{f"{number:04d}": weight for number, weight in enumerate(self.weights[key])})
        (folder / INDEX).write_text(self.index.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_models(folder: Path, shapes: Sequence[tuple[int, ...]]) -> Models:
    """The models of a folder. `shapes`: of the network's weights.

    Raises InputError, naming the file, where a file is missing or damaged, or its arrays have other shapes.
    """
    file = folder / INDEX
    try:
        index = Index.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{file}: is missing: {MEND}") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{file}: not an index of models: {reason}: {MEND}") from None
    return Models(index, {key: _weights(folder / entry.file, key, entry, shapes) for key, entry in index.models.items()})


def _weights(file: Path, key: str, entry: Entry, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            weights = [stored[name] for name in sorted(stored.files)]
    except FileNotFoundError:
        raise InputError(f"{file}: is missing, the weights of {key!r}: {MEND}") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not the weights of {key!r}, or damaged ({error}): {MEND}") from None
    if [weight.shape for weight in weights] != list(shapes) or digest_of(weights) != entry.sha256:
        raise InputError(f"{file}: other weights than {INDEX} says of {key!r}: {MEND}")
    return weights
