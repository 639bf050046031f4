"""New readings for a model, grouped by series in one shuffle."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.readings.loading import load
from hindcast.prep.spec import ReadingsSpec, validate

PARTITION_BYTES = 1 << 25
# What Spark says of a size that it does not know is next to the largest number there is.
UNKNOWN_BYTES = 1 << 60


def readings_by_series(spark: SparkSession, readings: DataFrame | Sequence[str], preparation: Preparation) -> DataFrame:
    """The readings of a DataFrame, or of files; all readings of a series are in one partition, in no order.

    series (string), time (long, microseconds since the epoch, UTC), reason (string: the column at fault, null in a good row),
    c0 … (double: channels), a0 … (string: attributes), and position (long) where the order of readings of one time matters.

    Raises InputError for columns that are not there, or of a type that cannot hold what they should.
    """
    paths = () if isinstance(readings, DataFrame) else tuple(readings)
    spec = validate(ReadingsSpec, preparation.readings.model_dump() | {"path": paths}, "readings")
    attributes = tuple(column.name for column in preparation.attributes)
    frame = readings if isinstance(readings, DataFrame) else None
    loaded = load(spark, spec, attributes=attributes, frame=frame, ordered=preparation.ordered, only_series=preparation.series)
    rows = loaded.checked.select(
        "series",
        "time",
        "reason",
        *(F.col(f"value_{number}").alias(f"c{number}") for number in range(len(preparation.channels))),
        *(F.col(f"attribute_{number}").alias(f"a{number}") for number in range(len(attributes))),
        *(["position"] if preparation.ordered else []),
    )
    count = _partitions(rows)
    return rows.repartition("series") if count is None else rows.repartition(count, "series")


def _partitions(rows: DataFrame) -> int | None:
    """As many as the size of the rows asks for; Spark's own 200, each with a Python task, are many for a small file and few for a
    large one. None where Spark cannot say how large they are."""
    size = int(str(rows._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()))
    if size >= UNKNOWN_BYTES:
        return None
    return max(2 * rows.sparkSession.sparkContext.defaultParallelism, size // PARTITION_BYTES)
