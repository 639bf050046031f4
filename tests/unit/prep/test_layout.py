"""Rows and windows on a stretch: nothing is lost, doubled, or out of bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prep.layout import Layout, best_windows_per_row, rows_of

layouts = st.builds(
    Layout,
    context=st.integers(1, 12),
    horizon=st.integers(1, 8),
    stride=st.integers(1, 30),
    windows_per_row=st.integers(1, 9),
)


@given(layouts, st.integers(1, 200), st.data())
def test_every_step_is_owned_once_and_every_window_is_whole(layout: Layout, own: int, data: st.DataObject) -> None:
    look_back = data.draw(st.integers(0, layout.context))
    steps = look_back + own
    rows = rows_of(layout, steps, look_back)
    owners = np.zeros(steps, int)
    starts = []
    for start, windows, own_start, own_stop in zip(rows.start, rows.windows, rows.own_start, rows.own_stop, strict=True):
        assert 0 <= own_start < own_stop <= layout.length
        owners[start + own_start : start + own_stop] += 1
        for window in range(windows):
            offset = window * layout.stride
            assert offset + layout.window <= layout.length
            assert start + offset + layout.window <= steps
            starts.append(start + offset)
    assert (owners[:look_back] == 0).all()
    assert (owners[look_back:] == 1).all()
    assert starts == [i * layout.stride for i in range(layout.windows_in(steps))]
    assert len(rows.start) == layout.rows_in(steps)


@given(layouts, st.integers(1, 200))
def test_rows_after_the_first_have_the_history_that_a_row_can_give(layout: Layout, steps: int) -> None:
    rows = rows_of(layout, steps, 0)
    assert (rows.own_start[1:] == layout.length - layout.advance).all()


def test_packing_stores_little_more_than_the_data() -> None:
    layout = Layout(context=336, horizon=96, stride=1, windows_per_row=1)
    lengths = {8640: 1, 3216: 2}
    packed = layout.model_copy(update={"windows_per_row": best_windows_per_row(layout, lengths)})
    stored = sum(count * packed.rows_in(steps) * packed.length for steps, count in lengths.items())
    assert stored <= 1.25 * sum(count * steps for steps, count in lengths.items())
    plain = sum(count * layout.rows_in(steps) * layout.length for steps, count in lengths.items())
    assert plain > 300 * stored


def test_packing_does_not_pad_short_stretches() -> None:
    layout = Layout(context=20, horizon=5, stride=1, windows_per_row=1)
    packed = layout.model_copy(update={"windows_per_row": best_windows_per_row(layout, {60: 1000, 10: 10})})
    assert packed.length <= 60
