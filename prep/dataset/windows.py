"""Every window of a split by its number, cut as views of the stored rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Given:
    """What is known of some windows when they are forecast: a forecaster gets no more than this.

    context, observed    (windows, context, channels) float32, scaled; uint8: 1 measured, 0 filled
    covariates           (windows, context, covariates) float32
    covariates_observed  the same shape, uint8
    known                (windows, context + lead + horizon, known covariates) float32
    attributes           (windows, attributes) float32
    series               (windows,) str
    start                (windows,) datetime64[us]: the time of the first context step
    """

    context: np.ndarray
    observed: np.ndarray
    covariates: np.ndarray
    covariates_observed: np.ndarray
    known: np.ndarray
    attributes: np.ndarray
    series: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, context: np.ndarray, observed: np.ndarray | None = None) -> Given:
        """Contexts alone, of series without a name, all measured unless `observed` says otherwise.

        A single one may be given as it is, (context, channels). Raises InputError for an array of other dimensions, and where
        `observed` has another shape.
        """
        if context.ndim not in (2, 3):
            raise InputError(
                f"context of shape {context.shape}: expected (windows, steps, channels), or (steps, channels) of a single window"
            )
        if observed is not None and observed.shape != context.shape:
            raise InputError(f"observed of shape {observed.shape}: expected that of the context, {context.shape}")
        if context.ndim == 2:
            context, observed = context[None], None if observed is None else observed[None]
        windows, steps, _ = context.shape
        none = np.zeros((windows, steps, 0), np.float32)
        return cls(
            context=context,
            observed=np.ones(context.shape, np.uint8) if observed is None else observed,
            covariates=none,
            covariates_observed=none.astype(np.uint8),
            known=none,
            attributes=none[:, 0],
            series=np.full(windows, ""),
            start=np.zeros(windows, "datetime64[us]"),
        )

    def copied(self) -> Given:
        """The same in arrays of its own: what they were cut from, and may hold the future, cannot be reached from them."""
        return Given(**{field.name: getattr(self, field.name).copy() for field in fields(self)})

    def subset(self, windows: slice | np.ndarray) -> Given:
        """Those windows alone."""
        return Given(**{field.name: getattr(self, field.name)[windows] for field in fields(self)})


@dataclass(frozen=True)
class WindowBatch:
    """Some windows, copied out of their rows.

    context, target                    (windows, context | horizon, channels) float32, scaled
    context_observed, target_observed  the same shapes, uint8: 1 measured, 0 filled
    covariates                         (windows, context, covariates) float32: what is known at the end of the context
    covariates_observed                the same shape, uint8
    known                              (windows, context + lead + horizon, known covariates) float32: those known in advance
    labels                             (windows, horizon, labels) int32, -1 where missing: for evaluation alone
    attributes                         (windows, attributes) float32
    series                             (windows,) str
    start                              (windows,) datetime64[us]: the time of the first context step
    """

    context: np.ndarray
    target: np.ndarray
    context_observed: np.ndarray
    target_observed: np.ndarray
    covariates: np.ndarray
    covariates_observed: np.ndarray
    known: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    series: np.ndarray
    start: np.ndarray

    @property
    def given(self) -> Given:
        """The part that a forecaster may know."""
        same = ("context", "covariates", "covariates_observed", "known", "attributes", "series", "start")
        return Given(observed=self.context_observed, **{name: getattr(self, name) for name in same})


@dataclass(frozen=True)
class Windows:
    """The windows of some blocks, numbered from 0 in the order of blocks, rows and offsets. `known` are indices of covariates."""

    blocks: Sequence[Block]
    layout: Layout
    step_micros: int
    known: tuple[int, ...]
    block_of_row: np.ndarray
    row_in_block: np.ndarray
    first_of_row: np.ndarray

    @classmethod
    def over(cls, blocks: Sequence[Block], layout: Layout, step_micros: int, known: tuple[int, ...] = ()) -> Windows:
        counts = [block.windows for block in blocks]
        block_of_row = np.repeat(np.arange(len(blocks)), [len(count) for count in counts])
        row_in_block = np.concatenate([np.arange(len(count)) for count in counts] or [np.zeros(0, int)])
        ends = np.cumsum(np.concatenate(counts or [np.zeros(0, int)]), dtype=np.int64)
        return cls(blocks, layout, step_micros, known, block_of_row, row_in_block, np.concatenate([[0], ends]))

    def __len__(self) -> int:
        return int(self.first_of_row[-1])

    def between(self, start: int, stop: int) -> Windows:
        """Windows [start, stop) alone, numbered from 0: the same blocks, of which nothing is copied."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first, last = self.first_of_row[:-1], self.first_of_row[1:]
        rows = np.flatnonzero((last > start) & (first < stop))
        # The first row may begin before the first window: what is before it has a number below 0, and is asked for by none.
        return self._of_rows(rows, np.append(first[rows] - start, stop - start))

    def of_series(self, names: Collection[str]) -> Windows:
        """The windows of these series alone, in the same order, numbered from 0: the same blocks, of which nothing is copied."""
        name_list = list(names)
        masks = [np.isin(block.series, name_list) if name_list else np.zeros(len(block.series), bool) for block in self.blocks]
        of_row = [mask[self.row_in_block[self.block_of_row == index]] for index, mask in enumerate(masks)]
        rows = np.flatnonzero(np.concatenate(of_row or [np.zeros(0, bool)]))
        # What `between` has cut off a row stays cut off.
        cut_off = np.maximum(0, -self.first_of_row[:-1])[rows]
        counts = np.diff(np.maximum(0, self.first_of_row))[rows]
        ends = np.cumsum(counts, dtype=np.int64)
        return self._of_rows(rows, np.append(ends - counts - cut_off, ends[-1] if len(ends) else 0))

    def _of_rows(self, rows: np.ndarray, first_of_row: np.ndarray) -> Windows:
        return replace(
            self, block_of_row=self.block_of_row[rows], row_in_block=self.row_in_block[rows], first_of_row=first_of_row
        )

    def rows(self) -> Iterator[Block]:
        """The rows that the windows lie in, whole; only where they are not all of a block are they copied."""
        for index, block in enumerate(self.blocks):
            rows = self.row_in_block[self.block_of_row == index]
            if len(rows) == len(block.windows):
                yield block
            elif len(rows):
                yield Block(**{field.name: getattr(block, field.name)[rows] for field in fields(Block)})

    def batch(self, numbers: np.ndarray) -> WindowBatch:
        """The windows with these numbers, in this order."""
        numbers = np.asarray(numbers)
        row = np.searchsorted(self.first_of_row, numbers, side="right") - 1
        offset = (numbers - self.first_of_row[row]) * self.layout.stride
        block_index, row_index = self.block_of_row[row], self.row_in_block[row]
        members_by_block = [np.flatnonzero(block_index == index) for index in range(len(self.blocks))]

        def gather(field: str) -> np.ndarray:
            """(windows, window, width): the steps of each window."""
            arrays = [getattr(block, field) for block in self.blocks]
            width, dtype = (arrays[0].shape[2], arrays[0].dtype) if arrays else (0, np.float32)
            gathered = np.empty((len(numbers), self.layout.window, width), dtype)
            for members, array in zip(members_by_block, arrays, strict=True):
                if len(members) and width:
                    gathered[members] = cut(array, self.layout.window)[row_index[members], offset[members]]
            return gathered

        attributes = np.zeros((len(numbers), self.blocks[0].attributes.shape[1] if self.blocks else 0), np.float32)
        series, start = np.empty(len(numbers), object), np.empty(len(numbers), "datetime64[us]")
        for members, block in zip(members_by_block, self.blocks, strict=True):
            series[members] = block.series[row_index[members]]
            start[members] = block.start[row_index[members]] + offset[members] * np.timedelta64(self.step_micros, "us")
            attributes[members] = block.attributes[row_index[members]]
        values, observed, covariates = gather("values"), gather("observed"), gather("covariates")
        past, future = slice(None, self.layout.context), slice(self.layout.look_back, None)
        return WindowBatch(
            context=values[:, past],
            target=values[:, future],
            context_observed=observed[:, past],
            target_observed=observed[:, future],
            covariates=covariates[:, past],
            covariates_observed=gather("covariates_observed")[:, past],
            known=covariates[:, :, list(self.known)],
            labels=gather("labels")[:, future],
            attributes=attributes,
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
