"""Quartiles from counts are those of the values, to the last bit of a float32."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from hindcast.prep.scaling.quantiles import Cells, Wanted, added, ordered, quartiles, tally, values_of

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
tables = st_numpy.arrays(np.float32, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=floats | st.just(float("nan")))


@given(st.lists(floats, min_size=1))
def test_keys_keep_the_order_and_the_values(values: list[float]) -> None:
    array = np.array(values, np.float32)
    np.testing.assert_array_equal(np.argsort(ordered(array), kind="stable"), np.argsort(array, kind="stable"))
    np.testing.assert_array_equal(values_of(ordered(array)), array)


@given(tables, st.integers(1, 4))
def test_quartiles_equal_numpys_however_the_values_are_parted(values: np.ndarray, parts: int) -> None:
    def count(wanted: Wanted | None) -> Cells:
        return added(tally([("g", part.astype(float))], wanted) for part in np.array_split(values, parts))

    found = quartiles(count)
    for channel in range(values.shape[1]):
        seen = values[~np.isnan(values[:, channel]), channel].astype(float)
        if not len(seen):
            assert ("g", channel) not in found
            continue
        lower, upper = (np.quantile(seen, [0.25, 0.5, 0.75], method=side) for side in ("lower", "higher"))
        assert (found["g", channel] >= lower).all()
        assert (found["g", channel] <= upper).all()
        expected = np.quantile(seen, [0.25, 0.5, 0.75])
        np.testing.assert_allclose(found["g", channel], expected, rtol=1e-12, atol=1e-12 * np.abs(seen).max())
