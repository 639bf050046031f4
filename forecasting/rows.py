"""Forecasts as rows: one for every window, step of its horizon and channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from hindcast.forecasting.forecast import Forecast

FIELDS = (
    ("series", pa.string()),
    ("issued", pa.timestamp("us")),
    ("time", pa.timestamp("us")),
    ("step", pa.int32()),
    ("channel", pa.string()),
    ("mean", pa.float32()),
    ("deviation", pa.float32()),
)


def fields_of(levels: Sequence[float]) -> tuple[tuple[str, pa.DataType], ...]:
    """FIELDS, and a column for each quantile that the model gives: q0.05, q0.5 …"""
    return (*FIELDS, *((f"q{level:g}", pa.float32()) for level in levels))


def rows_of(
    forecast: Forecast, series: np.ndarray, issued: np.ndarray, lead: int, step_micros: int, channels: Sequence[str]
) -> list[pa.Array]:
    """The columns `fields_of` a forecast in sensor units: of windows of `series` (windows,) str, each with the time of its
    context's last step, `issued` (windows,) datetime64[us].

    time is what the forecast is for, step how many steps that is after `issued`: lead + 1 … lead + horizon; deviation is null
    where the model gives none.
    """
    windows, horizon, count = forecast.mean.shape
    ahead = lead + np.arange(1, horizon + 1)
    time = issued[:, None] + ahead * np.timedelta64(step_micros, "us")
    window = pa.array(np.repeat(np.arange(windows, dtype=np.int32), horizon * count))
    # Names are gathered by Arrow: as NumPy's they would have to be decoded one by one.
    names = (pa.array(series.tolist(), pa.string()), pa.array(list(channels), pa.string()))
    deviation, quantiles = forecast.deviation, forecast.quantiles
    return [
        names[0].take(window),
        pa.array(issued.astype("datetime64[us]")).take(window),
        pa.array(np.repeat(time.ravel().astype("datetime64[us]"), count)),
        pa.array(np.tile(np.repeat(ahead.astype(np.int32), count), windows)),
        names[1].take(pa.array(np.tile(np.arange(count, dtype=np.int32), windows * horizon))),
        values_of(forecast.mean),
        pa.nulls(windows * horizon * count, pa.float32()) if deviation is None else values_of(deviation),
        *([] if quantiles is None else map(values_of, np.moveaxis(quantiles.values, -1, 0))),
    ]


def values_of(values: np.ndarray) -> pa.Array:
    """(windows, horizon, channels) as one column, null for NaN."""
    return pa.array(values.ravel().astype(np.float32), from_pandas=True)
