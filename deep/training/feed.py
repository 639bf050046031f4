"""The windows of each rank at each step, and the batches of these.

The order is a pure function of (seed, epoch), and a step's windows are a pure function of the order: the same for any number
of ranks. A step's windows are shared out evenly; where that leaves a rank fewer (or none), its batch is padded with windows of
weight 0, so that every rank takes every step with arrays of one shape. No window is dropped and none is counted twice.

Of a model with members each has an order of its own, by a seed of its own: a batch holds the rows of the first, then those of the
second, and so on.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from hindcast.deep.inputs import Inputs
from hindcast.deep.training.mixing import mixed, partners
from hindcast.prep.dataset.windows import Windows

AT_A_TIME = 4


@dataclass(frozen=True)
class Share:
    """The share of rank `rank`, of `ranks`, in the windows of an epoch, of which each step takes `step`."""

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
        """[start, stop) in the epoch's order: the windows of this rank at a step. At most `size`, possibly none."""
        first, count = self.of_all(step)
        return first + count * self.rank // self.ranks, first + count * (self.rank + 1) // self.ranks

    def of_all(self, step: int) -> tuple[int, int]:
        """The windows of a step, over all ranks: the first place in the epoch's order, and their number."""
        first = step * self.step
        return first, min(self.step, self.windows - first)


def order(windows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation of 0 … windows − 1, a function of (windows, seed, epoch) alone."""
    return np.random.default_rng((seed, epoch)).permutation(windows)


class Rows(NamedTuple):
    """The rows of a batch.

    windows  (rows,) which windows
    counts   (rows,) bool: whether they are there to be learnt; padding is not
    others   (rows,) with which windows they are mixed, where they are (deep/training/mixing.py)
    angles   (rows,) and by which angles
    """

    windows: np.ndarray
    counts: np.ndarray
    others: np.ndarray | None = None
    angles: np.ndarray | None = None

    @classmethod
    def of(cls, windows: np.ndarray, size: int) -> Self:
        """These windows as they are, and padding up to `size` rows."""
        return cls(np.pad(windows, (0, size - len(windows))), np.arange(size) < len(windows))


@dataclass(frozen=True)
class Epoch:
    """The rows that a rank takes in an epoch (from 0). `seeds`: of each member."""

    share: Share
    seeds: tuple[int, ...]
    epoch: int
    mixing: bool = False

    @cached_property
    def orders(self) -> np.ndarray:
        """(members, windows)"""
        return np.stack([order(self.share.windows, seed, self.epoch) for seed in self.seeds])

    def rows(self, step: int) -> Rows:
        """The rows at a step (from 0), (members · size,)."""
        start, stop = self.share.places(step)
        padding = (0, 0), (0, self.share.size - (stop - start))

        def padded(of_members: np.ndarray) -> np.ndarray:
            return np.pad(of_members, padding).ravel()

        numbers = self.orders[:, start:stop]
        windows, counts = padded(numbers), padded(np.ones_like(numbers, bool))
        if not self.mixing:
            return Rows(windows, counts)
        first, count = self.share.of_all(step)
        mixtures = [partners(self.share.windows, count, seed, self.epoch, step) for seed in self.seeds]
        others, angles = (np.stack(of_members)[:, start - first : stop - first] for of_members in zip(*mixtures, strict=True))
        return Rows(windows, counts, padded(others), padded(angles))


# Inputs by their names, the target, and the target's weight: arrays, or from a feed tensors.
Batch = tuple[dict[str, Any], Any, Any]


def take(windows: Windows, inputs: Inputs, rows: Rows) -> Batch:
    """A batch: the arrays of `inputs`; the target (rows, horizon, channels) float32; its weight, uint8 of that shape.

    Weight is 0 where a target was filled rather than measured, and in rows that do not count.
    """
    batch = windows.batch(rows.windows)
    if rows.others is not None and rows.angles is not None:
        batch = mixed(batch, windows.batch(rows.others), rows.angles)
    batch.target_observed[~rows.counts] = 0
    return inputs.arrays(batch.given), batch.target, batch.target_observed


def training_feed(windows: Windows, inputs: Inputs, epoch: Epoch, first: int = 0) -> Iterator[Batch]:
    """A rank's batches of an epoch from step `first` (from 0) on; some are prepared ahead."""
    return _ahead(take(windows, inputs, epoch.rows(step)) for step in range(first, epoch.share.steps))


def validation_feed(windows: Windows, inputs: Inputs, share: Share) -> Iterator[Batch]:
    """This rank's batches of one pass in the windows' own order; some are prepared ahead."""
    places = map(share.places, range(share.steps))
    return _ahead(take(windows, inputs, Rows.of(np.arange(*place), share.size)) for place in places)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, made in a thread of their own while steps are taken. What that thread raises is raised here.

    A batch is a few copies out of mapped blocks. tf.data, which asks Python for each and copies it once more, takes four times as
    long for it as the copies do. Several are made at a time: waking the thread for each disturbs steps more than its work does.
    """
    ready, over = queue.Queue[list[Batch] | BaseException | None](1), threading.Event()

    def put(item: list[Batch] | BaseException | None) -> None:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
                break
            except queue.Full:
                continue

    def make() -> None:
        ready_batches: list[Batch] = []
        try:
            for batch in batches:
                if over.is_set():
                    return
                ready_batches.append(tf.nest.map_structure(tf.constant, batch))
                if len(ready_batches) == AT_A_TIME:
                    put(ready_batches)
                    ready_batches = []
            put(ready_batches)
            put(None)
        except BaseException as error:  # carried to the thread that takes the steps, after what was made before
            put(ready_batches)
            put(error)

    thread = threading.Thread(target=make, name="feed", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from item
    finally:
        over.set()
        thread.join()
