"""Heads: what a network forecasts of every step and channel, as parameters, with their loss and the forecast they make.

A head turns the output of a network for a standardised window into parameters in the dataset's scaling, (batch, horizon,
channels, outputs): the output of the whole model. Losses are of one target each, so that they can be weighted and added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf
from keras import ops

from hindcast.deep.settings import LstmSettings
from hindcast.forecasting.distributions.marginals import Continuous, Normals, Students
from hindcast.forecasting.distributions.mixtures import Mixture
from hindcast.forecasting.forecast import Forecast, Quantiles

# Of a standardised window. A deviation of 0 would make one exact hit worth any number of misses.
LEAST_DEVIATION = 1e-3
# With fewer degrees of freedom there is no variance.
LEAST_DOF = 2.0


class Head(Protocol):
    """A kind of forecast.

    outputs     how many parameters each step and channel has
    location    the number of the parameter that is the location of the distribution
    """

    @property
    def outputs(self) -> int: ...

    @property
    def location(self) -> int: ...

    def parameters(self, raw: Any, centre: Any, scale: Any) -> Any:
        """Parameters in the dataset's scaling, (batch, horizon, channels, outputs).

        raw             the same shape: the output of the network for windows that were standardised
        centre, scale   (batch, 1, channels): by these
        """
        ...

    def loss(self, target: Any, parameters: Any) -> Any:
        """The loss of each target, the shape of `target` (batch, …, horizon, channels); `parameters` have outputs behind that."""
        ...

    def together(self, parameters: Any) -> Any:
        """Parameters of several networks, (batch, members, horizon, channels, outputs), combined: without the members."""
        ...

    def moved(self, parameters: Any, by: Any) -> Any:
        """Parameters of the same distribution, shifted up by `by` (batch, horizon, channels)."""
        ...

    def forecast(self, parameters: np.ndarray) -> Forecast:
        """The forecast of parameters (windows, horizon, channels, outputs)."""
        ...


def head_of(settings: LstmSettings) -> Head:
    match settings.head:
        case "point":
            return Point(settings.loss, settings.delta)
        case "gaussian":
            return Gaussian()
        case "student":
            return Student()
        case "quantiles":
            return QuantileHead(settings.levels)


class Located:
    """Heads whose first parameter is the location, and whose others do not depend on it."""

    outputs: ClassVar[int]
    location: ClassVar[int] = 0

    def moved(self, parameters: Any, by: Any) -> Any:
        return parameters + ops.expand_dims(by, -1) * ops.one_hot(self.location, self.outputs)


@dataclass(frozen=True)
class Point(Located):
    """One number: with the loss "mse" the mean, with "mae" the median, with "huber" (1964) a value between the two."""

    kind: str = "mse"
    delta: float = 1.0
    outputs: ClassVar[int] = 1

    def parameters(self, raw: Any, centre: Any, scale: Any) -> Any:
        return _outside(raw, centre, scale)

    def loss(self, target: Any, parameters: Any) -> Any:
        error = target - parameters[..., 0]
        if self.kind == "mse":
            return ops.square(error)
        distance = ops.abs(error)
        if self.kind == "mae":
            return distance
        near = ops.minimum(distance, self.delta)
        return near * (distance - 0.5 * near)

    def together(self, parameters: Any) -> Any:
        return ops.mean(parameters, axis=1)

    def forecast(self, parameters: np.ndarray) -> Forecast:
        return Forecast(parameters[..., 0])


@dataclass(frozen=True)
class Gaussian(Located):
    """Mean and deviation; the loss is the negative logarithm of the density."""

    outputs: ClassVar[int] = 2

    def parameters(self, raw: Any, centre: Any, scale: Any) -> Any:
        return ops.concatenate([_outside(raw[..., :1], centre, scale), _deviation(raw[..., 1:2], scale)], axis=-1)

    def loss(self, target: Any, parameters: Any) -> Any:
        mean, deviation = parameters[..., 0], parameters[..., 1]
        return 0.5 * ops.square((target - mean) / deviation) + ops.log(deviation) + 0.5 * math.log(2 * math.pi)

    def together(self, parameters: Any) -> Any:
        """Mean and deviation of the mixture."""
        return ops.stack(_moments(parameters[..., 0], parameters[..., 1]), axis=-1)

    def forecast(self, parameters: np.ndarray) -> Forecast:
        mean, deviation = parameters[..., 0], parameters[..., 1]
        return Forecast(mean, deviation, lambda windows: _mixture_of(Normals(*_components(parameters[windows]))))


@dataclass(frozen=True)
class Student(Located):
    """Location, scale and degrees of freedom of a t distribution; the loss is the negative logarithm of its density."""

    outputs: ClassVar[int] = 3

    def parameters(self, raw: Any, centre: Any, scale: Any) -> Any:
        dof = LEAST_DOF + LEAST_DEVIATION + ops.softplus(raw[..., 2:3])
        return ops.concatenate([_outside(raw[..., :1], centre, scale), _deviation(raw[..., 1:2], scale), dof], axis=-1)

    def loss(self, target: Any, parameters: Any) -> Any:
        location, scale, dof = parameters[..., 0], parameters[..., 1], parameters[..., 2]
        half = 0.5 * (dof + 1)
        normaliser = tf.math.lgamma(half) - tf.math.lgamma(0.5 * dof) - 0.5 * ops.log(dof * math.pi) - ops.log(scale)
        return half * ops.log1p(ops.square((target - location) / scale) / dof) - normaliser

    def together(self, parameters: Any) -> Any:
        """The mean of the mixture, and its deviation if all had the degrees of freedom that they have on average."""
        location, scale = _moments(parameters[..., 0], parameters[..., 1])
        return ops.stack([location, scale, ops.mean(parameters[..., 2], axis=1)], axis=-1)

    def forecast(self, parameters: np.ndarray) -> Forecast:
        location, scale, dof = np.moveaxis(parameters, -1, 0)
        deviation = scale * np.sqrt(dof / (dof - 2))
        return Forecast(location, deviation, lambda windows: _mixture_of(Students(*_components(parameters[windows]))))


@dataclass(frozen=True)
class QuantileHead:
    """Quantiles that never cross: the network gives the median, and the distance of each quantile from its inner neighbour.

    The loss is twice the pinball loss (Koenker and Bassett 1978), averaged over the levels: with many of them the continuous
    ranked probability score.
    """

    levels: tuple[float, ...]

    @property
    def outputs(self) -> int:
        return len(self.levels)

    @property
    def location(self) -> int:
        return self.levels.index(0.5)

    def parameters(self, raw: Any, centre: Any, scale: Any) -> Any:
        middle, apart = self.location, ops.softplus(raw)
        median = raw[..., middle : middle + 1]
        below = ops.flip(median - ops.cumsum(ops.flip(apart[..., :middle], -1), -1), -1)
        above = median + ops.cumsum(apart[..., middle + 1 :], -1)
        return _outside(ops.concatenate([below, median, above], axis=-1), centre, scale)

    def loss(self, target: Any, parameters: Any) -> Any:
        error = ops.expand_dims(target, -1) - parameters
        levels = ops.convert_to_tensor(self.levels, "float32")
        return 2 * ops.mean(ops.maximum(levels * error, (levels - 1) * error), axis=-1)

    def together(self, parameters: Any) -> Any:
        """The mean of each quantile, which keeps their order (Vincent 1912)."""
        return ops.mean(parameters, axis=1)

    def moved(self, parameters: Any, by: Any) -> Any:
        return parameters + ops.expand_dims(by, -1)

    def forecast(self, parameters: np.ndarray) -> Forecast:
        quantiles = Quantiles(self.levels, parameters)
        return Forecast(quantiles.median, quantiles=quantiles)


def _outside(standard: Any, centre: Any, scale: Any) -> Any:
    return standard * ops.expand_dims(scale, -1) + ops.expand_dims(centre, -1)


def _deviation(raw: Any, scale: Any) -> Any:
    return (ops.softplus(raw) + LEAST_DEVIATION) * ops.expand_dims(scale, -1)


def _moments(mean: Any, deviation: Any) -> tuple[Any, Any]:
    """Mean and deviation of a mixture in equal parts, from those of its members, (batch, members, …)."""
    middle = ops.mean(mean, axis=1, keepdims=True)
    variance = ops.mean(ops.square(deviation) + ops.square(mean - middle), axis=1)
    return ops.squeeze(middle, axis=1), ops.sqrt(variance)


def _components(parameters: np.ndarray) -> list[np.ndarray]:
    """Each parameter, (windows, horizon, channels, 1 component)."""
    return [parameters[..., number : number + 1].astype(np.float64) for number in range(parameters.shape[-1])]


def _mixture_of(component: Continuous) -> Mixture:
    return Mixture(np.ones((*component.location.shape[:2], 1)), (component,))
