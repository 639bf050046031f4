"""Errors of a horizon seen as waves along it.

Neighbouring steps err together, so a sum over steps counts one and the same error many times; the cosines of a horizon's errors
hang together far less (Wang et al. 2025, arXiv:2402.02399, who take Fourier's, which join a horizon's end to its beginning).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.fft import dct


def cosines(along: Any) -> Any:
    """(rows, horizon, …) float32 -> the orthonormal cosine transform (DCT-II) along the horizon, slowest wave first."""
    transform = tf.constant(dct(np.eye(along.shape[1]), axis=0, norm="ortho"), tf.float32)
    return tf.einsum("kh,bh...->bk...", transform, along)
