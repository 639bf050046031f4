"""Scaled forward-backward on a GPU (Rabiner 1989, section V.A): a warp for each state of a section, a thread for each sequence.

Arrays are as in `hmm.lattice`, (steps, states, WIDTH), of sections one after the other. A block goes through its sections step by
step; what its warps have of a step they leave each other in the block's own memory. What underflows is not mended here: a frame
that the predicted states all but exclude is reported, and the sequence is done again by the processor.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from numba import cuda, float64

from hindcast.classical.hmm.gpu.layout import WIDTH
from hindcast.classical.hmm.gpu.parts import compiled, over_lanes
from hindcast.classical.hmm.kernels.lattice import TINY

BLOCKS = 2048  # at most: more sections are taken in turn, so that few sums are left to be added up
WARPS = 16  # of a block, at most
ALONE = 8  # up to so many states, each has a warp of its own; then four share one, so that what is loaded is used four times
REGISTERS = 64
BLOCKS_REGISTERS = 65_536  # that a block can have at all
MOST_STATES = 96  # two steps of them fill 48 KiB, which a block may have on any GPU


def warps(states: int) -> int:
    return states if states <= ALONE else min(WARPS, -(-states // 4))


def registers(states: int) -> int:
    """Of a thread in a block that has the `warps` of so many states."""
    return REGISTERS if states <= ALONE else min(255, BLOCKS_REGISTERS // (WIDTH * warps(states)))


@lru_cache
def forward_kernel(K: int) -> Any:
    """Filters every place.

    b, peaks        (steps, states, WIDTH), (steps, WIDTH): densities relative to the likeliest state's, and the logs of that; 0
                    after a place's end. b is divided by P(observation of the step | observations before) relative to the peak
    begins, ends    (sections,), (places,)
    alpha           (steps, states, WIDTH) out: P(state | observations up to the step)
    log_likelihood  (places,) out
    lost            (places,) out: frames whose states all have nearly no probability
    """
    step = warps(K)
    turns = -(-K // step)

    @compiled(registers(K))
    def forward(
        b: Any, peaks: Any, begins: Any, ends: Any, start: Any, transition: Any, alpha: Any, log_likelihood: Any, lost: Any
    ) -> None:
        ahead = cuda.shared.array((2, K, WIDTH), float64)
        predicted = cuda.local.array(turns, float64)
        lane, first = cuda.threadIdx.x, cuda.threadIdx.y
        for section in range(cuda.blockIdx.x, len(begins), cuda.gridDim.x):
            place, begin = section * WIDTH + lane, begins[section]
            mine, longest = ends[place], ends[section * WIDTH]
            likelihood, rescaled, rescues = 0.0, 1.0, 0
            for t in range(longest):
                here, before, row = t & 1, 1 - (t & 1), begin + t
                for turn in range(turns):
                    predicted[turn] = 0.0
                    if t == 0 and first + turn * step < K:
                        predicted[turn] = start[first + turn * step]
                if t > 0:
                    for i in range(K):
                        from_i = ahead[before, i, lane]
                        for turn in range(turns):
                            if first + turn * step < K:
                                predicted[turn] += from_i * transition[i, first + turn * step]
                for turn in range(turns):
                    k = first + turn * step
                    if k < K:
                        ahead[here, k, lane] = predicted[turn] * rescaled * b[row, k, lane]
                cuda.syncthreads()
                total = 0.0
                for k in range(K):
                    total += ahead[here, k, lane]
                if t < mine:
                    if not total >= TINY:
                        rescues += 1
                        total = 1.0
                    rescaled = 1.0 / total
                    if first == 0:
                        likelihood += math.log(total) + peaks[row, lane]
                for k in range(first, K, step):
                    alpha[row, k, lane] = ahead[here, k, lane] * rescaled if t < mine else 0.0
                    b[row, k, lane] *= rescaled
            if first == 0:
                log_likelihood[place] = likelihood
                lost[place] = rescues
            cuda.syncthreads()

    return forward


@lru_cache
def backward_kernel(K: int, sparse: bool) -> Any:
    """Smooths every place, after the forward kernel.

    weights (places,): how often each counts; nothing comes of what has no weight, not even NaN
    alpha   replaced by gamma, weight · P(state | all observations of the sequence)
    sums    (blocks, states, states + 1) out: expected transitions, and expected starts in the last column
    counts, largest     see `hmm.lattice.backward`; `largest` is (places, states) here; both unused of a chain that is not sparse
    """
    step, columns = warps(K), K + 1
    turns = -(-K // step)

    @compiled(registers(K))
    def backward(
        b: Any, begins: Any, ends: Any, weights: Any, transition: Any, alpha: Any, sums: Any, counts: Any, largest: Any
    ) -> None:
        ahead = cuda.shared.array((2, K, WIDTH), float64)
        summed = cuda.local.array((turns, columns), float64)
        alphas, betas = cuda.local.array(turns, float64), cuda.local.array(turns, float64)
        highest = cuda.local.array(turns, float64)
        lane, first = cuda.threadIdx.x, cuda.threadIdx.y
        for turn in range(turns):
            for j in range(columns):
                summed[turn, j] = 0.0
        for section in range(cuda.blockIdx.x, len(begins), cuda.gridDim.x):
            place, begin = section * WIDTH + lane, begins[section]
            weight, longest = weights[place], ends[section * WIDTH]
            mine = ends[place] if weight > 0 else 0
            for turn in range(turns):
                highest[turn] = 0.0
            for back in range(longest):
                t = longest - 1 - back
                here, after, row = back & 1, 1 - (back & 1), begin + t
                for turn in range(turns):
                    k = first + turn * step
                    alphas[turn] = alpha[row, k, lane] if k < K and t < mine else 0.0
                    betas[turn] = weight if t == mine - 1 else 0.0
                if t < mine - 1:
                    for j in range(K):
                        from_j = ahead[after, j, lane]
                        for turn in range(turns):
                            if first + turn * step < K:
                                into = transition[first + turn * step, j] * from_j
                                betas[turn] += into
                                summed[turn, j] += alphas[turn] * into
                for turn in range(turns):
                    k = first + turn * step
                    if k < K:
                        gamma = alphas[turn] * betas[turn]
                        alpha[row, k, lane] = gamma
                        ahead[here, k, lane] = b[row, k, lane] * betas[turn] if t < mine else 0.0
                        if t == 0:
                            summed[turn, K] += gamma
                        if sparse and t < mine:
                            highest[turn] = max(highest[turn], betas[turn] * counts[min(t, K), k])
                cuda.syncthreads()
            if sparse:
                for turn in range(turns):
                    if first + turn * step < K:
                        largest[place, first + turn * step] = highest[turn]
        for j in range(columns):
            for turn in range(turns):
                if first + turn * step < K:
                    ahead[0, first + turn * step, lane] = summed[turn, j]
            cuda.syncthreads()
            if lane == 0:
                for k in range(first, K, step):
                    sums[cuda.blockIdx.x, k, j] = over_lanes(ahead[0], k)
            cuda.syncthreads()

    return backward
