"""Which windows a rank takes at each step, and the batches themselves.

The order is a pure function of (seed, epoch), and a step's windows are a pure function of the order: the same for any number
of ranks. A step's windows are shared out evenly; where that leaves a rank fewer (or none), its batch is padded with windows of
weight 0, so that every rank takes every step with arrays of one shape. No window is dropped and none is counted twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from prep.windows import Windows


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


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def take(windows: Windows, numbers: np.ndarray, size: int) -> Batch:
    """Context, target, and the target's weight: (size, context | horizon | horizon, channels) float32, float32, uint8.

    Weight is 0 where a target was filled rather than measured, and in the padding behind `numbers`.
    """
    padding = size - len(numbers)
    batch = windows.batch(np.concatenate([numbers, np.zeros(padding, int)]))
    if padding:
        batch.target_observed[len(numbers) :] = 0
    return batch.context, batch.target, batch.target_observed


def training_feed(windows: Windows, share: Share, seed: int) -> tf.data.Dataset:
    """This rank's batches of epoch 0, 1, 2 … without end, `share.steps` an epoch, prepared ahead of their use."""

    def batches() -> Iterator[Batch]:
        for epoch in itertools.count():
            numbers = order(share.windows, seed, epoch)
            for step in range(share.steps):
                start, stop = share.places(step)
                yield take(windows, numbers[start:stop], share.size)

    return _dataset(batches, windows, share.size)


def validation_feed(windows: Windows, share: Share) -> tf.data.Dataset:
    """This rank's batches of one pass in the windows' own order."""

    def batches() -> Iterator[Batch]:
        for step in range(share.steps):
            yield take(windows, np.arange(*share.places(step)), share.size)

    return _dataset(batches, windows, share.size).apply(tf.data.experimental.assert_cardinality(share.steps))


def _dataset(batches: Callable[[], Iterator[Batch]], windows: Windows, size: int) -> tf.data.Dataset:
    channels, layout = windows.blocks[0].values.shape[2], windows.layout
    context, target = (size, layout.context, channels), (size, layout.horizon, channels)
    signature = (tf.TensorSpec(context, tf.float32), tf.TensorSpec(target, tf.float32), tf.TensorSpec(target, tf.uint8))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
