"""Parts that the networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import initializers, layers, ops

# How much less than Glorot and Bengio's (2010) the weights of a quiet projection are.
QUIET = 0.1


class Body(layers.Layer):
    """A network: {name: input of a window, its context standardised} -> (batch, horizon, channels, outputs).

    quiet   whether its output is near 0 before it is trained, because it is added to a line that is fitted already
    """

    def __init__(
        self,
        horizon: int,
        outputs: int,
        units: int,
        dropout: float,
        quiet: bool,
        series: int,
        series_embedding: int,
        seed: int,
        dropout_seed: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.horizon, self.outputs, self.units, self.dropout, self.quiet = horizon, outputs, units, dropout, quiet
        self.series, self.series_embedding, self.seed, self.dropout_seed = series, series_embedding, seed, dropout_seed
        self.drop = layers.Dropout(dropout, seed=dropout_seed, name="drop")
        self.embed_series = None
        if series:
            normal = initializers.RandomNormal(stddev=0.05, seed=seed + 5)
            self.embed_series = layers.Embedding(series + 1, series_embedding, embeddings_initializer=normal, name="series")

    def projection(self, width: int, seed: int) -> layers.Dense:
        """The last layer, with `width` outputs."""
        initial = initializers.VarianceScaling(QUIET**2, "fan_avg", "uniform", seed) if self.quiet else glorot(seed)
        return layers.Dense(width, kernel_initializer=initial, name="project")

    def static(self, inputs: Mapping[str, Any]) -> Any | None:
        """Inputs that are the same for all steps of a window, (batch, width): attributes and the series' embedding."""
        parts = [inputs["attributes"]] if "attributes" in inputs else []
        if self.embed_series is not None:
            parts.append(self.embed_series(inputs["series"]))
        return ops.concatenate([ops.cast(part, self.compute_dtype) for part in parts], axis=-1) if parts else None

    def static_width(self, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
        attributes = shapes.get("attributes", (None, 0))[1] or 0
        return attributes + (self.series_embedding if self.series else 0)

    def get_config(self) -> dict[str, Any]:
        names = ("horizon", "outputs", "units", "dropout", "quiet", "series", "series_embedding", "seed", "dropout_seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def along(inputs: Mapping[str, Any], static: Any | None, steps: int, dtype: str) -> Any:
    """The inputs of each step of the context, (batch, steps, width): values, mask, covariates, and the `static` inputs."""
    parts = [ops.cast(inputs[name], dtype) for name in ("context", "observed", "covariates") if name in inputs]
    if static is not None:
        parts.append(ops.repeat(ops.expand_dims(static, 1), steps, axis=1))
    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def width_along(shapes: Mapping[str, tuple[int | None, ...]], static: int) -> int:
    return sum(int(shapes[name][2] or 0) for name in ("context", "observed", "covariates") if name in shapes) + static


def lstm(units: int, seed: int, **options: Any) -> layers.LSTM:
    recurrent = initializers.Orthogonal(seed=seed)
    return layers.LSTM(units, kernel_initializer=glorot(seed), recurrent_initializer=recurrent, **options)


def glorot(seed: int) -> initializers.Initializer:
    return initializers.GlorotUniform(seed=seed)
