"""The two networks. Both forecast what is added to a window's last value, and take and return (batch, steps, channels)."""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, layers, ops

from deep.settings import LstmSettings


def build(settings: LstmSettings, context: int, horizon: int, channels: int, seed: int | None = None) -> keras.Model:
    """(batch, context, channels) float32 -> (batch, horizon, channels) float32, for settings whose segment is decided.

    `seed` overrides the settings' for dropout alone (ranks drop differently); initial weights always follow the settings'.
    """
    dropout_seed = settings.seed if seed is None else seed
    if settings.network == "segment":
        assert settings.segment is not None
        layer: layers.Layer = SegmentLstm(
            horizon=horizon, segment=settings.segment, units=settings.units, dropout=settings.dropout,
            channel_embedding=settings.channel_embedding, seed=settings.seed, dropout_seed=dropout_seed,
        )  # fmt: skip
    else:
        layer = PlainLstm(
            horizon=horizon, units=settings.units, depth=settings.layers, dropout=settings.dropout,
            seed=settings.seed, dropout_seed=dropout_seed,
        )  # fmt: skip
    inputs = keras.Input((context, channels), name="context")
    return keras.Model(inputs, layer(inputs), name=settings.network)


@keras.saving.register_keras_serializable(package="hindcast")
class SegmentLstm(layers.Layer):
    """The segment LSTM: SegRNN (Lin et al. 2023, arXiv:2308.11200) with an LSTM, decoding all future segments in parallel.

    The last value is subtracted; each segment of each channel is embedded; one LSTM reads a channel's few segments; from its
    last state, the same cell takes one step for each future segment, told apart by a learnt position (and channel).
    All channels share the weights.
    """

    def __init__(
        self,
        horizon: int,
        segment: int,
        units: int,
        dropout: float,
        channel_embedding: bool,
        seed: int,
        dropout_seed: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.horizon, self.segment, self.units, self.dropout = horizon, segment, units, dropout
        self.channel_embedding, self.seed, self.dropout_seed = channel_embedding, seed, dropout_seed
        self.embed = layers.Dense(units, activation="relu", kernel_initializer=_glorot(seed), name="embed")
        self.lstm = _lstm(units, seed + 1, return_state=True)
        self.drop = layers.Dropout(dropout, seed=dropout_seed, name="drop")
        self.project = layers.Dense(segment, kernel_initializer=_glorot(seed + 2), name="project")

    def build(self, shape: tuple[int | None, int, int]) -> None:
        futures, of_channel = self.horizon // self.segment, self.units // 2 if self.channel_embedding else 0
        normal = initializers.RandomNormal(seed=self.seed + 3)
        self.position = self.add_weight(shape=(futures, self.units - of_channel), initializer=normal, name="position")
        if self.channel_embedding:
            normal = initializers.RandomNormal(seed=self.seed + 4)
            self.channel = self.add_weight(shape=(shape[2], of_channel), initializer=normal, name="channel")
        self.embed.build((None, None, self.segment))
        self.lstm.build((None, None, self.units))
        self.project.build((None, self.units))

    def call(self, context: Any, training: bool | None = None) -> Any:
        _, steps, channels = context.shape
        last = context[:, -1:, :]
        # (batch, channels, segments, segment), then a sequence a channel
        segments = ops.reshape(ops.transpose(context - last, (0, 2, 1)), (-1, steps // self.segment, self.segment))
        _, hidden, carry = self.lstm(self.embed(segments), training=training)
        queries = self._queries(channels)
        futures = queries.shape[0] // channels
        state = [ops.reshape(ops.repeat(ops.expand_dims(part, 1), futures, axis=1), (-1, self.units)) for part in (hidden, carry)]
        queries = ops.reshape(ops.broadcast_to(queries, (ops.shape(context)[0], *queries.shape)), (-1, self.units))
        decoded, _ = self.lstm.cell(queries, state, training=training)
        change = ops.reshape(self.project(self.drop(decoded, training=training)), (-1, channels, self.horizon))
        return ops.transpose(change, (0, 2, 1)) + last

    def _queries(self, channels: int) -> Any:
        """What the cell is told of each future segment: (channels · futures, units), a channel's futures side by side."""
        futures = self.position.shape[0]
        position = ops.tile(self.position, (channels, 1))
        if not self.channel_embedding:
            return position
        return ops.concatenate([position, ops.repeat(self.channel, futures, axis=0)], axis=1)

    def get_config(self) -> dict[str, Any]:
        names = ("horizon", "segment", "units", "dropout", "channel_embedding", "seed", "dropout_seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="hindcast")
class PlainLstm(layers.Layer):
    """LSTM layers over the steps of all channels, the last value subtracted; one dense layer gives the whole horizon."""

    def __init__(
        self, horizon: int, units: int, depth: int, dropout: float, seed: int, dropout_seed: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self.horizon, self.units, self.depth, self.dropout = horizon, units, depth, dropout
        self.seed, self.dropout_seed = seed, dropout_seed
        self.lstms = [_lstm(units, seed + 1 + level, return_sequences=level + 1 < depth) for level in range(depth)]
        self.drop = layers.Dropout(dropout, seed=dropout_seed, name="drop")

    def build(self, shape: tuple[int | None, int, int]) -> None:
        channels = shape[2]
        self.project = layers.Dense(self.horizon * channels, kernel_initializer=_glorot(self.seed), name="project")
        for level, lstm in enumerate(self.lstms):
            lstm.build((None, None, self.units if level else channels))
        self.project.build((None, self.units))

    def call(self, context: Any, training: bool | None = None) -> Any:
        channels, last = context.shape[2], context[:, -1:, :]
        hidden = context - last
        for lstm in self.lstms:
            hidden = lstm(hidden, training=training)
        return ops.reshape(self.project(self.drop(hidden, training=training)), (-1, self.horizon, channels)) + last

    def get_config(self) -> dict[str, Any]:
        names = ("horizon", "units", "depth", "dropout", "seed", "dropout_seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _lstm(units: int, seed: int, **options: Any) -> layers.LSTM:
    recurrent = initializers.Orthogonal(seed=seed)
    return layers.LSTM(units, kernel_initializer=_glorot(seed), recurrent_initializer=recurrent, **options)


def _glorot(seed: int) -> initializers.Initializer:
    return initializers.GlorotUniform(seed=seed)
