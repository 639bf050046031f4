"""Mixed precision: computing in bfloat16, weights in float32 (Micikevicius et al. 2018), where there are units for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras
import tensorflow as tf

# Of NVIDIA's GPUs, those since Ampere have units for bfloat16, which needs no scaling of the loss.
LEAST_CAPABILITY = (8, 0)
NO_GPU = "TensorFlow sees no GPU"


@contextmanager
def precision(setting: Literal["auto", "float32", "mixed"]) -> Iterator[None]:
    """Layers that are made as long as the `with` lasts compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if why_float32(setting) else "mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def why_float32(setting: Literal["auto", "float32", "mixed"]) -> str | None:
    """The reason why layers compute in float32 in this process; None where they compute in bfloat16."""
    if setting != "auto":
        return "the settings ask for it" if setting == "float32" else None
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = details.get("compute_capability")
        if capability is None or capability < LEAST_CAPABILITY:
            words = "an unknown compute capability" if capability is None else "compute capability {}.{}".format(*capability)
            return (
                f"{details.get('device_name', gpu.name)} has {words}, and {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]} is needed"
            )
    return None if gpus else NO_GPU
