"""Rows and windows on consecutive steps: nothing is lost, doubled, or out of bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hindcast.prep.dataset.layout import Layout, best_windows_per_row, rows_of

layouts = st.builds(
    Layout,
    context=st.integers(1, 12),
    horizon=st.integers(1, 8),
    lead=st.integers(0, 3),
    stride=st.integers(1, 30),
    windows_per_row=st.integers(1, 9),
)


@given(layouts, st.integers(1, 200), st.data())
def test_every_step_is_owned_once_and_every_window_is_whole(layout: Layout, steps: int, data: st.DataObject) -> None:
    phase = data.draw(st.integers(0, layout.stride - 1))
    possible = np.arange(phase, steps - layout.window + 1, layout.stride)
    starts = possible[data.draw(st.lists(st.booleans(), min_size=len(possible), max_size=len(possible)))]
    own = (data.draw(st.integers(0, steps - 1)), steps)
    rows = rows_of(layout, starts, own)
    owners = np.zeros(steps, int)
    found = []
    for start, stop, windows, own_start in zip(rows.start, rows.stop, rows.windows, rows.own_start, strict=True):
        assert 0 <= start <= own_start
        assert start < stop <= min(start + layout.length, steps)
        owners[own_start:stop] += 1
        for window in range(windows):
            offset = window * layout.stride
            assert start + offset + layout.window <= stop
            found.append(start + offset)
    assert (owners[: own[0]] == 0).all()
    assert (owners[own[0] :] == 1).all()
    assert sorted(found) == starts.tolist()


@given(layouts, st.integers(1, 200))
def test_full_rows_after_the_first_have_the_history_that_a_row_can_give(layout: Layout, steps: int) -> None:
    starts = np.arange(0, steps - layout.window + 1, layout.stride)
    rows = rows_of(layout, starts, (0, steps))
    full = rows.windows[1:] == layout.windows_per_row
    assert ((rows.own_start - rows.start)[1:][full] == layout.length - layout.advance).all()


def test_rows_without_windows_are_few_and_begin_with_history() -> None:
    plain = Layout(context=300, horizon=100, stride=1, windows_per_row=1)
    rows = rows_of(plain, np.zeros(0, int), (0, 10_000))
    assert len(rows.start) < 10_000 / 200 + 2
    assert (rows.own_start[1:] - rows.start[1:] >= 200).all()


def test_packing_stores_little_more_than_the_data() -> None:
    layout = Layout(context=336, horizon=96, stride=1, windows_per_row=1)
    runs = {8640 - 431: 1, 3216 - 431: 2}

    def stored(windows_per_row: int) -> int:
        packed = layout.model_copy(update={"windows_per_row": windows_per_row})
        return sum(count * -(-windows // windows_per_row) * packed.length for windows, count in runs.items())

    best = best_windows_per_row(layout, runs, channels=7)
    assert stored(best) <= 1.25 * (8640 + 2 * 3216)
    assert stored(1) > 300 * stored(best)


def test_packing_does_not_pad_short_runs_and_keeps_wide_rows_small() -> None:
    layout = Layout(context=20, horizon=5, stride=1, windows_per_row=1)
    assert layout.model_copy(update={"windows_per_row": best_windows_per_row(layout, {36: 1000}, channels=1)}).length <= 60
    assert best_windows_per_row(layout, {100_000: 5}, channels=10_000) <= 100
