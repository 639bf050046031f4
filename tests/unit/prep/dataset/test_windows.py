"""Windows by number: those of the rows, as views, in any order."""

from __future__ import annotations

import numpy as np
import pytest

from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Given, Windows, cut
from hindcast.prep.errors import InputError

LAYOUT = Layout(context=3, horizon=2, stride=2, windows_per_row=3)
WITH_LEAD = Layout(context=3, lead=1, horizon=2, stride=2, windows_per_row=3)
HOUR = 3_600_000_000


def block(first: int, windows: list[int], layout: Layout = LAYOUT, companions: int = 0) -> Block:
    """Values that count up over rows, steps and 2 channels; and `companions` covariates, labels and attributes likewise."""
    rows = len(windows)

    def counted(*shape: int) -> np.ndarray:
        return first + np.arange(np.prod(shape)).reshape(shape)

    values = counted(rows, layout.length, 2).astype(np.float32)
    zeros = np.zeros(rows, np.int32)
    return Block(
        values=values,
        observed=np.ones(values.shape, np.uint8),
        covariates=(1000 + counted(rows, layout.length, companions)).astype(np.float32),
        covariates_observed=(counted(rows, layout.length, companions) % 2).astype(np.uint8),
        labels=counted(rows, layout.length, companions).astype(np.int32),
        attributes=counted(rows, companions).astype(np.float32),
        series=np.array([f"s{first}-{row}" for row in range(rows)]),
        start=np.datetime64("2025-01-01", "us") + (first + np.arange(rows)) * np.timedelta64(1, "D"),
        windows=np.array(windows, np.int32),
        own_start=zeros,
        own_stop=zeros + layout.length,
    )


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


def test_steps_of_the_lead_are_in_neither_context_nor_target() -> None:
    only = block(0, [3], WITH_LEAD)
    batch = Windows.over([only], WITH_LEAD, HOUR).batch(np.array([1]))
    np.testing.assert_array_equal(batch.context[0], only.values[0, 2:5])
    np.testing.assert_array_equal(batch.target[0], only.values[0, 6:8])


def test_companions_come_as_far_as_they_are_known() -> None:
    only = block(0, [3, 1], WITH_LEAD, companions=3)
    batch = Windows.over([only], WITH_LEAD, HOUR, known=(2,)).batch(np.array([3, 2]))
    for number, (row, first) in enumerate([(1, 0), (0, 4)]):
        np.testing.assert_array_equal(batch.covariates[number], only.covariates[row, first : first + 3])
        np.testing.assert_array_equal(batch.covariates_observed[number], only.covariates_observed[row, first : first + 3])
        np.testing.assert_array_equal(batch.known[number], only.covariates[row, first : first + 6, 2:])
        np.testing.assert_array_equal(batch.labels[number], only.labels[row, first + 4 : first + 6])
        np.testing.assert_array_equal(batch.attributes[number], only.attributes[row])


@pytest.mark.parametrize("layout", [LAYOUT, WITH_LEAD])
def test_no_blocks_no_windows(layout: Layout) -> None:
    assert len(Windows.over([], layout, HOUR)) == 0


def test_cutting_copies_nothing() -> None:
    rows = np.zeros((2, 9, 3))
    assert np.shares_memory(cut(rows, 4), rows)
    assert cut(rows, 4).shape == (2, 6, 4, 3)


def test_a_single_window_is_given_as_it_is_and_other_shapes_are_refused() -> None:
    context = np.arange(12, dtype=np.float32).reshape(6, 2)
    one = Given.of(context, context > 3)
    assert (one.context.shape, one.observed.shape, one.series.shape, one.known.shape) == ((1, 6, 2), (1, 6, 2), (1,), (1, 6, 0))
    with pytest.raises(
        InputError, match=r"context of shape \(6,\): expected \(windows, steps, channels\), or \(steps, channels\)"
    ):
        Given.of(context[:, 0])
    with pytest.raises(InputError, match=r"observed of shape \(6,\): expected that of the context, \(6, 2\)"):
        Given.of(context, context[:, 0])


def of(windows: Windows) -> list[tuple[str, str, list[float]]]:
    batch = windows.batch(np.arange(len(windows)))
    return [
        (str(name), str(start), target.ravel().tolist())
        for name, start, target in zip(batch.series, batch.start, batch.target, strict=True)
    ]


def test_a_range_holds_the_windows_with_these_numbers_wherever_rows_and_blocks_end() -> None:
    windows = Windows.over([block(0, [3, 0, 1]), block(100, [2, 0, 3])], LAYOUT, HOUR)
    every = of(windows)
    for start in range(10):
        for stop in range(start, 11):
            part = windows.between(start, stop)
            assert part.blocks is windows.blocks
            assert of(part) == every[start:stop]
            for first in range(3):
                assert of(part.between(first, 3)) == every[start:stop][first:3]


def test_windows_of_some_series_are_theirs_alone_also_within_a_range() -> None:
    windows = Windows.over([block(0, [3, 0, 1]), block(100, [2, 0, 3]), block(0, [2])], LAYOUT, HOUR)
    for names in ([], ["s0-0"], ["s0-2", "s100-2", "elsewhere"], ["s0-1"]):
        chosen = windows.of_series(names)
        assert chosen.blocks is windows.blocks
        assert of(chosen) == [one for one in of(windows) if one[0] in names]
        for start in range(4):
            assert of(windows.between(start, 8).of_series(names)) == [one for one in of(windows)[start:8] if one[0] in names]
            assert of(chosen.between(start, 4)) == of(chosen)[start:4]
        rows = [(name, values) for part in chosen.rows() for name, values in zip(part.series, part.values, strict=True)]
        expected = [(n, v) for b in windows.blocks for n, v in zip(b.series, b.values, strict=True) if n in names]
        assert [name for name, _ in rows] == [name for name, _ in expected]
        for (_, got), (_, want) in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(got, want)
    assert len(Windows.over([], LAYOUT, HOUR).of_series(["a"])) == len(Windows.over([], LAYOUT, HOUR).between(0, 3)) == 0
