"""The value that every model answers with, and the verb it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prep.layout import Layout


@dataclass(frozen=True)
class Forecast:
    """What is expected after some contexts, once the lead has passed.

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
        """`context` (windows, context, channels) float32, scaled; `observed` the same shape, uint8: 1 measured, 0 filled.

        The forecast is of the horizon that begins after the lead, whose steps a forecaster skips: it knows both from the layout.
        """
        ...


def target_times(start: np.ndarray, layout: Layout, step_micros: int) -> np.ndarray:
    """(windows, horizon) datetime64[us]: what is forecast of windows whose contexts begin at `start` (windows,)."""
    return start[:, None] + (layout.look_back + np.arange(layout.horizon)) * np.timedelta64(step_micros, "us")
