from __future__ import annotations

import numpy as np

from hindcast.forecasting.forecast import Forecast, Quantiles
from hindcast.forecasting.rows import fields_of, rows_of

ISSUED = np.array(["2025-01-01T00", "2025-01-01T05"], "datetime64[us]")


def test_each_quantile_has_a_column_and_each_row_its_own() -> None:
    values = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    quantiles = Quantiles((0.05, 0.5), values)
    columns = rows_of(Forecast(quantiles.median, quantiles=quantiles), np.array(["a", "b"]), ISSUED, 1, 3_600_000_000, ("x", "y"))
    names = [name for name, _ in fields_of(quantiles.levels)]
    assert names[-2:] == ["q0.05", "q0.5"]
    rows = dict(zip(names, (column.to_pylist() for column in columns), strict=True))
    assert rows["q0.05"] == values[..., 0].ravel().tolist()
    assert rows["mean"] == rows["q0.5"] == values[..., 1].ravel().tolist()
    assert (rows["series"][5:7], rows["channel"][:3], rows["step"][:6]) == (["a", "b"], ["x", "y", "x"], [2, 2, 3, 3, 4, 4])
    assert str(rows["time"][0]) == "2025-01-01 02:00:00"
    assert rows["deviation"] == [None] * 12
