"""A saved model on its way to Spark's Python workers, each of which loads it once.

Its files travel as one broadcast: a cluster needs no folder that all machines see, and another model of the same name, or the
same folder after another fit, is another model.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hindcast.forecasting.card import Card, read_card
from hindcast.launch.models import kind_of, load_any
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark import Broadcast, SparkContext

# A worker that forecasts with one model after the other does not keep them all.
MOST_LOADED = 2


@dataclass(frozen=True)
class ShippedModel:
    """A model by the SHA-256 of its files.

    folder   where it was read, for errors
    files    name → bytes
    """

    digest: str
    folder: str = field(compare=False)
    files: Broadcast[Mapping[str, bytes]] = field(compare=False)


def ship(folder: Path, context: SparkContext) -> tuple[ShippedModel, Card[Any]]:
    """Sends a model folder out. Raises InputError where it holds no model, or one that is damaged."""
    card = read_card(folder)
    kind_of(card, folder).sound(folder, card)
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)} ".encode() + content)
    return ShippedModel(digest.hexdigest(), str(folder), context.broadcast(files)), card


@lru_cache(MOST_LOADED)
def load_shipped(model: ShippedModel) -> Any:
    """The model, read from this worker's own copy of its files. Raises InputError, which names the folder it was read from."""
    # Spark says how many cores a task has in the way that OpenMP does; TensorFlow would take all of the machine for each task.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, os.environ.get("OMP_NUM_THREADS", "1"))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # workers share what GPU there is
    with tempfile.TemporaryDirectory(prefix="hindcast-model-") as folder:
        for name, content in model.files.value.items():
            Path(folder, name).write_bytes(content)
        try:
            return load_any(Path(folder))
        except InputError as error:
            raise InputError(str(error).replace(folder, model.folder)) from None
