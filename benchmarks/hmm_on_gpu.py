"""E-steps on a GPU against one core of the same machine: the same statistics, and how many times as fast.

    python benchmarks/hmm_on_gpu.py [--steps 20000000] [--rounds 5]

Rates are million steps a second of E-steps alone, the best of some rounds: on the GPU of sequences that lie in its memory, and,
"and sent", of sequences that are sent there first, as the first iteration does. The processor is given fewer sequences, on which
both must find the same: "apart" is the largest difference between statistics, relative to the largest number of each. "of memory"
is the share of what the GPU copies within its memory in a second, for the bytes that an E-step moves there at least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numba import cuda

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.gpu.e_step import OnGpu
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov

CHANNELS, LENGTH = 7, 500
CASES = [
    ("diagonal", 2), ("diagonal", 8), ("diagonal", 32), ("diagonal", 64), ("full", 8), ("autoregressive, order 24", 2),
    ("autoregressive, order 24", 8), ("autoregressive, order 168", 2),
]  # fmt: skip
ON_A_CORE = {"diagonal": 1_000_000, "full": 1_000_000, "autoregressive, order 24": 100_000, "autoregressive, order 168": 20_000}
ON_THE_GPU = {"autoregressive, order 168": 0.05, "autoregressive, order 24": 0.25}  # shares of --steps


def model_of(family: str, states: int) -> HiddenMarkov[Any]:
    rng = np.random.default_rng(0)
    start, transition = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)
    means, floor, shape = rng.normal(0, 1, (states, CHANNELS)), np.full(CHANNELS, 1e-9), (states, CHANNELS)
    if family.startswith("autoregressive"):
        order = int(family.split()[-1])
        weights = rng.normal(0, 0.5 / order, (*shape, order))
        return HiddenMarkov(start, transition, Autoregressive(means, weights, rng.uniform(0.5, 2, shape), floor))
    roots = rng.normal(0, 0.3, (*shape, CHANNELS)) + np.eye(CHANNELS)
    covars = rng.uniform(0.5, 2, shape) if family == "diagonal" else roots @ roots.swapaxes(1, 2)
    return HiddenMarkov(start, transition, Gaussian(means, covars, floor))


def sequences(steps: int, order: int) -> Spans:
    """Rows of readings whose first `order` steps are history."""
    rows, rng = max(1, steps // LENGTH), np.random.default_rng(1)
    some = rng.standard_normal((min(rows, 1000), LENGTH + order, CHANNELS), np.float32)
    values = some[np.arange(rows) % len(some)]
    zero = np.zeros(rows, np.int64)
    return Spans(values, None, np.arange(rows), zero, zero + order, zero + LENGTH + order)


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """The least of some."""
    best = np.inf
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def apart(one: Any, other: Any) -> float:
    return max(
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)) for a, b in zip(numbers(one), numbers(other), strict=True)
    )


def numbers(statistics: Any) -> Iterator[np.ndarray]:
    for field in fields(statistics):
        value = getattr(statistics, field.name)
        yield from numbers(value) if is_dataclass(value) else [np.asarray(value)]


def copied() -> float:
    """Bytes a second, read and written, of copies within the GPU's memory."""
    source = cuda.to_device(np.random.default_rng(0).random(1 << 27))
    target = cuda.device_array_like(source)

    def copy() -> None:
        target.copy_to_device(source)
        cuda.synchronize()

    copy()
    return float(2 * source.nbytes / seconds(copy, 10))


def measure(family: str, states: int, steps: int, rounds: int, memory: float) -> str:
    model = model_of(family, states)
    order = model.emission.order
    few = sequences(ON_A_CORE[family], order)
    found, expected = OnGpu(few, order).e_step(model), model.e_step(few)  # compiles, too
    core = few.lengths.sum() / seconds(lambda: model.e_step(few), 2) / 1e6
    many = sequences(int(steps * ON_THE_GPU.get(family, 1.0)), order)
    sent = many.lengths.sum() / seconds(lambda: OnGpu(many, order).e_step(model), 2) / 1e6
    there = OnGpu(many, order)
    gpu = many.lengths.sum() / seconds(lambda: there.e_step(model), rounds) / 1e6
    # Densities, alpha, gamma, and what beta needs are each written and read once; readings are read twice.
    share = gpu * 1e6 * (8 * 8 * states + 2 * 4 * CHANNELS) / memory
    rates = f"{core:>9.3f}{gpu:>9.1f}{gpu / core:>7.0f}{sent:>10.1f}"
    return f"{family:<28}{states:>6}{rates}{apart(found, expected):>9.0e}{share:>11.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    memory = copied()
    name = cuda.get_current_device().name  # bytes or str
    print(f"{name}: copies {memory / 1e12:.2f} TB/s; sequences of {LENGTH} steps of {CHANNELS} channels")
    print(f"{'family':<28}{'states':>6}{'a core':>9}{'GPU':>9}{'ratio':>7}{'and sent':>10}{'apart':>9}{'of memory':>11}")
    for family, states in CASES:
        print(measure(family, states, asked.steps, asked.rounds, memory), flush=True)


if __name__ == "__main__":
    main()
