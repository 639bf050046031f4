"""The value that every model answers with, and the verb it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Forecast:
    """What is expected to follow some contexts.

    mean        (windows, horizon, channels)
    deviation   the same shape, or None: standard deviation of the predictive distribution, where the model gives one
    """

    mean: np.ndarray
    deviation: np.ndarray | None = None

    def in_units(self, centre: np.ndarray, scale: np.ndarray) -> Forecast:
        """The same forecast in the units of the sensor; `centre` and `scale` (windows, channels), as `Scaling.of` gives them."""
        centre, scale = centre[:, None, :], scale[:, None, :]
        return Forecast(self.mean * scale + centre, None if self.deviation is None else self.deviation * scale)


class Forecaster(Protocol):
    """A fitted model, or a baseline that needs no fitting."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> int:
        """How many numbers were estimated."""
        ...

    def forecast(self, context: np.ndarray, observed: np.ndarray) -> Forecast:
        """`context` (windows, context, channels) float32, scaled; `observed` the same shape, uint8: 1 measured, 0 filled."""
        ...
