"""Scaling by statistics of the training split alone, and its inverse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Moments:
    """Of the measured values of each channel: count, mean, sum of squared deviations, minimum, maximum; arrays (channels,)."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of(self, channels: slice) -> Moments:
        """Of some of the channels."""
        return Moments(*(field[channels] for field in astuple(self)))


def moments(values: np.ndarray, observed: np.ndarray) -> Moments:
    """Of `values` (steps, channels), counting only where `observed` (same shape) is not 0."""
    seen = observed.astype(bool)
    count = seen.sum(axis=0)
    mean = np.where(seen, values, 0).sum(axis=0) / np.maximum(count, 1)
    return Moments(
        count=count,
        mean=mean,
        squares=(np.where(seen, values - mean, 0) ** 2).sum(axis=0),
        low=np.where(seen, values, np.inf).min(axis=0, initial=np.inf),
        high=np.where(seen, values, -np.inf).max(axis=0, initial=-np.inf),
    )


def merge(parts: Iterable[Moments]) -> Moments:
    """Of all the values together. Sums are exactly rounded, so the order of the parts does not matter."""
    count, mean, squares, low, high = (np.stack(field) for field in zip(*map(astuple, parts), strict=True))
    total = count.sum(axis=0)
    overall = _exact_sum(count * mean) / np.maximum(total, 1)
    return Moments(total, overall, _exact_sum(squares + count * (mean - overall) ** 2), low.min(axis=0), high.max(axis=0))


def _exact_sum(terms: np.ndarray) -> np.ndarray:
    return np.array([math.fsum(column) for column in terms.T])


class Affine(BaseModel):
    """scaled = (value − centre) / scale, a pair for each channel."""

    model_config = ConfigDict(frozen=True)
    centre: tuple[float, ...]
    scale: tuple[float, ...]


class Scaling(BaseModel):
    """How channels were scaled: by one affine map, or one for each series and `overall` where a series has no training data."""

    model_config = ConfigDict(frozen=True)
    method: Literal["standard", "robust", "minmax", "none"]
    overall: Affine
    by_series: dict[str, Affine] = {}

    def of(self, series: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(centre, scale), each (len(series), channels) float64."""
        maps = [self.by_series.get(str(name), self.overall) for name in series]
        shape = (len(maps), len(self.overall.centre))
        return (
            np.array([affine.centre for affine in maps]).reshape(shape),
            np.array([affine.scale for affine in maps]).reshape(shape),
        )

    def apply(self, values: np.ndarray, series: str) -> np.ndarray:
        """`values` (steps, channels) of a series, scaled; float64."""
        centre, scale = self.of([series])
        return (values - centre) / scale


def affine(method: str, statistics: Moments, quartiles: np.ndarray, scaled: np.ndarray) -> Affine:
    """The map of each channel: to mean 0 and deviation 1 ("standard"), median 0 and an interquartile range of 1 ("robust"), or
    the range [0, 1] ("minmax"); none for "none", and where `scaled` (channels,) is False.

    `quartiles` (3, channels) are needed for "robust" alone. A channel that is constant, or never measured, is centred and keeps
    its units.
    """
    seen = statistics.count > 0
    centre, scale = np.zeros(len(seen)), np.ones(len(seen))
    if method == "standard":
        centre, scale = statistics.mean, np.sqrt(statistics.squares / np.maximum(statistics.count, 1))
    elif method == "robust":
        centre, scale = quartiles[1], quartiles[2] - quartiles[0]
    elif method == "minmax":
        centre, scale = np.where(seen, statistics.low, 0.0), np.where(seen, statistics.high - statistics.low, 0.0)
    kept = scaled & seen & (method != "none")
    centre = np.where(kept, centre, 0.0)
    constant = ~kept | (scale <= np.abs(centre) * 1e-12)
    return Affine(centre=tuple(centre.tolist()), scale=tuple(np.where(constant, 1.0, scale).tolist()))
