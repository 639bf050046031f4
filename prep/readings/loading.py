"""Raw readings as one Spark table, with every row that cannot be used named or set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, NumericType, StringType

from hindcast.prep.errors import InputError
from hindcast.prep.readings.bad_rows import RAGGED, explain
from hindcast.prep.readings.cells import Kind, cell_of, finite, missing, must_hold
from hindcast.prep.readings.sources import (
    FILE,
    LINE,
    POSITION,
    Source,
    escaped,
    literal,
    open_source,
    quoted,
    seen_by_all,
    with_position,
)
from hindcast.prep.readings.times import AGAIN, TIME, told_apart, with_time
from hindcast.prep.scaling.bounds import Bounds
from hindcast.prep.spec import ReadingsSpec

__all__ = ["Channel", "Readings", "explain", "load"]

SAMPLE = 1000
# So many channels are checked by compiled code.
COMPILED = 50
# The column of `Readings.keys` for a part of the series' name which is itself called "series".
SERIES_PART = "_hindcast_series"


@dataclass(frozen=True)
class Channel:
    """A quantity that is read: a real number, a count (whole, not negative), or one of a set of codes or words."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Readings:
    """Every reading, those that can be used and those that cannot.

    checked  a row for each row of the source; in wide form for each of its cells, and one for a row without a time:
             series (string, null where bad), time (long, microseconds since the epoch, UTC, null where bad),
             position (long: the order by file name and place in the file; 0 unless it was asked for or times needed it),
             value_0 … (double, or string for a category; null where missing or bad), label_0 …, attribute_0 … (string, null
             where missing), reason (string: the column at fault, or RAGGED; null for a good row)
    bad      the bad ones: reason, file, row (JSON text of every column as read), time (long or null)
    keys     one row for each series with a good reading: series, and each of the series' columns as string under its own name;
             where no column names series, one for each that there could be
    """

    checked: DataFrame
    bad: DataFrame
    channels: tuple[Channel, ...]
    labels: tuple[str, ...]
    attributes: tuple[str, ...]
    keys: DataFrame

    @property
    def good(self) -> DataFrame:
        """`checked` without bad rows and without `reason`."""
        return self.checked.where("reason is null").drop("reason")


def load(
    spark: SparkSession,
    spec: ReadingsSpec,
    *,
    attributes: tuple[str, ...] = (),
    frame: DataFrame | None = None,
    ordered: bool = False,
    only_series: str | None = None,
    bounds: Bounds = Bounds(),
    what: str = "readings",
) -> Readings:
    """The readings that a spec names, or those of a DataFrame. Nothing is computed but what decides which columns are channels.

    A reading is bad where its time or series is missing or not understood, or a value is not of its channel's kind, or beyond the
    `bounds`. The texts in MISSING are missing values; of a category, only those which are not in its vocabulary. Labels and
    `attributes` are columns taken as they are. `ordered` asks for `position`. `what` is the table of the settings, for errors.

    The series of several columns is their texts, joined by "/"; without a column, all readings are of one series: `only_series`,
    or where that is not given, one named like the file or table. Raises InputError for a missing, empty or unreadable source, a
    missing column, or one of a type that cannot hold what it should.
    """
    source = open_source(spark, spec, frame, what)
    source.must_have(spec.timestamp, *spec.series, *spec.values, *spec.labels, *attributes)
    if spec.form == "wide":
        if attributes:
            raise InputError(f"{source.name}: in wide form every column is a series; read attributes from a table of their own")
        return _load_wide(source, spec, ordered, bounds, what)
    source.must_have(*spec.counts, *spec.categories)
    channels = _channels(source, spec, {spec.timestamp, *spec.series, *spec.labels, *attributes})
    for channel in channels:
        must_hold(source, channel.name, channel.kind)
    cells = [
        cell_of(
            escaped(channel.name),
            source.types[channel.name],
            channel.kind,
            spec.categories.get(channel.name),
            bounds.of_channel(number),
        )
        for number, channel in enumerate(channels)
    ]
    only = spec.only_series if only_series is None else only_series
    series = named(list(_parts(spec).values())) if spec.series else F.lit(only)
    reasons = [F.when(part.isNull(), F.lit(name)) for name, part in _parts(spec).items()]
    reasons += [
        F.expr(f"if({cell.fault}, {literal(channel.name)}, null)")
        for channel, cell in zip(channels, cells, strict=True)
        if cell.fault
    ]
    frame = bounds.beside(_timed(source, spec, ordered, what), series)
    reason = F.coalesce(_row_fault(spec), _first(reasons))
    checked = told_apart(frame, spec.time_zone, series, POSITION).select(
        series.alias("series"),
        F.col(TIME).alias("time"),
        F.col(POSITION).alias("position"),
        *(F.expr(cell.value).alias(f"value_{number}") for number, cell in enumerate(cells)),
        *(as_text(name).alias(f"label_{number}") for number, name in enumerate(spec.labels)),
        *(as_text(name).alias(f"attribute_{number}") for number, name in enumerate(attributes)),
        reason.alias("reason"),
    )
    bad = _bad(source, frame.withColumn("_hindcast_reason", reason).where("_hindcast_reason is not null"))
    keys = _keys(frame.where(reason.isNull()), spec, series) if spec.series else _one_each(spark, [only])
    return Readings(checked, bad, channels, spec.labels, attributes, keys)


