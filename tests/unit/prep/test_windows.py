"""Windows by number: those of the rows, as views, in any order."""

from __future__ import annotations

import numpy as np

from prep.blocks import Block
from prep.layout import Layout
from prep.windows import Windows, cut

LAYOUT = Layout(context=3, horizon=2, stride=2, windows_per_row=3)
HOUR = 3_600_000_000


def block(first: int, windows: list[int]) -> Block:
    rows = len(windows)
    values = first + np.arange(rows * LAYOUT.length * 2, dtype=np.float32).reshape(rows, LAYOUT.length, 2)
    start = np.datetime64("2025-01-01", "us") + (first + np.arange(rows)) * np.timedelta64(1, "D")
    zeros = np.zeros(rows, np.int32)
    names = np.array([f"s{first}-{row}" for row in range(rows)])
    return Block(values, np.ones(values.shape, np.uint8), names, start, np.array(windows, np.int32), zeros, zeros + LAYOUT.length)


def test_windows_are_numbered_over_rows_and_blocks() -> None:
    blocks = [block(0, [3, 0, 1]), block(100, [2])]
    windows = Windows.over(blocks, LAYOUT, HOUR)
    assert len(windows) == 6
    batch = windows.batch(np.array([5, 0, 3, 1]))
    whole = np.concatenate([batch.context, batch.target], axis=1)
    expected = [blocks[1].values[0, 2:7], blocks[0].values[0, 0:5], blocks[0].values[2, 0:5], blocks[0].values[0, 2:7]]
    np.testing.assert_array_equal(whole, np.stack(expected))
    assert batch.series.tolist() == ["s100-0", "s0-0", "s0-2", "s0-0"]
    assert batch.start[0] - blocks[1].start[0] == np.timedelta64(2, "h")
    assert sum(len(b.start) for b in windows.batches(4)) == 6


def test_no_blocks_no_windows() -> None:
    assert len(Windows.over([], LAYOUT, HOUR)) == 0


def test_cutting_copies_nothing() -> None:
    rows = np.zeros((2, 9, 3))
    assert np.shares_memory(cut(rows, 4), rows)
    assert cut(rows, 4).shape == (2, 6, 4, 3)
