"""Writes the forecasts of a model for every window of a split to one file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hindcast.forecasting.forecast import Forecaster
from hindcast.forecasting.rows import fields_of, rows_of, values_of
from hindcast.launch.watching.runs import run
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import WindowBatch
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_file
from hindcast.prep.grid.splits import SPLITS

BATCH = 256


def write_forecasts(
    model: Forecaster, dataset: SequenceDataset, split: str, out: Path, overwrite: bool, on_progress: Callable[[str], None]
) -> int:
    """Writes a row for every window, step of its horizon and channel, and returns how many. Values are in sensor units.

    Columns: series, issued (the time of the context's last step), time (forecast for), step (how many after `issued`: lead + 1 …
    lead + horizon), channel, mean, deviation (empty where the model gives none), its quantiles (q0.05 …) where it gives these,
    actual (empty where nothing was measured). Raises InputError where `out` cannot be written.
    """
    must_have_windows(dataset, split)
    must_be_table(out)
    windows = dataset.windows(split)
    rows = so_far = 0
    tables = (forecast_table(model, dataset, batch) for batch in windows.batches(BATCH))
    first = next(tables)
    with placed_file(out, overwrite) as staged, writer_of(staged, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
            rows, so_far = rows + table.num_rows, min(so_far + BATCH, len(windows))
            on_progress(f"{so_far:,} of {len(windows):,} windows")
    run().wrote("forecasts", out)
    run().count("forecast_rows", rows)
    return rows


def forecast_table(model: Forecaster, dataset: SequenceDataset, batch: WindowBatch) -> pa.Table:
    """The forecasts of a batch of windows as rows, in sensor units, with the values that were measured."""
    centre, scale = dataset.scaling.of(batch.series)
    forecast = model.forecast(batch.given).in_units(centre, scale)
    actual = np.where(batch.target_observed, batch.target * scale[:, None] + centre[:, None], np.nan)
    issued = batch.start + (dataset.layout.context - 1) * np.timedelta64(dataset.step_micros, "us")
    columns = rows_of(forecast, batch.series, issued, dataset.layout.lead, dataset.step_micros, dataset.channels)
    levels = forecast.quantiles.levels if forecast.quantiles else ()
    schema = pa.schema([*fields_of(levels), ("actual", pa.float32())])
    return pa.Table.from_arrays([*columns, values_of(actual)], schema=schema)


def must_have_windows(dataset: SequenceDataset, split: str) -> None:
    """Raises InputError for an unknown split, and for a split without windows."""
    if split not in SPLITS:
        raise InputError(f"--split {split}: expected one of {', '.join(SPLITS)}")
    if not dataset.manifest.windows(split):
        raise InputError(f"{dataset.location}: the {split} split has no windows")


def must_be_table(out: Path) -> None:
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out}: expected a name that ends in .csv or .parquet")


def writer_of(path: Path, schema: pa.Schema) -> pq.ParquetWriter | pa_csv.CSVWriter:
    return pq.ParquetWriter(path, schema) if path.suffix == ".parquet" else pa_csv.CSVWriter(path, schema)
