"""Networks: named inputs of a window in, parameters of a head out, in the dataset's scaling."""

from __future__ import annotations

from typing import Any

import keras

from deep.heads import head_of
from deep.inputs import Inputs
from deep.networks.encoder_decoder import EncoderDecoder
from deep.networks.ends import Answer, Standardise
from deep.networks.path import LinearPath
from deep.networks.plain import PlainLstm
from deep.networks.segment import SegmentLstm
from deep.settings import LstmSettings


def build(settings: LstmSettings, inputs: Inputs, seed: int | None = None) -> keras.Model:
    """{name: (batch, …)} as `Inputs` says -> (batch, horizon, channels, outputs) float32, for settings whose segment is decided.

    `seed` overrides the settings' for dropout alone (ranks drop differently); initial weights always follow the settings'.
    """
    given = {name: keras.Input(shape, name=name, dtype=dtype) for name, (shape, dtype) in inputs.shapes().items()}
    standard, centre, scale = Standardise(settings.normalise)(given["context"], given.get("observed"))
    raw = body(settings, inputs, settings.seed if seed is None else seed)({**given, "context": standard})
    path = LinearPath(inputs.horizon)(standard) if settings.skip == "linear" else None
    return keras.Model(given, Answer(settings)(raw, centre, scale, path), name=settings.network.replace("-", "_"))


def body(settings: LstmSettings, inputs: Inputs, dropout_seed: int) -> keras.layers.Layer:
    """{name: …}, the context standardised -> (batch, horizon, channels, outputs)."""
    common: dict[str, Any] = {
        "horizon": inputs.horizon, "outputs": head_of(settings).outputs, "units": settings.units, "dropout": settings.dropout,
        "quiet": settings.skip == "linear",
        "series": len(inputs.series), "series_embedding": settings.series_embedding, "seed": settings.seed,
        "dropout_seed": dropout_seed,
    }  # fmt: skip
    match settings.network:
        case "segment":
            assert settings.segment is not None
            return SegmentLstm(settings.segment, settings.embedding, settings.channel_embedding, **common)
        case "plain":
            return PlainLstm(depth=settings.layers, **common)
        case "encoder-decoder":
            return EncoderDecoder(depth=settings.layers, **common)
