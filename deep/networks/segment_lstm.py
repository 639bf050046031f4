"""The segment LSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import initializers, layers, ops, saving

from hindcast.deep.networks.parts import Body, glorot, lstm


@saving.register_keras_serializable(package="hindcast")
class SegmentLstm(Body):
    """SegRNN (Lin et al. 2023, arXiv:2308.11200) with an LSTM, decoding all future segments in parallel.

    Each segment of each channel is embedded, with the mask and the covariates of its steps; one LSTM reads a channel's few
    segments; from its last state, the same cell takes one step for each future segment, told apart by a learnt position (and
    channel), by what is known of it, and by what is known of the series. All channels share the weights.
    """

    def __init__(self, segment: int, embedding: str, channel_embedding: bool, **common: Any) -> None:
        super().__init__(**common)
        self.segment, self.embedding, self.channel_embedding = segment, embedding, channel_embedding
        self.embed = None
        if embedding == "dense":
            self.embed = layers.Dense(self.units, activation="relu", kernel_initializer=glorot(self.seed), name="embed")
        self.lstm = lstm(self.units, self.seed + 1, return_state=True)
        self.project = self.projection(segment * self.outputs, self.seed + 2)

    def build(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        futures, width = self.horizon // self.segment, self._query_width
        # SegRNN's: half of a query tells the position, half the channel.
        halved = self.channel_embedding and self.embed is not None
        normal = initializers.RandomNormal(seed=self.seed + 3)
        self.position = self.add_weight(shape=(futures, width - width // 2 * halved), initializer=normal, name="position")
        if self.channel_embedding:
            normal = initializers.RandomNormal(seed=self.seed + 4)
            shape = (shapes["context"][2], width // 2 if halved else width)
            self.channel = self.add_weight(shape=shape, initializer=normal, name="channel")
        widths = {name: int(shapes[name][2] or 0) for name in ("covariates", "known") if name in shapes}
        a_step = 1 + ("observed" in shapes) + widths.get("covariates", 0)
        if self.embed is not None:
            self.embed.build((None, None, self.segment * a_step))
        self.lstm.build((None, None, self.units if self.embed is not None else self.segment * a_step))
        self.project.build((None, self.units))
        if "known" in shapes:
            self.from_known = self._dense(self.segment * widths["known"], 6, "from_known")
        if static := self.static_width(shapes):
            self.from_static = self._dense(static, 7, "from_static")
        if self.embed_series is not None:
            self.embed_series.build(shapes["series"])

    @property
    def _query_width(self) -> int:
        """A query is an input of the cell, as a segment's embedding is; where these are none, it is what it adds to the gates."""
        return 4 * self.units if self.embed is None else self.units

    def _dense(self, width: int, seed: int, name: str) -> layers.Dense:
        dense = layers.Dense(self._query_width, use_bias=False, kernel_initializer=glorot(self.seed + seed), name=name)
        dense.build((None, width))
        return dense

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        channels = inputs["context"].shape[2]
        segments = self._segments(inputs)
        _, hidden, carry = self.lstm(segments if self.embed is None else self.embed(segments), training=training)
        decoded = self._decoded(self._queries(inputs, channels), hidden, carry)
        raw = ops.reshape(self.project(self.drop(decoded, training=training)), (-1, channels, self.horizon, self.outputs))
        return ops.transpose(raw, (0, 2, 1, 3))

    def _decoded(self, queries: Any, hidden: Any, carry: Any) -> Any:
        """A step of the cell for each future segment, (batch, channels, futures, units), all from one state of each channel.

        That state's part in the gates is the same for all of them, and is computed once; so is a query's where it is the same for
        the whole batch.
        """
        channels, futures = queries.shape[1:3]
        cell = self.lstm.cell
        kernel, recurrent, bias = (ops.cast(w, self.compute_dtype) for w in (cell.kernel, cell.recurrent_kernel, cell.bias))
        of_state = ops.reshape(ops.matmul(hidden, recurrent), (-1, channels, 1, 4 * self.units))
        of_query = queries if self.embed is None else ops.matmul(ops.reshape(queries, (-1, self.units)), kernel)
        gates = ops.reshape(of_query, (-1, channels, futures, 4 * self.units)) + of_state + bias
        let_in, keep, new, show = ops.split(gates, 4, axis=-1)
        before = ops.reshape(carry, (-1, channels, 1, self.units))
        after = ops.sigmoid(keep) * before + ops.sigmoid(let_in) * ops.tanh(new)
        return ops.sigmoid(show) * ops.tanh(after)

    def _segments(self, inputs: Mapping[str, Any]) -> Any:
        """(batch · channels, segments, segment · width): a sequence a channel."""
        _, steps, channels = inputs["context"].shape
        segments = steps // self.segment
        parts = [
            ops.reshape(ops.transpose(ops.cast(inputs[name], self.compute_dtype), (0, 2, 1)), (-1, segments, self.segment))
            for name in ("context", "observed")
            if name in inputs
        ]
        if "covariates" in inputs:
            width = inputs["covariates"].shape[2]
            of_window = ops.reshape(ops.cast(inputs["covariates"], self.compute_dtype), (-1, segments, self.segment * width))
            parts.append(ops.repeat(of_window, channels, axis=0))
        return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _queries(self, inputs: Mapping[str, Any], channels: int) -> Any:
        """What the cell is told of each future segment of each channel: (batch or 1, channels, futures, width)."""
        futures = self.position.shape[0]
        queries = ops.repeat(ops.expand_dims(self.position, 0), channels, axis=0)
        if self.channel_embedding:
            of_channel = ops.repeat(ops.expand_dims(self.channel, 1), futures, axis=1)
            queries = queries + of_channel if self.embed is None else ops.concatenate([queries, of_channel], axis=-1)
        queries = ops.expand_dims(ops.cast(queries, self.compute_dtype), 0)
        if "known" in inputs:
            of_segment = ops.reshape(inputs["known"], (-1, futures, self.segment * inputs["known"].shape[2]))
            queries = queries + ops.expand_dims(self.from_known(of_segment), 1)
        static = self.static(inputs)
        if static is not None:
            queries = queries + ops.expand_dims(ops.expand_dims(self.from_static(static), 1), 1)
        return queries

    def get_config(self) -> dict[str, Any]:
        names = ("segment", "embedding", "channel_embedding")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
