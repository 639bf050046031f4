"""`forecast_readings`: the forecasts of a saved model after the last readings of every series, in a DataFrame or in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from hindcast.forecasting.card import Card, must_forecast
from hindcast.forecasting.rows import rows_of
from hindcast.forecasting.task import FORECAST
from hindcast.launch.forecasts.shipping import ShippedModel, load_shipped, ship
from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.errors import InputError
from hindcast.prep.latest.contexts import ContextRequest, Contexts, contexts_of
from hindcast.prep.latest.incoming import readings_by_series
from hindcast.prep.spark.workers import settle

ROWS_A_BATCH = 100_000


def forecast_readings(
    model: str | Path, readings: DataFrame | str | Path | Sequence[str], *, spark: SparkSession | None = None
) -> DataFrame:
    """The forecasts of each series for the horizon after its last readings, in the units of the sensor; computed when read.

    readings   a DataFrame with the columns that the model was trained on, or files with them, which need a session as `spark`

    Columns: series, issued (the time of the context's last step), time (forecast for), step (how many after `issued`), channel,
    mean, deviation (null where the model gives none), its quantiles (q0.05 …) where it gives these, reason. The readings are put
    on the model's grid by the rules by which its dataset was prepared, and scaled as that was. A series that cannot be forecast
    has one row, with the time of its last reading as `issued`, the reason, and nothing else; readings that do not say their
    series have one for each column at fault.

    Raises InputError for a folder without a sound model, a model that needs more than readings, and readings without its columns.
    """
    folder, frame = Path(model), readings if isinstance(readings, DataFrame) else None
    session = spark or (frame.sparkSession if frame is not None else None)
    if session is None:
        raise ValueError("files are read by Spark: give a session as `spark`")
    shipped, card = ship(folder, session.sparkContext)
    preparation = preparation_for(card, folder)
    paths = (str(readings),) if isinstance(readings, str | Path) else readings
    schema = from_arrow_schema(schema_of(card), prefer_timestamp_ntz=False)
    return readings_by_series(session, paths, preparation).mapInArrow(_forecaster(shipped), schema)


def schema_of(card: Card[Any]) -> pa.Schema:
    """The schema of forecasts with these models' columns, and the reason; times are in UTC, as Spark keeps them."""
    zoned = [
        (name, pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind)
        for name, kind in FORECAST.columns(card.gives)
    ]
    return pa.schema([*zoned, ("reason", pa.string())])


def preparation_for(card: Card[Any], folder: Path) -> Preparation:
    """How readings are prepared for this model. Raises InputError where its card does not say, or it needs a second table."""
    data = must_forecast(card, folder)
    if data.preparation is None:
        raise InputError(
            f"{folder}: was written by an earlier Hindcast, and does not say how readings become its windows. Fit it again, or "
            "prepare the readings and forecast the dataset"
        )
    if not data.covariates:
        return data.preparation.of_channels_alone
    if data.preparation.joined:
        raise InputError(
            f"{folder}: was fitted with covariates of a second table ({', '.join(data.preparation.joined)}), which readings "
            "alone do not have. Prepare the readings and forecast the dataset"
        )
    return data.preparation


def _forecaster(shipped: ShippedModel) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def forecast(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        filled = (batch for batch in batches if batch.num_rows)
        first = next(filled, None)
        if first is None:
            return
        model = load_shipped(shipped)
        settle()
        card = model.card
        assert card is not None, "the model was saved"
        data = card.sequences(shipped.folder)
        request = ContextRequest(
            preparation_for(card, Path(shipped.folder)), data.scaling, data.context, data.lead + data.horizon
        )
        arrivals = request.arrivals()
        arrivals.add(first)
        for batch in filled:
            arrivals.add(batch)
        for contexts in contexts_of(arrivals, request):
            if len(contexts.given.series):
                centre, scale = data.scaling.of(contexts.given.series)
                issued = contexts.given.start + (data.context - 1) * np.timedelta64(data.step_micros, "us")
                forecasts = model.forecast(contexts.given).in_units(centre, scale)
                rows = rows_of(forecasts, contexts.given.series, issued, data.lead, data.step_micros, data.channels)
                yield from _batches(rows, schema_of(card))
            if contexts.failures:
                yield _reason_rows(contexts, schema_of(card))

    return forecast


def _batches(columns: list[pa.Array], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = len(columns[0])
    every = [*columns, pa.nulls(rows, pa.string())]
    whole = pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(every, schema, strict=True)], schema=schema
    )
    for first in range(0, rows, ROWS_A_BATCH):
        yield whole.slice(first, ROWS_A_BATCH)


def _reason_rows(contexts: Contexts, schema: pa.Schema) -> pa.RecordBatch:
    series, last, reasons = zip(*contexts.failures, strict=True)
    arrays = {"series": pa.array(series, pa.string()), "reason": pa.array(reasons, pa.string())}
    arrays["issued"] = pa.array(np.array(last, "datetime64[us]")).cast(schema.field("issued").type)
    columns = [arrays.get(field.name, pa.nulls(len(series), field.type)) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