def _load_wide(source: Source, spec: ReadingsSpec, ordered: bool, bounds: Bounds, what: str) -> Readings:
    names = spec.values or tuple(name for name in source.types if name != spec.timestamp)
    if not names:
        raise InputError(f"{source.name}: no column beside {spec.timestamp!r}; in wide form each is a series")
    channel = Channel(spec.channel, _kind(spec, spec.channel))
    for name in names:
        must_hold(source, name, channel.kind)
    # One expression for all cells, and not one for each: a thousand columns would be more than a Java method holds.
    texts = channel.kind == "category" or any(isinstance(source.types[name], StringType) for name in names)
    kind = StringType() if texts else DoubleType()
    cells = ", ".join(f"cast({escaped(name)} as {kind.simpleString()})" for name in names)
    series = f"array({', '.join(map(literal, names))})"
    scaled = bounds.of_series(names, "_hindcast_number")
    cell = cell_of("_hindcast_cell", kind, channel.kind, spec.categories.get(channel.name), scaled)
    fault = f"if({cell.fault or 'false'}, {series}[_hindcast_number], null)"
    frame = _timed(source, spec, ordered, what).withColumn("_hindcast_row_fault", _row_fault(spec))
    frame = frame.withColumn("_hindcast_cells", F.expr(f"if(_hindcast_row_fault is null, array({cells}), array(null))"))
    # Outer, because Spark would else infer from it a filter on all cells, and from that another for each set of columns.
    unpivoted = told_apart(frame, spec.time_zone, F.lit(0), POSITION).select(
        TIME, POSITION, "_hindcast_row_fault", F.posexplode_outer("_hindcast_cells").alias("_hindcast_number", "_hindcast_cell")
    )
    checked = unpivoted.select(
        F.expr(f"if(_hindcast_row_fault is null, {series}[_hindcast_number], null)").alias("series"),
        F.col(TIME).alias("time"),
        F.col(POSITION).alias("position"),
        F.expr(cell.value).alias("value_0"),
        F.expr(f"coalesce(_hindcast_row_fault, {fault})").alias("reason"),
    )
    faults = f"transform(_hindcast_cells, (_hindcast_cell, _hindcast_number) -> {fault})"
    reasons = f"if(_hindcast_row_fault is null, array_compact({faults}), array(_hindcast_row_fault))"
    bad = _bad(
        source, frame.withColumn("_hindcast_reason", F.explode_outer(F.expr(reasons))).where("_hindcast_reason is not null")
    )
    return Readings(checked, bad, (channel,), (), (), _one_each(frame.sparkSession, names))


def _timed(source: Source, spec: ReadingsSpec, ordered: bool, what: str) -> DataFrame:
    frame = with_time(source, spec, what)
    if ordered or AGAIN in frame.columns:
        return with_position(source, frame)
    return frame.withColumn(POSITION, F.lit(0).cast("long"))


