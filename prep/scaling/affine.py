"""Scaling by statistics of the training split alone, and its inverse."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator


@dataclass(frozen=True)
class Moments:
    """Of the measured values of each channel: count, mean, sum of squared deviations, minimum, maximum; arrays (channels,), or
    (groups, channels) of several groups of values.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of(self, channels: slice) -> Moments:
        """Of some of the channels."""
        return Moments(*(field[..., channels] for field in astuple(self)))

    @classmethod
    def stacked(cls, groups: Iterable[Moments]) -> Self:
        """Of several groups, side by side."""
        items = list(groups)
        return cls(*(np.stack([getattr(group, field.name) for group in items]) for field in fields(cls)))


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
    count, mean, squares, low, high = astuple(Moments.stacked(parts))
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


def _decoded(numbers: Any) -> Any:
    return base64.b64decode(numbers, validate=True) if isinstance(numbers, str) else numbers


def _encoded(numbers: bytes) -> str:
    return base64.b64encode(numbers).decode()


Base64 = Annotated[bytes, BeforeValidator(_decoded), PlainSerializer(_encoded, when_used="json")]


class AffineOfEach(BaseModel):
    """A map for each of some series: `centre` and `scale`, (names, channels) float64, little-endian, row by row.

    In JSON they are base64. A million maps as objects of numbers were 319 MB, and took 20 s to read.
    """

    model_config = ConfigDict(frozen=True)
    names: tuple[str, ...] = ()
    centre: Base64 = b""
    scale: Base64 = b""

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, content: Any) -> Any:
        if isinstance(content, dict) and not content.keys() <= {*cls.model_fields}:
            raise ValueError("maps by the names of series are of an earlier version; arrays were expected")
        return content

    @classmethod
    def of(cls, names: Sequence[str], centre: np.ndarray, scale: np.ndarray) -> Self:
        """`centre` and `scale`: (names, channels)."""
        return cls(names=tuple(names), centre=centre.astype("<f8").tobytes(), scale=scale.astype("<f8").tobytes())

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def places(self, series: Iterable[str]) -> np.ndarray:
        """Where each series is among the names; -1 where it is not."""
        return np.array([self._places.get(str(name), -1) for name in series], np.int64)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(centre, scale), each (names, channels): views."""
        centre, scale = (np.frombuffer(numbers, "<f8").reshape(len(self.names), -1) for numbers in (self.centre, self.scale))
        return centre, scale


class Scaling(BaseModel):
    """How channels were scaled: by one affine map, or one for each series and `overall` where a series has no training data."""

    model_config = ConfigDict(frozen=True)
    method: Literal["standard", "robust", "minmax", "none"]
    overall: Affine
    by_series: AffineOfEach = AffineOfEach()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names, channels = self.by_series.names, len(self.overall.centre)
        expected = 8 * len(names) * channels
        for name, numbers in (("centre", self.by_series.centre), ("scale", self.by_series.scale)):
            if len(numbers) != expected:
                raise ValueError(
                    f"by_series.{name} has {len(numbers)} bytes, and {len(names)} x {channels} float64 were expected"
                )
        return self

    @property
    def each_series(self) -> bool:
        """Whether series have maps of their own."""
        return bool(self.by_series.names)

    def of(self, series: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(centre, scale), each (len(series), channels) float64."""
        shape = (len(series), len(self.overall.centre))
        centre, scale = (np.broadcast_to(numbers, shape).copy() for numbers in (self.overall.centre, self.overall.scale))
        if self.each_series:
            places = self.by_series.places(series)
            own, (centres, scales) = places >= 0, self.by_series.arrays()
            centre[own], scale[own] = centres[places[own]], scales[places[own]]
        return centre, scale

    def apply(self, values: np.ndarray, series: str) -> np.ndarray:
        """`values` (steps, channels) of a series, scaled; float64."""
        centre, scale = self.of([series])
        return (values - centre) / scale


def affine(method: str, statistics: Moments, quartiles: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre, scale) of each channel, shaped as the statistics: to mean 0 and deviation 1 ("standard"), median 0 and an
    interquartile range of 1 ("robust"), or the range [0, 1] ("minmax"); none for "none", and where `scaled` (channels,) is False.

    `quartiles` (3, *shape) are needed for "robust" alone. A channel that is constant, or never measured, is centred and keeps
    its units.
    """
    seen = statistics.count > 0
    centre, scale = np.zeros(seen.shape), np.ones(seen.shape)
    if method == "standard":
        centre, scale = statistics.mean, np.sqrt(statistics.squares / np.maximum(statistics.count, 1))
    elif method == "robust":
        centre, scale = quartiles[1], quartiles[2] - quartiles[0]
    elif method == "minmax":
        centre, scale = np.where(seen, statistics.low, 0.0), np.where(seen, statistics.high - statistics.low, 0.0)
    rescaled = scaled & seen & (method != "none")
    centre = np.where(rescaled, centre, 0.0)
    constant = ~rescaled | (scale <= np.abs(centre) * 1e-12)
    return centre, np.where(constant, 1.0, scale)
