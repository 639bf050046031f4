"""The value that every model answers with, and the verb it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from hindcast.forecasting.distributions.mixtures import Mixture
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Quantiles:
    """levels (levels,), rising, 0.5 among them; values (windows, horizon, channels, levels), which never fall along the last."""

    levels: tuple[float, ...]
    values: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """(windows, horizon, channels)"""
        return self.values[..., self.levels.index(0.5)]


@dataclass(frozen=True)
class Forecast:
    """What is expected after some contexts, once the lead has passed.

    mean        (windows, horizon, channels): what is expected; of a model that gives quantiles, their median
    deviation   the same shape, or None: standard deviation of the predictive distribution, where the model gives one
    mixture     the predictive distribution of some of the windows, computed when it is asked for: all of them at once may need a
                multiple of the memory of the mean. None where the model gives none
    quantiles   of each step and channel, where the model gives these rather than a distribution
    """

    mean: np.ndarray
    deviation: np.ndarray | None = None
    mixture: Callable[[slice], Mixture] | None = None
    quantiles: Quantiles | None = None

    def density(self, windows: slice = slice(None)) -> Mixture:
        """The predictive distribution of some windows, all by default. Raises InputError where the model gives none."""
        if self.mixture is None:
            raise InputError("the forecast has no distribution: the model that made it gives none")
        return self.mixture(windows)

    def in_units(self, centre: np.ndarray, scale: np.ndarray) -> Forecast:
        """The same forecast in the units of the sensor; `centre` and `scale` (windows, channels), as `Scaling.of` gives them."""
        return Forecast(
            self.mean * scale[:, None] + centre[:, None],
            None if self.deviation is None else self.deviation * scale[:, None],
            None if self.mixture is None else lambda windows: self.density(windows).in_units(centre[windows], scale[windows]),
            self.quantiles
            and replace(self.quantiles, values=self.quantiles.values * scale[:, None, :, None] + centre[:, None, :, None]),
        )


@runtime_checkable
class Forecaster(Protocol):
    """What can forecast: a fitted model, a baseline, or a model of the user's own."""

    def forecast(self, given: Given) -> Forecast:
        """Of each window that is given, scaled as it is.

        The forecast is of the horizon that begins after the lead, whose steps a forecaster skips: it knows both from the layout.
        """
        ...


def target_times(start: np.ndarray, layout: Layout, step_micros: int) -> np.ndarray:
    """(windows, horizon) datetime64[us]: what is forecast of windows whose contexts begin at `start` (windows,)."""
    return start[:, None] + (layout.look_back + np.arange(layout.horizon)) * np.timedelta64(step_micros, "us")
