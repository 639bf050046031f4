"""The weights of many models of one network: a file each, without pickles, and an index that says whose they are.

Keys are names of series or values of an attribute: they may hold anything. Files are called by numbers.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deep.digests import digest_of
from prep.errors import InputError

INDEX, WEIGHTS = "models.json", "weights"
MEND = "the model is damaged; fit it again"


class Entry(BaseModel):
    """A model: the name of its file, the SHA-256 of its weights, how many training windows it has seen, and how well it did."""

    model_config = ConfigDict(frozen=True)
    file: Annotated[str, Field(pattern=r"^\d+\.npz$")]
    sha256: str
    windows: int
    epochs: int
    best_epoch: int
    validation_loss: float | None


class Index(BaseModel):
    """models: key → model; key_of: series → key; without: key → why there is no model of it."""

    model_config = ConfigDict(frozen=True)
    format: Literal["hindcast-models"] = "hindcast-models"
    version: Literal[1] = 1
    models: dict[str, Entry]
    key_of: dict[str, str]
    without: dict[str, str]


@dataclass(frozen=True)
class Models:
    """`kept` holds the weights of each key, or `folder` their files, which are read when they are asked for."""

    index: Index
    kept: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)
    folder: Path | None = None

    def key_of(self, series: str) -> str:
        """Whose weights forecast a series. Raises InputError, naming it, where there are none."""
        key = self.index.key_of.get(series)
        if key is not None and key in self.index.models:
            return key
        why = "it is not in the dataset of the fit" if key is None else self.index.without.get(key, "none was fitted")
        of = "it" if key in (None, series) else f"its group {key!r}"
        raise InputError(
            f"series {series!r}: there is no model of {of}: {why}. Fit one on a dataset with enough of it, or one model for "
            'all series (partitions.models = "averaged", or --cluster.on local)'
        )

    def weights_of(self, key: str, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Raises InputError, naming the file, where it is missing or damaged, or its arrays are not of these shapes."""
        weights = self._read(key)
        if [weight.shape for weight in weights] != list(shapes):
            raise InputError(f"the weights of {key!r} are not those of its network: {MEND}")
        return weights

    def write(self, folder: Path) -> None:
        """Into a folder that holds neither index nor weights."""
        (folder / WEIGHTS).mkdir()
        for key, entry in self.index.models.items():
            weights = self._read(key)
            np.savez(folder / WEIGHTS / entry.file, **{f"{number:04d}": weight for number, weight in enumerate(weights)})
        (folder / INDEX).write_text(self.index.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _read(self, key: str) -> list[np.ndarray]:
        if key in self.kept:
            return list(self.kept[key])
        assert self.folder is not None
        entry = self.index.models[key]
        file = self.folder / WEIGHTS / entry.file
        try:
            with np.load(file, allow_pickle=False) as stored:
                weights = [stored[name] for name in sorted(stored.files)]
        except FileNotFoundError:
            raise InputError(f"{file}: is missing, the weights of {key!r}: {MEND}") from None
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: not the weights of {key!r}, or damaged ({error}): fit the model again") from None
        if digest_of(weights) != entry.sha256:
            raise InputError(f"{file}: other weights than {INDEX} says of {key!r}: {MEND}")
        return weights


def read_models(folder: Path) -> Models:
    """Raises InputError, naming the file, where there is no index, or it is none of ours."""
    file = folder / INDEX
    try:
        index = Index.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{file}: is missing: {MEND}") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{file}: not an index of models: {reason}: {MEND}") from None
    return Models(index, folder=folder)
