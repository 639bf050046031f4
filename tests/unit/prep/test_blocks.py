"""Encoding and decoding of columns: the codec's own bytes, and nothing else accepted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from petastorm.codecs import NdarrayCodec
from petastorm.unischema import UnischemaField

from prep.blocks import decode
from prep.errors import InputError
from prep.rows import npy_column, padded

rng = np.random.default_rng(0)


@pytest.mark.parametrize(("dtype", "shape"), [("<f4", (7, 3)), ("u1", (5, 1)), ("<f4", (1, 1))])
def test_columns_are_what_the_codec_writes(dtype: str, shape: tuple[int, int]) -> None:
    arrays = rng.integers(0, 200, (4, *shape)).astype(dtype)
    field = UnischemaField("values", np.dtype(dtype).type, shape, NdarrayCodec(), False)
    theirs = [bytes(NdarrayCodec().encode(field, array)) for array in arrays]
    ours = npy_column(arrays)
    assert ours.to_pylist() == theirs
    column = pa.chunked_array([pa.array(theirs[:1]), pa.array(theirs)[1:], pa.array([], pa.binary())])
    np.testing.assert_array_equal(decode(column, shape, np.dtype(dtype), "file"), arrays)


@pytest.mark.parametrize("values", [[b"short"], [None]])
def test_foreign_values_are_refused(values: list[bytes | None]) -> None:
    with pytest.raises(InputError, match="file: a value does not have the shape"):
        decode(pa.chunked_array([pa.array(values, pa.binary())]), (2, 2), np.dtype("<f4"), "file")


def test_another_shape_of_the_same_size_is_refused() -> None:
    column = pa.chunked_array([npy_column(np.zeros((2, 3, 4), "<f4"))])
    with pytest.raises(InputError, match="shape"):
        decode(column, (4, 3), np.dtype("<f4"), "file")


def test_rows_are_padded_after_the_end_only() -> None:
    steps = np.arange(1, 6, dtype=np.float32)[:, None]
    assert padded(steps, np.array([0, 3]), 4)[..., 0].tolist() == [[1, 2, 3, 4], [4, 5, 0, 0]]
