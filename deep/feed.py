"""Which windows a rank takes at each step, and the batches themselves.

The order is a pure function of (seed, epoch), and a step's windows are a pure function of the order: the same for any number
of ranks. A step's windows are shared out evenly; where that leaves a rank fewer (or none), its batch is padded with windows of
weight 0, so that every rank takes every step with arrays of one shape. No window is dropped and none is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from deep.inputs import Inputs
from deep.mixing import mixed, partners
from prep.windows import Windows

AHEAD = 4
# What tf.data takes to begin a pass is worth its while for more steps than these.
FEW_STEPS = 32


@dataclass(frozen=True)
class Share:
    """How the windows of an epoch are shared out: `step` windows a step, over `ranks` ranks; this is rank `rank`'s share."""

    windows: int
    step: int
    rank: int
    ranks: int

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return -(-self.windows // self.step)

    @property
    def size(self) -> int:
        """Windows in every batch of every rank, padding included."""
        return -(-min(self.step, self.windows) // self.ranks)

    def places(self, step: int) -> tuple[int, int]:
        """[start, stop) in the epoch's order: what this rank takes at a step. At most `size`, possibly nothing."""
        first = step * self.step
        count = min(self.step, self.windows - first)
        return first + count * self.rank // self.ranks, first + count * (self.rank + 1) // self.ranks


def order(windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation of 0 … windows − 1, a function of (windows, seed, epoch) alone."""
    return np.random.default_rng((seed, epoch)).permutation(windows)


# Inputs by their names, the target, and the target's weight.
Batch = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def take(
    windows: Windows, inputs: Inputs, numbers: np.ndarray, size: int, mix: tuple[np.ndarray, np.ndarray] | None = None
) -> Batch:
    """What `inputs` says; target (size, horizon, channels) float32; its weight, uint8 of that shape.

    Weight is 0 where a target was filled rather than measured, and in the padding behind `numbers`. `mix`: with which window each
    is mixed, and by which angle (deep/mixing.py).
    """
    padding = size - len(numbers)
    batch = windows.batch(_padded(numbers, padding))
    if mix is not None:
        batch = mixed(batch, windows.batch(_padded(mix[0], padding)), _padded(mix[1], padding))
    if padding:
        batch.target_observed[len(numbers) :] = 0
    return inputs.arrays(batch.given), batch.target, batch.target_observed


def _padded(array: np.ndarray, padding: int) -> np.ndarray:
    return np.concatenate([array, np.zeros(padding, array.dtype)])


def training_feed(
    windows: Windows, inputs: Inputs, share: Share, seed: int, epoch: int, first: int = 0, mixing: bool = False
) -> tuple[np.ndarray, Iterable[Batch]]:
    """The order of an epoch, and this rank's batches of it from step `first` (from 0) on; many are prepared ahead."""
    numbers = order(share.windows, seed, epoch)

    def batch(step: int) -> Batch:
        start, stop = share.places(step)
        mix = None
        if mixing:
            begin = step * share.step
            others, angles = partners(share.windows, min(share.step, share.windows - begin), seed, epoch, step)
            mix = others[start - begin : stop - begin], angles[start - begin : stop - begin]
        return take(windows, inputs, numbers[start:stop], share.size, mix)

    return numbers, _dataset(inputs, share, batch, first)


def validation_feed(windows: Windows, inputs: Inputs, share: Share) -> Iterable[Batch]:
    """This rank's batches of one pass in the windows' own order."""
    return _dataset(inputs, share, lambda step: take(windows, inputs, np.arange(*share.places(step)), share.size), 0)


def _dataset(inputs: Inputs, share: Share, batch: Callable[[int], Batch], first: int) -> Iterable[Batch]:
    def batches() -> Iterator[Batch]:
        for step in range(first, share.steps):
            yield batch(step)

    if share.steps - first <= FEW_STEPS:
        return batches()
    given = {name: tf.TensorSpec((share.size, *shape), dtype) for name, (shape, dtype) in inputs.shapes().items()}
    target = (share.size, inputs.horizon, inputs.channels)
    signature = (given, tf.TensorSpec(target, tf.float32), tf.TensorSpec(target, tf.uint8))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(AHEAD)
