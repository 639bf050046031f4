"""Mixed precision: computing in bfloat16, weights in float32 (Micikevicius et al. 2018), where there are units for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras
import tensorflow as tf

# Of NVIDIA's GPUs, those since Ampere have units for bfloat16, which needs no scaling of the loss.
LEAST_CAPABILITY = (8, 0)


@contextmanager
def precision(asked: Literal["auto", "float32", "mixed"]) -> Iterator[None]:
    """Layers made meanwhile compute in it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if asked == "mixed" or (asked == "auto" and fast()) else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def fast() -> bool:
    """Whether a GPU of this process has units for bfloat16."""
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability") for gpu in tf.config.list_physical_devices("GPU")
    ]
    return bool(capabilities) and all(found is not None and found >= LEAST_CAPABILITY for found in capabilities)
