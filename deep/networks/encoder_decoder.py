"""The encoder-decoder LSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import initializers, ops, saving

from hindcast.deep.networks.parts import Body, along, lstm, width_along


@saving.register_keras_serializable(package="hindcast")
class EncoderDecoder(Body):
    """LSTM layers read the context; as many more go on from their states through the horizon (Sutskever et al. 2014).

    The inputs of the decoder at a step are its known covariates and a learnt embedding of its position. The forecast of the step
    before is none of them: training and forecasting are the same computation, and no error is fed back.
    """

    def __init__(self, depth: int, **common: Any) -> None:
        super().__init__(**common)
        self.depth = depth
        options = {"return_sequences": True, "return_state": True}
        self.encoders = [lstm(self.units, self.seed + 1 + level, **options) for level in range(depth)]
        self.decoders = [lstm(self.units, self.seed + 101 + level, **options) for level in range(depth)]

    def build(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        channels, width = int(shapes["context"][2] or 0), max(1, self.units // 4)
        static, known_width = self.static_width(shapes), int(shapes["known"][2] or 0) if "known" in shapes else 0
        normal = initializers.RandomNormal(seed=self.seed + 3)
        self.position = self.add_weight(shape=(self.horizon, width), initializer=normal, name="position")
        self.project = self.projection(channels * self.outputs, self.seed)
        self.project.build((None, None, self.units))
        if self.embed_series is not None:
            self.embed_series.build(shapes["series"])
        for level, (encoder, decoder) in enumerate(zip(self.encoders, self.decoders, strict=True)):
            encoder.build((None, None, self.units if level else width_along(shapes, static)))
            decoder.build((None, None, self.units if level else width + static + known_width))

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        _, steps, channels = inputs["context"].shape
        static = self.static(inputs)
        hidden, states = along(inputs, static, steps, self.compute_dtype), []
        for encoder in self.encoders:
            hidden, *state = encoder(hidden, training=training)
            states.append(state)
        ahead = self._ahead(inputs, static)
        for decoder, state in zip(self.decoders, states, strict=True):
            ahead, *_ = decoder(ahead, initial_state=state, training=training)
        return ops.reshape(self.project(self.drop(ahead, training=training)), (-1, self.horizon, channels, self.outputs))

    def _ahead(self, inputs: Mapping[str, Any], static: Any | None) -> Any:
        """What the decoder is told of each step, (batch, horizon, width)."""
        batch = ops.shape(inputs["context"])[0]
        position = ops.cast(self.position, self.compute_dtype)
        parts = [ops.broadcast_to(ops.expand_dims(position, 0), (batch, *position.shape))]
        if "known" in inputs:
            parts.append(ops.cast(inputs["known"], self.compute_dtype))
        if static is not None:
            parts.append(ops.repeat(ops.expand_dims(static, 1), self.horizon, axis=1))
        return ops.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth": self.depth}
