"""Every window of a split by its number, cut as views of the stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prep.blocks import Block
from prep.layout import Layout


@dataclass(frozen=True)
class WindowBatch:
    """Some windows, copied out of their rows.

    context, target                    (windows, context | horizon, channels) float32, scaled
    context_observed, target_observed  the same shapes, uint8: 1 measured, 0 filled
    series                             (windows,) str
    start                              (windows,) datetime64[us]: the time of the first context step
    """

    context: np.ndarray
    target: np.ndarray
    context_observed: np.ndarray
    target_observed: np.ndarray
    series: np.ndarray
    start: np.ndarray


@dataclass(frozen=True)
class Windows:
    """The windows of some blocks, numbered from 0 in the order of blocks, rows and offsets."""

    blocks: Sequence[Block]
    layout: Layout
    step_micros: int
    block_of_row: np.ndarray
    row_in_block: np.ndarray
    first_of_row: np.ndarray

    @classmethod
    def over(cls, blocks: Sequence[Block], layout: Layout, step_micros: int) -> Windows:
        counts = [block.windows for block in blocks]
        block_of_row = np.repeat(np.arange(len(blocks)), [len(count) for count in counts])
        row_in_block = np.concatenate([np.arange(len(count)) for count in counts] or [np.zeros(0, int)])
        ends = np.cumsum(np.concatenate(counts or [np.zeros(0, int)]), dtype=np.int64)
        return cls(blocks, layout, step_micros, block_of_row, row_in_block, np.concatenate([[0], ends]))

    def __len__(self) -> int:
        return int(self.first_of_row[-1])

    def batch(self, numbers: np.ndarray) -> WindowBatch:
        """The windows with these numbers, in this order."""
        numbers = np.asarray(numbers)
        row = np.searchsorted(self.first_of_row, numbers, side="right") - 1
        offset = (numbers - self.first_of_row[row]) * self.layout.stride
        block_index, row_index = self.block_of_row[row], self.row_in_block[row]
        shape = (len(numbers), self.layout.window, self.blocks[0].values.shape[2]) if self.blocks else (0, self.layout.window, 0)
        values, observed = np.empty(shape, np.float32), np.empty(shape, np.uint8)
        series, start = np.empty(len(numbers), object), np.empty(len(numbers), "datetime64[us]")
        for index in np.unique(block_index):
            here, block = np.flatnonzero(block_index == index), self.blocks[index]
            rows, offsets = row_index[here], offset[here]
            values[here] = cut(block.values, self.layout.window)[rows, offsets]
            observed[here] = cut(block.observed, self.layout.window)[rows, offsets]
            series[here] = block.series[rows]
            start[here] = block.start[rows] + offsets * np.timedelta64(self.step_micros, "us")
        context = self.layout.context
        return WindowBatch(
            context=values[:, :context],
            target=values[:, context:],
            context_observed=observed[:, :context],
            target_observed=observed[:, context:],
            series=series.astype(np.str_),
            start=start,
        )

    def batches(self, size: int) -> Iterator[WindowBatch]:
        """All windows in order, `size` at a time; the last batch holds what is left."""
        for first in range(0, len(self), size):
            yield self.batch(np.arange(first, min(first + size, len(self))))


def cut(rows: np.ndarray, window: int) -> np.ndarray:
    """A view (rows, offsets, window, channels) of `rows` (rows, length, channels): nothing is copied."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, window, axis=1), 2, 3)
