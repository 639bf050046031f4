"""Digests by which weights are identified."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def digest_of(weights: Sequence[np.ndarray]) -> str:
    """SHA-256 of the weights' shapes and bytes."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
