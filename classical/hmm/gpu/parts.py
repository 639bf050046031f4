"""Parts that the kernels of all families share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from hindcast.classical.hmm.gpu.layout import SIMULATED, WIDTH

THREADS = 8 if SIMULATED else 256


def compiled(registers: int) -> Callable[[Any], Any]:
    """Compiles a kernel whose threads have so many registers at most: the fewer, the more blocks wait for memory together."""
    return cuda.jit if SIMULATED else cuda.jit(max_registers=registers)


def added_up(parts: Any) -> np.ndarray:
    """The sum of what blocks have summed (blocks, ...), always in the same order."""
    each = parts.size // len(parts)
    out = cuda.device_array(each)
    _add_up[-(-each // THREADS), THREADS](parts.reshape(len(parts), each), out)
    total: np.ndarray = out.copy_to_host().reshape(parts.shape[1:])
    return total


@cuda.jit(device=True)
def write_relative(logs: Any, inside: Any, b: Any, peaks: Any, row: Any, lane: Any) -> None:
    """Log densities of the states (states,) as densities relative to the likeliest state's, whose log goes into `peaks`; 0 where
    it is not `inside` its place's steps."""
    if inside:
        peak = logs[0]
        for k in range(1, len(logs)):
            peak = max(peak, logs[k])
        for k in range(len(logs)):
            b[row, k, lane] = math.exp(logs[k] - peak)
        peaks[row, lane] = peak
    else:
        for k in range(len(logs)):
            b[row, k, lane] = 0.0


@cuda.jit(device=True)
def over_lanes(of_lanes: Any, row: Any) -> Any:
    """The sum of a row of (rows, WIDTH), always in the same order."""
    total = 0.0
    for lane in range(WIDTH):
        total += of_lanes[row, lane]
    return total


@cuda.jit
def _add_up(parts: Any, out: Any) -> None:
    n = cuda.grid(1)
    if n < len(out):
        total = 0.0
        for part in range(len(parts)):
            total += parts[part, n]
        out[n] = total
