"""A trained network as a forecaster: made from the result of a training, saved as a folder, and loaded from one."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hindcast.deep.heads import head_of
from hindcast.deep.inputs import Inputs
from hindcast.deep.networks.building import build
from hindcast.deep.part import LstmPart
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.trained import Trained
from hindcast.deep.weights_files import Models, read_models
from hindcast.forecasting.card import CARD, Card, Gives, Sequences, must_be_model, read_card, typed
from hindcast.forecasting.forecast import Forecast
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_folder

KIND = "lstm"
NETWORK = "model.keras"
BYTES_A_WEIGHT = 4
SEQUENCES_A_CALL = 4096
PACKAGES = ("hindcast", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy")


@dataclass(frozen=True)
class LstmForecaster:
    """Satisfies `hindcast.forecasting.forecast.Forecaster`."""

    network: keras.Model
    card: Card[LstmPart]

    @property
    def parameters(self) -> int:
        return self.card.parameters

    def forecast(self, given: Given) -> Forecast:
        """The forecast of the network's head, float32, in the scaling of the windows.

        Raises InputError where the context, the covariates or the attributes have another shape than in the model's own windows.
        """
        return head_of(self.settings).forecast(self.raw(self._checked(given)))

    def raw(self, given: Given) -> np.ndarray:
        """The output of the network: the head's parameters, (windows, horizon, channels, outputs)."""
        arrays = self.inputs.arrays(given)
        size = max(1, SEQUENCES_A_CALL // self.inputs.channels)
        slices = [slice(first, first + size) for first in range(0, len(given.context), size)]
        parts = [self._graph({name: array[part] for name, array in arrays.items()}).numpy() for part in slices]
        return np.concatenate([self._empty(0), *parts])

    def _empty(self, windows: int) -> np.ndarray:
        return np.empty((windows, self.inputs.horizon, self.inputs.channels, head_of(self.settings).outputs), np.float32)

    @property
    def settings(self) -> LstmSettings:
        """The settings that the network was trained with."""
        return self.card.part.settings

    @property
    def inputs(self) -> Inputs:
        return self.card.part.inputs

    def _checked(self, given: Given) -> Given:
        inputs, context = self.inputs, given.context
        expected = (inputs.context, inputs.channels)
        if context.ndim != 3 or context.shape[1:] != expected:
            raise InputError(f"context of shape {context.shape}: expected (windows, {expected[0]} steps, {expected[1]} channels)")
        for name in ("covariates", "known", "attributes"):
            width, needed = getattr(given, name).shape[-1], len(getattr(inputs, name))
            if needed and width != needed:
                raise InputError(
                    f"{name}: found {width}, and the model was fitted with {needed}: give it windows with the same ones"
                )
        return given

    @cached_property
    def _graph(self) -> Callable[[dict[str, np.ndarray]], tf.Tensor]:
        """The network, traced once for any number of windows: `predict` traces anew for every size of batch, and says so."""
        shapes = self.inputs.shapes()
        signature = {name: tf.TensorSpec((None, *shape), dtype) for name, (shape, dtype) in shapes.items()}
        return tf.function(self.network, input_signature=[signature])

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes `model.keras` and `model.json`: the folder is whole or not there.

        Raises InputError where the folder is taken (with `overwrite`: taken by anything but a model).
        """
        with placed_folder(Path(folder), overwrite, must_be_model) as staging:
            self._write(staging)

    def _write(self, folder: Path) -> None:
        self.network.save(folder / NETWORK)
        self.card.write(folder)


@dataclass(frozen=True)
class SeriesForecaster(LstmForecaster):
    """One network, and weights for each series: every window is forecast with the weights of its own series."""

    models: Models

    def raw(self, given: Given) -> np.ndarray:
        """As `LstmForecaster.raw`. Raises InputError, with the name of the series, where a series has no model."""
        names, which = np.unique(given.series, return_inverse=True)
        keys = np.array([self.models.key_of(str(name)) for name in names], object)[which]
        result = self._empty(len(keys))
        for key in dict.fromkeys(keys.tolist()):
            mine = np.flatnonzero(keys == key)
            self._put(key)
            result[mine] = super().raw(given.subset(mine))
        return result

    def _put(self, key: str) -> None:
        self.network.set_weights(list(self.models.weights[key]))

    def _write(self, folder: Path) -> None:
        self._put(next(iter(self.models.index.models)))
        super()._write(folder)
        self.models.write(folder)


def load(folder: str | Path) -> LstmForecaster:
    """A saved forecaster. Raises InputError, naming the file, where the folder holds none or a file is damaged."""
    folder = Path(folder)
    card = typed(read_card(folder), KIND, LstmPart, folder)
    file = folder / NETWORK
    if not file.is_file():
        raise InputError(f"{file}: is missing: the model is damaged; fit it again")
    try:
        network = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the zip, JSON or HDF5 reader met: all mean the same to a user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{file}: not a Keras model of Hindcast, or damaged ({reason}): fit the model again") from error
    forecaster, data = LstmForecaster(network, card), card.sequences(folder)
    inputs, outputs = forecaster.inputs, head_of(forecaster.settings).outputs
    takes = {tensor.name: (tuple(tensor.shape[1:]), tensor.dtype) for tensor in network.inputs}
    gives, expected = tuple(network.output_shape[1:]), (data.horizon, len(data.channels), outputs)
    fits = (inputs.context, inputs.channels) == (data.context, len(data.channels))
    if not fits or (takes, gives) != (inputs.shapes(), expected):
        raise InputError(f"{file}: takes {takes} and gives {gives}, and {CARD} says {inputs.shapes()} and {expected}")
    if card.part.partitioned is None:
        return forecaster
    return SeriesForecaster(network, card, read_models(folder, [tuple(weight.shape) for weight in network.weights]))


def forecaster_of(
    trained: Trained, dataset: SequenceDataset, seconds: float | None = None, cpu_seconds: float | None = None
) -> LstmForecaster:
    """The forecaster of a training on `dataset`. `seconds` and `cpu_seconds`: of the whole fit; of the training by default."""
    network = build(trained.settings, trained.inputs)
    network.set_weights(list(trained.weights))
    settings = trained.settings
    card = Card[LstmPart](
        kind=KIND,
        data=Sequences.of(dataset, covariates=settings.covariates),
        gives=Gives(
            deviation=settings.head in ("gaussian", "student"), levels=settings.levels if settings.head == "quantiles" else ()
        ),
        parameters=network.count_params(),
        bytes=BYTES_A_WEIGHT * network.count_params(),
        fit_seconds=trained.seconds if seconds is None else seconds,
        fit_cpu_seconds=trained.cpu_seconds if cpu_seconds is None else cpu_seconds,
        seed=settings.seed,
        history=trained.history,
        notes=(),
        versions=_versions(),
        part=LstmPart(
            settings=settings,
            inputs=trained.inputs,
            ranks=trained.ranks,
            best_epoch=trained.best_epoch,
            weights_sha256=trained.weights_digest,
            partitioned=None,
        ),
    )
    return LstmForecaster(network, card)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # TensorFlow goes by one of two names
            continue
    return versions
