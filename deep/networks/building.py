"""Networks: named inputs of a window in, parameters of a head out, in the dataset's scaling."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from hindcast.deep.heads import head_of
from hindcast.deep.inputs import Inputs
from hindcast.deep.networks.encoder_decoder import EncoderDecoder
from hindcast.deep.networks.ends import Answer, Standardise, Together
from hindcast.deep.networks.linear_path import LinearPath
from hindcast.deep.networks.plain_lstm import PlainLstm
from hindcast.deep.networks.segment_lstm import SegmentLstm
from hindcast.deep.settings import LstmSettings

MEMBER = "member_{}"


def build(settings: LstmSettings, inputs: Inputs, seed: int | None = None) -> keras.Model:
    """The network of settings whose segment is decided: {name: (batch, …)} as `Inputs` -> (batch, horizon, channels, outputs)
    float32.

    `seed` replaces the settings' seed for dropout alone, so that ranks drop differently; initial weights follow the settings'.
    """
    tensors = {name: keras.Input(shape, name=name, dtype=dtype) for name, (shape, dtype) in inputs.shapes().items()}
    standard, centre, scale = Standardise(settings.normalise)(tensors["context"], tensors.get("observed"))
    path = LinearPath(inputs.horizon)(standard) if settings.has_line else None
    answers = []
    for number, member_seed in enumerate(settings.member_seeds):
        dropout_seed = member_seed if seed is None else member_seed - settings.seed + seed
        raw = body(settings, inputs, member_seed, dropout_seed)({**tensors, "context": standard})
        answer = Answer(settings, name=MEMBER.format(number))
        of_member = answer(raw, centre, scale, path if settings.skip == "linear" else None)
        answers.append(layers.Reshape((1, *of_member.shape[1:]), dtype="float32")(of_member))
    members = layers.Concatenate(axis=1, dtype="float32")(answers)
    together = Together(settings)(members, centre, scale, path if settings.line_share else None)
    return keras.Model(tensors, together, name=settings.network.replace("-", "_"))


def members_of(network: keras.Model, count: int) -> list[keras.Model]:
    """Each of the `count` members as a network of its own, with the same inputs and weights -> (batch, horizon, channels,
    outputs), before a line has its share."""
    tensors = {tensor.name: tensor for tensor in network.inputs}
    return [keras.Model(tensors, network.get_layer(MEMBER.format(number)).output) for number in range(count)]


def body(settings: LstmSettings, inputs: Inputs, seed: int, dropout_seed: int) -> keras.layers.Layer:
    """The recurrent part of one member: {name: …}, the context standardised -> (batch, horizon, channels, outputs)."""
    common: dict[str, Any] = {
        "horizon": inputs.horizon, "outputs": head_of(settings).outputs, "units": settings.units, "dropout": settings.dropout,
        "quiet": settings.skip == "linear",
        "series": len(inputs.series), "series_embedding": settings.series_embedding, "seed": seed,
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
