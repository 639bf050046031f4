"""Gaussian densities and weighted sums of LANES sequences at a time, compiled. Everything is observed, or independent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.vector import LANES, load, splat, store

TILE = 16


@njit(cache=True, nogil=True, fastmath=FAST)
def diagonal_density(x: Any, observed: Any, inverse: Any, shift: Any, constant: Any, out: Any) -> None:
    """Writes the sum over channels of constant − y² / 2 with y = x · inverse − shift, where observed.

    x, observed                 (steps, channels, LANES); `observed` may be None
    inverse, shift, constant    (states, channels)
    out                         (steps, states, LANES)
    """
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for c in range(channels):
                y = load(x, (t, c)) * inverse[k, c] - shift[k, c]
                if observed is None:
                    total = total + (constant[k, c] - y * y * 0.5)
                else:
                    total = total + (constant[k, c] - y * y * 0.5) * load(observed, (t, c))
            store(out, (t, k), total)


@njit(cache=True, nogil=True, fastmath=FAST)
def diagonal_sums(x: Any, observed: Any, gamma: Any, sums: Any) -> None:
    """Adds weights, readings and their squares, a tile of steps at a time that the nearest cache holds.

    x, observed     (steps, channels, LANES); `observed` may be None
    gamma           (steps, states, LANES)
    sums            (3, states, channels, LANES)
    """
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            for c in range(channels):
                first, second = load(sums, (1, k, c)), load(sums, (2, k, c))
                for t in range(tile, end):
                    here = load(x, (t, c))
                    g = load(gamma, (t, k)) if observed is None else load(gamma, (t, k)) * load(observed, (t, c))
                    product = g * here
                    first = first + product
                    second = second + product * here
                store(sums, (1, k, c), first)
                store(sums, (2, k, c), second)
            for c in range(channels):
                weight = load(sums, (0, k, c))
                if observed is None and c > 0:
                    weight = load(sums, (0, k, 0))
                else:
                    for t in range(tile, end):
                        g = load(gamma, (t, k))
                        weight = weight + (g if observed is None else g * load(observed, (t, c)))
                store(sums, (0, k, c), weight)


@njit(cache=True, nogil=True, fastmath=FAST)
def full_density(x: Any, W: Any, shift: Any, constant: Any, out: Any) -> None:
    """Writes constant − y·y / 2 with y = W x − shift.

    x                   (steps, channels, LANES)
    W, shift, constant  (states, channels, channels) lower triangular, (states, channels), (states,)
    out                 (steps, states, LANES)
    """
    steps, K, channels = out.shape[0], out.shape[1], x.shape[1]
    for t in range(steps):
        for k in range(K):
            total = splat(0.0)
            for i in range(channels):
                y = splat(-shift[k, i])
                for j in range(i + 1):
                    y = y + load(x, (t, j)) * W[k, i, j]
                total = total + y * y
            store(out, (t, k), constant[k] - total * 0.5)


@njit(cache=True, nogil=True, fastmath=FAST)
def full_sums(x: Any, gamma: Any, sums: Any) -> None:
    """Adds to `sums` (states, channels + 1, channels + 1, LANES): products of (1, the channels), below the diagonal and on it."""
    steps, K, channels = gamma.shape[0], gamma.shape[1], x.shape[1]
    weighted = np.empty((TILE, LANES))
    for tile in range(0, steps, TILE):
        end = min(tile + TILE, steps)
        for k in range(K):
            weight = load(sums, (k, 0, 0))
            for t in range(tile, end):
                weight = weight + load(gamma, (t, k))
            store(sums, (k, 0, 0), weight)
            for i in range(channels):
                first = load(sums, (k, i + 1, 0))
                for t in range(tile, end):
                    product = load(gamma, (t, k)) * load(x, (t, i))
                    first = first + product
                    store(weighted, (t - tile,), product)
                store(sums, (k, i + 1, 0), first)
                for j in range(i + 1):
                    second = load(sums, (k, i + 1, j + 1))
                    for t in range(tile, end):
                        second = second + load(weighted, (t - tile,)) * load(x, (t, j))
                    store(sums, (k, i + 1, j + 1), second)
