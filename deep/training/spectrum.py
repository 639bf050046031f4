"""Errors along a horizon as a sum of cosine waves.

Neighbouring steps err together, so a sum over steps counts one and the same error many times; the cosines of a horizon's errors
hang together far less (Wang et al. 2025, arXiv:2402.02399, who take Fourier's, which join a horizon's end to its beginning).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.fft import dct


def cosines(along: Any) -> Any:
    """(rows, horizon, …) float32 -> the orthonormal cosine transform (DCT-II) along the horizon, slowest wave first.

    Only the number of rows may be unknown while a step is traced. A product of matrices, and no einsum: with several threads that
    of oneDNN, which TensorFlow 2.18 puts in its place in a compiled step, writes out of bounds.
    """
    _, horizon, *rest = along.shape
    transform = tf.constant(dct(np.eye(horizon), axis=0, norm="ortho"), tf.float32)
    waves = tf.matmul(transform, tf.reshape(along, (-1, horizon, math.prod(rest))))
    return tf.reshape(waves, (-1, horizon, *rest))
