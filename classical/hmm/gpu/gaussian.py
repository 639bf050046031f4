"""Gaussian emissions on a GPU: densities and weighted sums; formulas as in `emissions.gaussian_kernels`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import cuda, float64

from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.gpu.lattice import BLOCKS, WIDTH, registers, warps
from hindcast.classical.hmm.gpu.layout import ROWS, Batch, rows_of_threads
from hindcast.classical.hmm.gpu.parts import added_up, compiled, over_lanes, write_relative


class Diagonal:
    """Of channels that are independent."""

    def __init__(self, emission: Gaussian) -> None:
        self.centre = cuda.to_device(emission.centre)
        self.standardising = [cuda.to_device(array) for array in emission.standardising]

    def needs_complete(self) -> bool:
        return False

    def densities(self, batch: Batch, b: Any, peaks: Any) -> None:
        blocks, threads = rows_of_threads(batch.steps)
        of = batch.values, batch.mask, batch.section, batch.begins, batch.ends, self.centre
        _diagonal_kernel(b.shape[1], batch.observed is not None)[blocks, threads](*of, *self.standardising, b, peaks)

    def sums(self, batch: Batch, gamma: Any) -> np.ndarray:
        """(3, states, channels, 1)"""
        K, C = gamma.shape[1], batch.values.shape[1]
        out = cuda.device_array((min(BLOCKS, batch.steps), 3, K, C))
        kernel = _diagonal_sums_kernel(K, C, batch.observed is not None)
        kernel[len(out), (WIDTH, warps(K))](batch.values, batch.mask, gamma, self.centre, out)
        return added_up(out)[..., None]


class Full:
    """Of channels that depend on each other; every one was measured at every step."""

    def __init__(self, emission: Gaussian) -> None:
        self.centre = cuda.to_device(emission.centre)
        self.whitening = [cuda.to_device(np.ascontiguousarray(array)) for array in emission.whitening]

    def needs_complete(self) -> bool:
        return True

    def densities(self, batch: Batch, b: Any, peaks: Any) -> None:
        blocks, threads = rows_of_threads(batch.steps)
        of = batch.values, batch.section, batch.begins, batch.ends, self.centre
        _full_kernel(b.shape[1], batch.values.shape[1])[blocks, threads](*of, *self.whitening, b, peaks)

    def sums(self, batch: Batch, gamma: Any) -> np.ndarray:
        """(states, channels + 1, channels + 1, 1), on the diagonal and below it"""
        K, C = gamma.shape[1], batch.values.shape[1]
        out = cuda.device_array((min(BLOCKS // (C + 1) + 1, batch.steps), K, C + 1, C + 1))
        _full_sums_kernel(K, C)[(len(out), C + 1), (WIDTH, warps(K))](batch.values, gamma, self.centre, out)
        return np.tril(added_up(out))[..., None]


@lru_cache
def _diagonal_kernel(K: int, masked: bool) -> Any:
    @cuda.jit
    def diagonal(
        x: Any, observed: Any, section: Any, begins: Any, ends: Any, centre: Any, inverse: Any, shift: Any, constant: Any, b: Any,
        peaks: Any,
    ) -> None:  # fmt: skip
        total = cuda.local.array(K, float64)
        lane, row = cuda.threadIdx.x, cuda.blockIdx.x * ROWS + cuda.threadIdx.y
        if row < len(b):
            inside = row - begins[section[row]] < ends[section[row] * WIDTH + lane]
            for k in range(K):
                total[k] = 0.0
            for c in range(x.shape[1]):
                if inside and (not masked or observed[row, c, lane] != 0):
                    here = x[row, c, lane] - centre[c]
                    for k in range(K):
                        y = here * inverse[k, c] - shift[k, c]
                        total[k] += constant[k, c] - 0.5 * y * y
            write_relative(total, inside, b, peaks, row, lane)

    return diagonal


@lru_cache
def _diagonal_sums_kernel(K: int, C: int, masked: bool) -> Any:
    """`out` (blocks, 3, states, channels): each block's sums of weights, readings and their squares."""
    step = warps(K)
    turns = -(-K // step)

    @compiled(registers(K))
    def diagonal_sums(x: Any, observed: Any, gamma: Any, centre: Any, out: Any) -> None:
        scratch = cuda.shared.array((step, WIDTH), float64)
        summed = cuda.local.array((turns, 3, C), float64)
        lane, first = cuda.threadIdx.x, cuda.threadIdx.y
        for turn in range(turns):
            for n in range(3):
                for c in range(C):
                    summed[turn, n, c] = 0.0
        for row in range(cuda.blockIdx.x, len(gamma), cuda.gridDim.x):
            for turn in range(turns):
                k = first + turn * step
                g = gamma[row, k, lane] if k < K else 0.0
                for c in range(C):
                    if not masked or observed[row, c, lane] != 0:
                        here = x[row, c, lane] - centre[c]
                        summed[turn, 0, c] += g
                        summed[turn, 1, c] += g * here
                        summed[turn, 2, c] += g * here * here
        for turn in range(turns):
            for n in range(3):
                for c in range(C):
                    scratch[first, lane] = summed[turn, n, c]
                    cuda.syncthreads()
                    if lane == 0 and first + turn * step < K:
                        out[cuda.blockIdx.x, n, first + turn * step, c] = over_lanes(scratch, first)
                    cuda.syncthreads()

    return diagonal_sums


@lru_cache
def _full_kernel(K: int, C: int) -> Any:
    @cuda.jit
    def full(
        x: Any, section: Any, begins: Any, ends: Any, centre: Any, W: Any, shift: Any, constant: Any, b: Any, peaks: Any
    ) -> None:
        total, here = cuda.local.array(K, float64), cuda.local.array(C, float64)
        lane, row = cuda.threadIdx.x, cuda.blockIdx.x * ROWS + cuda.threadIdx.y
        if row < len(b):
            inside = row - begins[section[row]] < ends[section[row] * WIDTH + lane]
            for c in range(C):
                here[c] = x[row, c, lane] - centre[c]
            for k in range(K):
                total[k] = constant[k]
                for i in range(C):
                    y = -shift[k, i]
                    for j in range(i + 1):
                        y += here[j] * W[k, i, j]
                    total[k] -= 0.5 * y * y
            write_relative(total, inside, b, peaks, row, lane)

    return full


@lru_cache
def _full_sums_kernel(K: int, C: int) -> Any:
    """`out` (blocks, states, channels + 1, channels + 1): a row of the products of (1, the channels) for each block in y."""
    step, columns = warps(K), C + 1
    turns = -(-K // step)

    @compiled(registers(K))
    def full_sums(x: Any, gamma: Any, centre: Any, out: Any) -> None:
        scratch = cuda.shared.array((step, WIDTH), float64)
        summed = cuda.local.array((turns, columns), float64)
        lane, first, i = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.y
        for turn in range(turns):
            for j in range(columns):
                summed[turn, j] = 0.0
        for row in range(cuda.blockIdx.x, len(gamma), cuda.gridDim.x):
            for turn in range(turns):
                k = first + turn * step
                g = gamma[row, k, lane] if k < K else 0.0
                if i > 0:
                    g *= x[row, i - 1, lane] - centre[i - 1]
                summed[turn, 0] += g
                for j in range(1, columns):
                    if j <= i:
                        summed[turn, j] += g * (x[row, j - 1, lane] - centre[j - 1])
        for turn in range(turns):
            for j in range(columns):
                scratch[first, lane] = summed[turn, j]
                cuda.syncthreads()
                if lane == 0 and first + turn * step < K:
                    out[cuda.blockIdx.x, first + turn * step, i, j] = over_lanes(scratch, first)
                cuda.syncthreads()

    return full_sums
