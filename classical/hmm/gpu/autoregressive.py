"""Autoregressive emissions on a GPU: what each step says under each regression, and the weighted products of neighbours.

The products are nearly all of the work: (order + 2)² / 2 of each step, state and channel. A block takes a square of them for one
state and channel, over tiles of steps whose readings it lays into its own memory; each of its threads keeps up to 4 x 4 sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import cuda, float64

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.gpu.lattice import WIDTH
from hindcast.classical.hmm.gpu.layout import ROWS, SIMULATED, Batch, rows_of_threads
from hindcast.classical.hmm.gpu.parts import added_up, compiled, write_relative

SQUARE = 4 if SIMULATED else 16  # a block's threads, in each direction
MOST_PER = 4  # sums of a thread, in each direction
REGISTERS = 128
TILE = 16  # steps of WIDTH sequences at a time
BLOCKS = 1500  # at least, so that all of a GPU has something to do
PARTIAL_BYTES = 1 << 28


class Regressions:
    """One of each state and channel."""

    def __init__(self, emission: Autoregressive) -> None:
        self.order, self.filled = emission.order, emission.filled
        self.centre, self.intercepts = cuda.to_device(emission.centre), cuda.to_device(emission.centred)
        self.weights = cuda.to_device(np.ascontiguousarray(emission.weights.transpose(1, 2, 0)))  # (channels, order, states)
        self.precision = cuda.to_device(1 / emission.variances)
        self.constant = cuda.to_device(emission.constant)

    def needs_complete(self) -> bool:
        return False

    def densities(self, batch: Batch, b: Any, peaks: Any) -> None:
        blocks, threads = rows_of_threads(batch.steps)
        of = batch.values, self._scored(batch), batch.section, batch.begins, batch.ends, self.centre
        arguments = self.intercepts, self.weights, self.precision, self.constant
        _density_kernel(b.shape[1], batch.observed is not None)[blocks, threads](*of, *arguments, b, peaks)

    def sums(self, batch: Batch, gamma: Any) -> np.ndarray:
        """(states, channels, order + 2, order + 2), on the diagonal and below it"""
        K, C, near = gamma.shape[1], batch.values.shape[1], self.order + 1
        per = min(MOST_PER, -(-near // SQUARE))
        side = -(-near // (per * SQUARE))
        pairs = side * (side + 1) // 2
        tiles = np.concatenate([np.arange(0, longest, TILE) for longest in batch.lengths[::WIDTH]]).astype(np.int32)
        section = np.repeat(np.arange(batch.sections, dtype=np.int32), -(-batch.lengths[::WIDTH] // TILE))
        each = K * C * (near + 1) ** 2
        shares = max(1, min(len(tiles), -(-BLOCKS // (pairs * K * C)), PARTIAL_BYTES // (8 * each)))
        partial = cuda.device_array((shares, K, C, near + 1, near + 1))
        kernel = _products_kernel(per, batch.observed is not None)
        kernel[(pairs, K * C, shares), (SQUARE, SQUARE)](
            batch.values, self._scored(batch), gamma, self.centre, cuda.to_device(section), cuda.to_device(tiles), batch.begins,
            batch.ends, self.order, partial,
        )  # fmt: skip
        return np.tril(added_up(partial))

    def _scored(self, batch: Batch) -> Any:
        """(steps, channels, WIDTH) uint8: as `Autoregressive` has it; see `Batch.mask` where everything was measured."""
        if batch.observed is None:
            return batch.mask
        if self.filled not in batch.scored:
            scored = cuda.device_array((batch.steps, *batch.observed.shape[1:]), np.uint8)
            threads = (WIDTH, min(ROWS, scored.shape[1]))
            _score[batch.sections, threads](batch.observed, batch.begins, batch.ends, self.order, self.filled, scored)
            batch.scored[self.filled] = scored
        return batch.scored[self.filled]


@cuda.jit
def _score(observed: Any, begins: Any, ends: Any, order: Any, filled: Any, scored: Any) -> None:
    section, lane = cuda.blockIdx.x, cuda.threadIdx.x
    begin, longest = begins[section], ends[section * WIDTH]
    for c in range(cuda.threadIdx.y, scored.shape[1], cuda.blockDim.y):
        measured = 0  # in a row
        for t in range(longest + order):
            seen = observed[begin + section * order + t, c, lane]
            measured = measured + 1 if seen != 0 else 0
            if t >= order:
                scored[begin + t - order, c, lane] = seen if filled else measured > order


@lru_cache
def _density_kernel(K: int, masked: bool) -> Any:
    @cuda.jit
    def density(
        x: Any, scored: Any, section: Any, begins: Any, ends: Any, centre: Any, intercepts: Any, weights: Any, precision: Any,
        constant: Any, b: Any, peaks: Any,
    ) -> None:  # fmt: skip
        total, error = cuda.local.array(K, float64), cuda.local.array(K, float64)
        lane, row, order = cuda.threadIdx.x, cuda.blockIdx.x * ROWS + cuda.threadIdx.y, weights.shape[1]
        if row < len(b):
            s = section[row]
            inside = row - begins[s] < ends[s * WIDTH + lane]
            first = row + s * order
            for k in range(K):
                total[k] = 0.0
            for c in range(x.shape[1]):
                if inside and (not masked or scored[row, c, lane] != 0):
                    here = x[first + order, c, lane] - centre[c]
                    for k in range(K):
                        error[k] = here - intercepts[k, c]
                    for lag in range(order):
                        here = x[first + lag, c, lane] - centre[c]
                        for k in range(K):
                            error[k] -= here * weights[c, lag, k]
                    for k in range(K):
                        total[k] += constant[k, c] - 0.5 * error[k] * error[k] * precision[k, c]
            write_relative(total, inside, b, peaks, row, lane)

    return density


@cuda.jit(device=True)
def _lay(x: Any, centre: Any, row: Any, steps: Any, first: Any, c: Any, thread: Any, span: Any, into: Any) -> None:
    """Writes `span` readings from the `first` on, of `steps` that begin at a row, lane by lane `into` (WIDTH · span,), and 0
    where there are no more. By all threads of a block together."""
    for number in range(thread, WIDTH * span, SQUARE * SQUARE):
        lane, step = number % WIDTH, number // WIDTH
        here = first + step
        into[lane * span + step] = x[row + here, c, lane] - centre if here < steps else 0.0


@lru_cache
def _products_kernel(per: int, masked: bool) -> Any:
    """`out` (shares, states, channels, order + 2, order + 2): products of (1, x[t − order], …, x[t]), of a share of the tiles.

    section, first      (tiles,): of which section each tile of steps is, and the first of them
    """
    side = SQUARE * per
    # One more than a tile has, so that lanes do not all lie in the same bank of the block's memory.
    span, wide, more = TILE + side - 1, TILE + 1, per + 1
    in_span, in_weight = WIDTH * span, WIDTH * wide

    @compiled(REGISTERS)
    def products(
        x: Any, scored: Any, gamma: Any, centre: Any, section: Any, first: Any, begins: Any, ends: Any, order: Any, out: Any
    ) -> None:
        down = cuda.shared.array(in_span, float64)
        across = cuda.shared.array(in_span, float64)  # on a line of its own: numba's simulator tells them apart by these
        weight = cuda.shared.array(in_weight, float64)
        summed, left = cuda.local.array((per, per), float64), cuda.local.array(per, float64)
        ones = cuda.local.array(more, float64)  # products with 1, of some lanes: of the rows, and of 1 itself
        i, j = cuda.threadIdx.y, cuda.threadIdx.x
        thread, channels = i * SQUARE + j, x.shape[1]
        p = 0  # which square, p down and q across, of those on and below the diagonal
        while (p + 1) * (p + 2) // 2 <= cuda.blockIdx.x:
            p += 1
        q = cuda.blockIdx.x - p * (p + 1) // 2
        k, c = cuda.blockIdx.y // channels, cuda.blockIdx.y % channels
        for m in range(per):
            ones[m] = 0.0
            for n in range(per):
                summed[m, n] = 0.0
        ones[per] = 0.0
        for tile in range(cuda.blockIdx.z, len(section), cuda.gridDim.z):
            s, t0 = section[tile], first[tile]
            row, longest = begins[s] + t0, ends[s * WIDTH]
            there, steps = row + s * order, longest + order - t0
            _lay(x, centre[c], there, steps, p * side, c, thread, span, down)
            _lay(x, centre[c], there, steps, q * side, c, thread, span, across)
            for number in range(thread, WIDTH * TILE, SQUARE * SQUARE):
                lane, step = number % WIDTH, number // WIDTH
                value = 0.0
                if t0 + step < longest and (not masked or scored[row + step, c, lane] != 0):
                    value = gamma[row + step, k, lane]
                weight[lane * wide + step] = value
            cuda.syncthreads()
            for lane in range(WIDTH):
                # Without a sign, there is no looking whether an index counts from the end.
                at, at_down, at_across = np.uint32(lane * wide), np.uint32(lane * span + i), np.uint32(lane * span + j)
                for step in range(np.uint32(TILE)):
                    for m in range(per):
                        left[m] = weight[at + step] * down[at_down + step + np.uint32(m * SQUARE)]
                    for n in range(per):
                        right = across[at_across + step + np.uint32(n * SQUARE)]
                        for m in range(per):
                            summed[m, n] += left[m] * right
            if q == 0:
                for lane in range(j, WIDTH, SQUARE):
                    for step in range(TILE):
                        for m in range(per):
                            ones[m] += weight[lane * wide + step] * down[lane * span + step + i + m * SQUARE]
                        ones[per] += weight[lane * wide + step]
            cuda.syncthreads()
        z, near = cuda.blockIdx.z, order + 1
        for m in range(per):
            down_at = p * side + i + m * SQUARE
            for n in range(per):
                across_at = q * side + j + n * SQUARE
                if down_at < near and across_at < near:
                    out[z, k, c, down_at + 1, across_at + 1] = summed[m, n]
        if q == 0:
            for m in range(more):
                weight[thread] = ones[m]
                cuda.syncthreads()
                if j == 0:
                    total = 0.0
                    for other in range(SQUARE):
                        total += weight[i * SQUARE + other]
                    down_at = p * side + i + m * SQUARE
                    if m < per and down_at < near:
                        out[z, k, c, down_at + 1, 0] = total
                    elif m == per and p == 0 and i == 0:
                        out[z, k, c, 0, 0] = total
                cuda.syncthreads()

    return products
