"""The plain LSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import layers, ops, saving

from hindcast.deep.networks.parts import Body, along, glorot, lstm, width_along


@saving.register_keras_serializable(package="hindcast")
class PlainLstm(Body):
    """LSTM layers over the steps of all channels (Hochreiter and Schmidhuber 1997); one dense layer gives the whole horizon.

    Another dense layer adds, to each step of the horizon, a function of the covariates that are known of that step.
    """

    def __init__(self, depth: int, **common: Any) -> None:
        super().__init__(**common)
        self.depth = depth
        self.lstms = [lstm(self.units, self.seed + 1 + level, return_sequences=level + 1 < depth) for level in range(depth)]

    def build(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        channels = int(shapes["context"][2] or 0)
        self.project = self.projection(self.horizon * channels * self.outputs, self.seed)
        self.project.build((None, self.units))
        if "known" in shapes:
            self.from_known = layers.Dense(
                channels * self.outputs, use_bias=False, kernel_initializer=glorot(self.seed + 9), name="from_known"
            )
            self.from_known.build(shapes["known"])
        if self.embed_series is not None:
            self.embed_series.build(shapes["series"])
        for level, layer in enumerate(self.lstms):
            layer.build((None, None, self.units if level else width_along(shapes, self.static_width(shapes))))

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        _, steps, channels = inputs["context"].shape
        hidden = along(inputs, self.static(inputs), steps, self.compute_dtype)
        for layer in self.lstms:
            hidden = layer(hidden, training=training)
        raw = ops.reshape(self.project(self.drop(hidden, training=training)), (-1, self.horizon, channels, self.outputs))
        if "known" in inputs:
            raw = raw + ops.reshape(self.from_known(inputs["known"]), (-1, self.horizon, channels, self.outputs))
        return raw

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth": self.depth}
