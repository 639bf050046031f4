"""The first and last layers of all networks: windows are standardised, parameters are put back, and members are combined."""

from __future__ import annotations

from typing import Any

from keras import layers, ops, saving

from hindcast.deep.heads import head_of
from hindcast.deep.settings import LstmSettings

# Of the dataset's scaling: a window that stands still is not blown up.
LEAST_SCALE = 1e-2


@saving.register_keras_serializable(package="hindcast")
class Standardise(layers.Layer):
    """context (batch, steps, channels), observed of that shape or None -> the context standardised, and what it was standardised
    by: centre and scale (batch, 1, channels).

    "last" subtracts the last value; "mean" takes out mean and deviation of what was measured (Kim et al. 2022, without its
    learnt part); "none" leaves the context as it is.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        self.kind = kind

    def call(self, context: Any, observed: Any = None) -> tuple[Any, Any, Any]:
        last = context[:, -1:]
        unit = ops.ones_like(last)
        if self.kind == "last":
            return context - last, last, unit
        if self.kind == "none":
            return context, ops.zeros_like(last), unit
        weight = ops.ones_like(context) if observed is None else observed
        count = ops.maximum(ops.sum(weight, axis=1, keepdims=True), 1.0)
        centre = ops.sum(weight * context, axis=1, keepdims=True) / count
        variance = ops.sum(weight * ops.square(context - centre), axis=1, keepdims=True) / count
        scale = ops.sqrt(variance + LEAST_SCALE**2)
        return (context - centre) / scale, centre, scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


class OfHead(layers.Layer):
    """Layers that compute parameters of a head, in float32. They keep the settings of the head alone."""

    def __init__(self, settings: LstmSettings | dict[str, Any], **options: Any) -> None:
        super().__init__(**{"dtype": "float32", **options})
        self.settings = LstmSettings.model_validate(settings)
        self.head = head_of(self.settings)

    def get_config(self) -> dict[str, Any]:
        names = {"head", "loss", "delta", "levels", "skip", "normalise", "line"}
        return {**super().get_config(), "settings": self.settings.model_dump(mode="json", include=names)}


@saving.register_keras_serializable(package="hindcast")
class Answer(OfHead):
    """The output of a network for a standardised window -> parameters of the head, in the dataset's scaling, float32."""

    def call(self, raw: Any, centre: Any, scale: Any, path: Any = None) -> Any:
        """`path` (batch, horizon, channels), where there is one, is added to the location of the head's distribution."""
        raw = ops.cast(raw, "float32")
        if path is not None:
            raw = raw + ops.expand_dims(path, -1) * ops.one_hot(self.head.location, self.head.outputs)
        return self.head.parameters(raw, centre, scale)


@saving.register_keras_serializable(package="hindcast")
class Together(OfHead):
    """Parameters of members, (batch, members, horizon, channels, outputs), combined: without the members.

    Where the settings give a line its share, the location is moved by that share towards `path` (batch, horizon, channels).
    """

    def call(self, members: Any, centre: Any, scale: Any, path: Any = None) -> Any:
        parameters = self.head.together(members)
        if path is None:
            return parameters
        line = path * scale + centre
        return self.head.moved(parameters, self.settings.line_share * (line - parameters[..., self.head.location]))
