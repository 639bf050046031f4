"""The inputs of a network for a window: named arrays, the same ones in training and in forecasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from hindcast.deep.settings import LstmSettings
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError


class Feature(BaseModel):
    """A covariate or an attribute.

    words           of a category: how many words it has in training, each an input of 0 or 1; 0 for a number
    centre, scale   of a number: `centre` is subtracted from it, and the rest divided by `scale`
    """

    model_config = ConfigDict(frozen=True)
    words: int = 0
    centre: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        return max(1, self.words)


class Inputs(BaseModel):
    """Which inputs a network has, and how wide they are.

    covariates  of the context's steps
    known       of the horizon's steps: those covariates whose future is known
    attributes  of the series
    series      names of the series that are told apart, numbered from 1 on; any other series has number 0
    mask        whether the observed mask is an input
    """

    model_config = ConfigDict(frozen=True)
    context: int
    horizon: int
    lead: int
    channels: int
    mask: bool = False
    covariates: tuple[Feature, ...] = ()
    known: tuple[Feature, ...] = ()
    attributes: tuple[Feature, ...] = ()
    series: tuple[str, ...] = ()

    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """The shape of each input for one window, and its dtype."""
        widths = {name: sum(feature.width for feature in getattr(self, name)) for name in ("covariates", "known", "attributes")}
        shapes: dict[str, tuple[tuple[int, ...], str]] = {"context": ((self.context, self.channels), "float32")}
        if self.mask:
            shapes["observed"] = (self.context, self.channels), "float32"
        for name, steps in (("covariates", (self.context,)), ("known", (self.horizon,)), ("attributes", ())):
            if widths[name]:
                shapes[name] = (*steps, widths[name]), "float32"
        if self.series:
            shapes["series"] = (), "int32"
        return shapes

    def arrays(self, given: Given) -> dict[str, np.ndarray]:
        """The inputs of windows, each (windows, *shape). A missing covariate or attribute is 0: of a number, that is its mean."""
        arrays = {"context": given.context.astype(np.float32, copy=False)}
        if self.mask:
            arrays["observed"] = given.observed.astype(np.float32)
        if self.covariates:
            arrays["covariates"] = _spread(given.covariates, given.covariates_observed.astype(bool), self.covariates)
        if self.known:
            ahead = given.known[:, self.context + self.lead :]
            arrays["known"] = _spread(ahead, np.isfinite(ahead), self.known)
        if self.attributes:
            arrays["attributes"] = _spread(given.attributes, np.isfinite(given.attributes), self.attributes)
        if self.series:
            numbers = {name: number for number, name in enumerate(self.series, start=1)}
            arrays["series"] = np.array([numbers.get(name, 0) for name in given.series.tolist()], np.int32)
        return arrays


class HasBlocks(Protocol):
    """Training rows in blocks, which have at least `series` and `attributes`."""

    @property
    def blocks(self) -> Sequence[Any]: ...


def inputs_of(dataset: SequenceDataset, training: HasBlocks, settings: LstmSettings) -> Inputs:
    """The inputs of a network of these settings for windows of this dataset: a function of the training split alone.

    Raises InputError where the settings mix windows, and the windows have covariates or attributes.
    """
    layout, manifest = dataset.layout, dataset.manifest
    future_covariates = [column for column in manifest.covariates if column.known]
    attributes = manifest.attributes
    must_mix(dataset, settings)
    return Inputs(
        context=layout.context,
        horizon=layout.horizon,
        lead=layout.lead,
        channels=len(dataset.channels),
        mask=settings.mask if settings.mask is not None else bool(manifest.count("values_filled", "train")),
        covariates=tuple(map(_feature, manifest.covariates)) if settings.covariates else (),
        known=tuple(map(_feature, future_covariates)) if settings.covariates else (),
        attributes=_attributes(attributes, training) if settings.covariates and attributes else (),
        series=tuple(sorted({str(name) for block in training.blocks for name in block.series}))
        if settings.series_embedding
        else (),
    )


def must_mix(dataset: SequenceDataset, settings: LstmSettings) -> None:
    """Raises InputError where the settings mix windows, and the windows have covariates or attributes."""
    beside = [*dataset.manifest.covariates, *dataset.manifest.attributes]
    if settings.mixing and settings.covariates and beside:
        raise InputError(
            f"lstm.mixing: two windows share no covariates or attributes, and {beside[0].name!r} is one. Leave mixing out, "
            "or what stands beside the channels: lstm.covariates = false"
        )


def _feature(column: Column, centre: float = 0.0, scale: float = 1.0) -> Feature:
    # The words of training have the first codes; nothing could be learnt of another.
    words = len(column.vocabulary.by_split["train"]) if column.vocabulary else 0
    return Feature(words=words, centre=centre, scale=scale)


def _attributes(columns: Sequence[Column], training: HasBlocks) -> tuple[Feature, ...]:
    """With the mean and deviation that numbers have over the training rows: attributes are stored as they came."""
    stored: Any = np.concatenate([block.attributes for block in training.blocks])
    features = []
    for column, values in zip(columns, stored.T.astype(np.float64), strict=True):
        values = values[np.isfinite(values)]
        centre, scale = (float(values.mean()), float(values.std())) if len(values) and not column.vocabulary else (0.0, 1.0)
        features.append(_feature(column, centre, scale or 1.0))
    return tuple(features)


def _spread(values: np.ndarray, present: np.ndarray, features: Sequence[Feature]) -> np.ndarray:
    """(..., features) -> (..., width): numbers standardised, a category's words side by side; 0 where a value is missing."""
    columns = []
    for number, feature in enumerate(features):
        value, there = values[..., number], present[..., number]
        if feature.words:
            columns.append((np.where(there, value, -1)[..., None] == np.arange(feature.words)).astype(np.float32))
        else:
            columns.append(np.where(there, (value - feature.centre) / feature.scale, 0.0)[..., None].astype(np.float32))
    return np.concatenate(columns, axis=-1)