def _row_fault(spec: ReadingsSpec) -> Column:
    return F.when(F.col(LINE).isNotNull(), F.lit(RAGGED)).when(F.col(TIME).isNull(), F.lit(spec.timestamp))


def _bad(source: Source, frame: DataFrame) -> DataFrame:
    row = F.to_json(F.struct(*map(quoted, source.types), LINE))
    return frame.select(
        F.col("_hindcast_reason").alias("reason"), F.col(FILE).alias("file"), row.alias("row"), F.col(TIME).alias("time")
    )


def _keys(good: DataFrame, spec: ReadingsSpec, series: Column) -> DataFrame:
    own = {SERIES_PART if name.lower() == "series" else name: part for name, part in _parts(spec).items()}
    return good.select(series.alias("series"), *(part.alias(name) for name, part in own.items())).distinct()


def _one_each(spark: SparkSession, series: Sequence[str]) -> DataFrame:
    return spark.createDataFrame([(name,) for name in series], "series string")


def _parts(spec: ReadingsSpec) -> dict[str, Column]:
    return {name: as_text(name) for name in spec.series}


def named(parts: Sequence[Column]) -> Column:
    """The name of a series by the texts of its columns; null where one is null."""
    if len(parts) == 1:
        return parts[0]
    # So that "a/b" with "c" is another series than "a" with "b/c".
    apart = [F.replace(F.replace(part, F.lit("\\"), F.lit("\\\\")), F.lit("/"), F.lit("\\/")) for part in parts]
    return F.concat(apart[0], *(piece for part in apart[1:] for piece in (F.lit("/"), part)))


def as_text(name: str) -> Column:
    """The column as text, null where there is none."""
    text = quoted(name).cast("string")
    return F.when(F.trim(text) != "", text)


def _channels(source: Source, spec: ReadingsSpec, taken: set[str]) -> tuple[Channel, ...]:
    names = spec.values
    if not names:
        named = {*spec.counts, *spec.categories}
        numeric = _numeric_columns(source, [name for name in source.types if name not in taken | named])
        names = tuple(name for name in source.types if name in numeric | named)
    if not names:
        raise InputError(f"{source.name}: no column of numbers beside {spec.timestamp!r}; name the channels with readings.values")
    return tuple(Channel(name, _kind(spec, name)) for name in names)


def _kind(spec: ReadingsSpec, name: str) -> Kind:
    return "count" if name in spec.counts else "category" if name in spec.categories else "real"


def _first(reasons: list[Column]) -> Column:
    """The first that is not null. Many are not compiled, as they would be more than a Java method holds."""
    if len(reasons) <= COMPILED:
        return F.coalesce(F.lit(None).cast("string"), *reasons)
    return F.get(F.filter(F.array(*reasons), lambda reason: reason.isNotNull()), F.lit(0))


def _numeric_columns(source: Source, candidates: list[str]) -> set[str]:
    """The columns of numbers: by type, or for text by what most of a sample is; of the whole where the sample has nothing."""
    texts = [name for name in candidates if isinstance(source.types[name], StringType)]
    numeric = {name for name in candidates if isinstance(source.types[name], NumericType)}
    for sample in (True, False):
        if not texts:
            break
        present = [F.expr(f"not ({missing(escaped(name), StringType())})") for name in texts]
        numbers = [F.expr(f"{finite(escaped(name), StringType())} is not null") for name in texts]
        if sample:
            # Counted here: an aggregate would be a shuffle, and of the first rows of every partition.
            with seen_by_all(source.name):
                rows = source.frame.limit(SAMPLE).select(F.array(*present, *numbers)).collect()
            counts = [sum(column) for column in zip(*(row[0] for row in rows), strict=True)] or [0] * 2 * len(texts)
        else:
            counts = source.frame.agg(F.array(*map(F.count_if, [*present, *numbers]))).collect()[0][0]
        of_each = list(zip(texts, counts[: len(texts)], counts[len(texts) :], strict=True))
        numeric |= {name for name, p, n in of_each if 2 * n > p}
        texts = [name for name, p, _ in of_each if not p]
    return numeric
