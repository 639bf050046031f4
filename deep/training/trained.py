"""The result of a training. TensorFlow is not imported here: this travels from ranks to the driver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings


@dataclass(frozen=True)
class Trained:
    """The result of a training, equal on all ranks.

    settings       as used, the segment decided
    inputs         of the network
    weights        of the best epoch, in the order of the network's `get_weights`
    history        an epoch each: epoch (from 1), loss, validation_loss (the head's, scaled), learning_rate at its end, seconds
    best_epoch     whose weights these are
    weights_digest SHA-256 of the weights, found equal on all ranks
    seconds        of training, wall
    cpu_seconds    of training, summed over ranks
    """

    settings: LstmSettings
    inputs: Inputs
    weights: tuple[np.ndarray, ...]
    history: tuple[dict[str, float], ...]
    best_epoch: int
    weights_digest: str
    ranks: int
    seconds: float
    cpu_seconds: float
