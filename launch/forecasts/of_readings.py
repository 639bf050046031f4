"""Writes the forecasts of a model, after the last readings of every series in a file, to another file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from hindcast.forecasting.card import read_card
from hindcast.forecasting.task import FORECAST
from hindcast.launch.forecasts.of_frames import forecast_readings
from hindcast.launch.forecasts.of_windows import must_be_table, writer_of
from hindcast.launch.watching.runs import run
from hindcast.prep.files import storage
from hindcast.prep.files.names import MANIFEST
from hindcast.prep.files.placing import placed_file
from hindcast.prep.readings.sources import FORMATS


@dataclass
class ForecastCounts:
    """rows     of forecasts
    series   that were forecast
    reasons  why others were not, with the number of series for each
    """

    rows: int = 0
    series: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def are_readings(location: str) -> bool:
    """Whether a location holds readings: its name ends like those of readings, and no dataset lies there."""
    named = Path(location.rstrip("/").removesuffix(".gz")).suffix.lower() in FORMATS
    return named and storage.size_of(storage.join(location, MANIFEST)) is None


def write_forecasts_of_readings(spark: SparkSession, model: Path, readings: str, out: Path, overwrite: bool) -> ForecastCounts:
    """Writes the rows of `forecast_readings` (launch/forecasts/of_frames.py), those of series that were not forecast among them.

    Raises InputError as that does, and where `out` cannot be written.
    """
    must_be_table(out)
    forecasts = forecast_readings(model, readings, spark=spark)
    counts, card = ForecastCounts(), read_card(model)
    data = card.sequences(model)
    schema = pa.schema([*FORECAST.columns(card.gives), ("reason", pa.string())])
    with placed_file(out, overwrite) as staged, writer_of(staged, schema) as writer, tables_of(forecasts) as tables:
        for table in tables:
            writer.write_table(table.cast(schema))
            failed = table.filter(pc.is_valid(table["reason"]))
            counts.reasons.update(failed["reason"].to_pylist())
            counts.rows += table.num_rows - failed.num_rows
    run().wrote("forecasts", out)
    run().count("forecast_rows", counts.rows)
    counts.series = counts.rows // (data.horizon * len(data.channels))
    return counts


@contextmanager
def tables_of(frame: DataFrame) -> Iterator[Iterator[pa.Table]]:
    """A DataFrame partition by partition, computed by all tasks at once and kept on the executors' disks until it is fetched."""
    packed = frame.mapInArrow(_packed, "rows binary").persist(StorageLevel.DISK_ONLY)
    try:
        packed.count()
        yield (pa.ipc.open_stream(row["rows"]).read_all() for row in packed.toLocalIterator())
    finally:
        packed.unpersist()


def _packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["rows"])
