"""Many small things together: none is lost, repeated or moved, and rows are the same however they are put together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hindcast.prep.dataset.blocks import ArrayField
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.grid.grid import Grid
from hindcast.prep.scaling.affine import Affine, Scaling
from hindcast.prep.sequences import rows
from hindcast.prep.sequences.batching import by_bytes
from hindcast.prep.sequences.rows import Encoding, encode
from hindcast.prep.sequences.segments import Segment
from hindcast.prep.spec import CalendarSpec

CHANNELS = 2


@given(st.lists(st.integers(0, 30)), st.integers(1, 50))
def test_batches_end_as_soon_as_they_are_full(sizes: list[int], most: int) -> None:
    found = list(by_bytes(sizes, lambda size: size, most))
    assert [size for some in found for size in some] == sizes
    assert all(some and sum(some[:-1]) < most for some in found)
    assert all(sum(some) >= most for some in found[:-1])


def segment(series: str, split: str, steps: int) -> Segment:
    rng = np.random.default_rng(steps)
    values, nothing = rng.normal(size=(steps, CHANNELS)), np.empty((steps, 0))
    labels = rng.integers(0, 3, (steps, 1)).astype(float)
    starts = np.arange(max(0, steps - 4))
    return Segment(series, split, 7, values, np.ones(values.shape, bool), nothing, labels, starts, (0, steps))


@pytest.mark.parametrize("most", [1, 300, 1 << 20])
def test_rows_are_the_same_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    layout, same = Layout(context=3, horizon=1, stride=1, windows_per_row=2), Affine(centre=(1.0, 0.0), scale=(2.0, 1.0))
    shape = (layout.length, CHANNELS)
    arrays = (
        ArrayField("values", "<f4", shape),
        ArrayField("observed", "|u1", shape),
        ArrayField("labels", "<i4", (shape[0], 1)),
    )
    scaling, none = Scaling(method="standard", overall=same), Affine(centre=(), scale=())
    unscaled = Scaling(method="standard", overall=none)
    how = Encoding(layout, Grid(0, 60_000_000), scaling, unscaled, CalendarSpec(), arrays, {})
    segments = [segment("a", "train", 9), segment("b", "train", 20), segment("b", "test", 5)]
    each = [batch for one in segments for batch in encode([one], how)]
    monkeypatch.setattr(rows, "BATCH_BYTES", most)
    found = list(encode(segments, how))
    assert pa.Table.from_batches(found).combine_chunks() == pa.Table.from_batches(each).combine_chunks()
    assert [len(found) > 1, len(found) == 1] == [most < 1 << 20, most == 1 << 20]
