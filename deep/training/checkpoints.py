"""The state of a training between two steps: enough to go on exactly as if nothing had happened."""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hindcast.deep.settings import LstmSettings
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_file

FORMAT = "hindcast-training-1"


@dataclass
class State:
    """A training after some steps.

    epoch, step         the epoch (from 1), and how many of its steps are done
    weights, optimiser  arrays of the network and of its optimiser, in their own order
    best                the weights with the least validation loss so far, if an epoch has ended
    total, count        sums of the epoch's losses and of the targets that they are of
    history             of the epochs that have ended
    waited              epochs since the best one
    dropout             of each rank: the states of its random generators
    """

    epoch: int = 1
    step: int = 0
    weights: list[np.ndarray] = field(default_factory=list)
    optimiser: list[np.ndarray] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)
    total: float = 0.0
    count: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    waited: int = 0
    dropout: list[list[list[int]]] = field(default_factory=list)

    def goes_on(self, settings: LstmSettings) -> bool:
        """Whether there is another epoch to train."""
        return self.epoch <= settings.epochs and self.waited < settings.patience

    def end_epoch(self, record: dict[str, float], weights: list[np.ndarray]) -> None:
        """Goes over to the next epoch. `weights` become the best if `record` has the least validation loss so far, or none."""
        best = min((past["validation_loss"] for past in self.history if "validation_loss" in past), default=math.inf)
        if record.get("validation_loss", -math.inf) < best:
            self.best, self.waited = weights, 0
        else:
            self.waited += 1
        self.history.append(record)
        self.epoch, self.step, self.total, self.count = self.epoch + 1, 0, 0.0, 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights `best` are."""
        if "validation_loss" not in self.history[-1]:
            return len(self.history)
        return 1 + int(np.argmin([record["validation_loss"] for record in self.history]))

    def to_bytes(self, of: dict[str, Any]) -> bytes:
        """The state as an .npz file, of arrays alone. `of`: the identity of the training, which alone may go on from it."""
        numbers = {name: getattr(self, name) for name in ("epoch", "step", "total", "count", "history", "waited", "dropout")}
        header = json.dumps({"format": FORMAT, "of": of, **numbers}).encode()
        arrays = {f"{name}_{i:04d}": array for name in LISTS for i, array in enumerate(getattr(self, name))}
        buffer = io.BytesIO()
        np.savez(buffer, said=np.frombuffer(header, np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, of: dict[str, Any], file: str) -> State:
        """The state in the file. Raises InputError, naming `file`, where it is no checkpoint, damaged, or of another training."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                header = json.loads(stored["said"].tobytes())
                arrays = {name: stored[name] for name in sorted(stored.files)}
            if header.pop("format") != FORMAT:
                raise ValueError("another format")
            earlier = header.pop("of")
            lists: dict[str, Any] = {
                kind: [array for name, array in arrays.items() if name.startswith(f"{kind}_")] for kind in LISTS
            }
            state = cls(**header, **lists)
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: not a checkpoint of a training, or damaged ({error}). Remove it, and train anew") from None
        other = sorted(name for name in {*earlier, *of} if earlier.get(name) != of.get(name))
        if other:
            name = other[0]
            raise InputError(
                f"{file}: the checkpoint is of another training: {name} was {earlier.get(name)!r}, and is {of.get(name)!r}. "
                "Go on with the same settings and dataset, or train anew without --resume"
            )
        return state


LISTS = ("weights", "optimiser", "best")


@dataclass(frozen=True)
class TrainingFile:
    """The one file that a training is saved in, replaced as a whole each time.

    of      what is trained on what: a training goes on only from a checkpoint that says the same
    resume  whether to go on from what the file holds; without it, a training begins anew and replaces the file
    """

    file: Path
    of: dict[str, Any]
    resume: bool = False

    def write(self, data: bytes) -> None:
        with placed_file(self.file) as staged:
            staged.write_bytes(data)

    def save(self, state: State) -> None:
        self.write(state.to_bytes(self.of))

    def read(self) -> bytes | None:
        """The checkpoint to go on from; None where the training begins anew.

        Raises InputError where there is no checkpoint, or it is damaged or of another training.
        """
        if not self.resume:
            return None
        try:
            data = self.file.read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.file}: there is no checkpoint to go on from ({error.strerror}): train without --resume"
            ) from None
        State.from_bytes(data, self.of, str(self.file))
        return data

    def restore(self) -> State | None:
        data = self.read()
        return None if data is None else State.from_bytes(data, self.of, str(self.file))


def identity(dataset: SequenceDataset, settings: LstmSettings) -> dict[str, Any]:
    """The identity of a training: the dataset and the settings, but for those that only decide when it stops.

    With a cosine schedule, which ends with the last epoch, the number of epochs belongs to it.
    """
    free = {"max_seconds", "silence_seconds", "checkpoint_steps", "patience", "precision"}
    free |= set() if settings.schedule == "cosine" else {"epochs"}
    return {"dataset": dataset.digest, **settings.model_dump(mode="json", exclude=free)}
