"""Timestamps of any kind as microseconds since the epoch, UTC; the hour that comes twice in autumn is told apart."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DateType,
    IntegralType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from hindcast.prep.errors import InputError
from hindcast.prep.readings.sources import Source, escaped, quoted
from hindcast.prep.spec import EPOCHS, SourceSpec

# Columns that `with_time` adds, and one in between.
TIME, AGAIN, LOCAL = "_hindcast_time", "_hindcast_again", "_hindcast_local"
SECOND, DAY = 1_000_000, 86_400_000_000
# What datetime can say: the years 1 to 9999.
EARLIEST, LATEST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND - 1
# Clocks were first put back in earnest in this year, and no zone's rules are known after that.
FIRST_YEAR, LAST_YEAR = 1850, 2100
# An offset or a zone comes after minutes or seconds; without seconds, Spark does not know it.
HAS_OFFSET = r":\d\d(?:\.\d*)?\s*(?:[+-]|[A-Za-z])"
NO_SECONDS = r"^(\S+[T ]\d{1,2}:\d\d)(\s*[+\-A-Za-z])"


def with_time(source: Source, spec: SourceSpec, what: str) -> DataFrame:
    """The rows of the source with TIME (long, microseconds since the epoch, UTC), null where it is not understood.

    A time that names its offset or zone keeps it, as does a column of Spark's timestamps; all others are local times of
    `spec.time_zone`, whichever the session's. A local time that its zone left out, when clocks were put forward, is null. Where
    the zone ever put clocks back and the column holds local times, there is AGAIN (long) too: how many microseconds later the
    same local time came again, null where it came once; TIME is then the first, and `told_apart` finds the second.

    Raises InputError for numbers without a format, a format that is no pattern, and a column that holds no times; `what` is the
    table of the settings, for errors.
    """
    local, absolute = _local_and_absolute(source, spec, what)
    if local is None:
        return source.frame.withColumn(TIME, _within_reach(absolute))
    offset, changes = clock(spec.time_zone)
    frame = source.frame.withColumn(LOCAL, local)
    instant = F.col(LOCAL) - F.lit(offset) if offset is not None else _first_instant(spec.time_zone)
    frame = frame.withColumn(TIME, _within_reach(F.coalesce(instant, absolute)))
    if changes:
        lengths = sorted({length for _, length in changes})
        comes_again = (F.when(_local(F.col(TIME) + length, spec.time_zone) == F.col(LOCAL), F.lit(length)) for length in lengths)
        frame = frame.withColumn(AGAIN, F.coalesce(*comes_again))
    return frame.drop(LOCAL)


def told_apart(frame: DataFrame, zone: str, series: Column, position: str) -> DataFrame:
    """`frame` with TIME moved to the second pass through a local time that came twice, for the readings that belong there.

    Those are the readings before which, in the order of `position`, the same series has one of the same clock change whose local
    time is not earlier: the readings of a series are to lie in the order of time. AGAIN is gone afterwards. Only readings of such
    hours are shuffled; the source is read twice, for them and for the others.
    """
    if AGAIN not in frame.columns:
        return frame
    starts = F.array(*(F.lit(start) for start, _ in clock(zone)[1]))
    change = F.size(F.filter(starts, lambda start: start <= F.col(TIME)))
    before = Window.partitionBy(series, change).orderBy(position).rowsBetween(Window.unboundedPreceding, -1)
    second = F.when(F.max(TIME).over(before) >= F.col(TIME), F.col(AGAIN)).otherwise(F.lit(0))
    twice = frame.where(F.col(AGAIN).isNotNull())
    moved = twice.withColumn(TIME, F.col(TIME) + second)
    return frame.where(F.col(AGAIN).isNull()).union(moved).drop(AGAIN)


def left_out(spark: SparkSession, text: str, spec: SourceSpec) -> bool:
    """Whether a text is a local time that `spec.time_zone` left out when its clocks were put forward."""
    if spec.timestamp_format in EPOCHS:
        return False
    local, _ = _of_text("text", spec.timestamp_format)
    if local is None:
        return False
    shown = spark.range(1).select(F.lit(text).alias("text")).select(local.alias(LOCAL))
    row = shown.select(LOCAL, _first_instant(spec.time_zone).alias(TIME)).first()
    return row is not None and row[LOCAL] is not None and row[TIME] is None


@lru_cache
def clock(zone: str) -> tuple[int | None, tuple[tuple[int, int], ...]]:
    """A zone's offset from UTC in microseconds if it never changed, and each time that its clocks were put back.

    Those as pairs of microseconds: a time since the epoch, UTC, within two days before the first local time that came twice, and
    by how much the clocks were put back.
    """
    if zone == "UTC":  # the commonest, without a look at a hundred thousand days
        return 0, ()
    rules, day = ZoneInfo(zone), timedelta(days=1)
    days = [datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) + n * day for n in range(365 * (LAST_YEAR - FIRST_YEAR))]
    offsets = [_offset(moment.astimezone(rules)) for moment in days]
    back = zip(days, pairwise(offsets), strict=False)
    changes = tuple((round((at - day).timestamp()) * SECOND, old - new) for at, (old, new) in back if new < old)
    return (offsets[0] if len({*offsets}) == 1 else None), changes


def _offset(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None, "the moment has a zone"
    return offset // timedelta(microseconds=1)


def _local_and_absolute(source: Source, spec: SourceSpec, what: str) -> tuple[Column | None, Column]:
    """Microseconds on the wall's clock, None where the column holds no local times, and microseconds since the epoch."""
    kind, column, form = source.types[spec.timestamp], quoted(spec.timestamp), spec.timestamp_format
    if isinstance(kind, TimestampType):
        return None, F.unix_micros(column)
    if isinstance(kind, DateType | TimestampNTZType):
        return _wall(column.cast("timestamp_ntz")), F.lit(None).cast("long")
    if not isinstance(kind, NumericType | StringType):
        raise InputError(f"{source.name}: column {spec.timestamp!r} is of type {kind.simpleString()}; times were expected")
    if form in EPOCHS:
        return None, _epoch(spec.timestamp, kind, form)
    if form is None and isinstance(kind, NumericType):
        raise InputError(
            f"{source.name}: column {spec.timestamp!r} holds numbers; times such as 2016-07-01 00:00:00 were expected. "
            f"{numbers_need_a_format(what)}"
        )
    if form is not None:
        _must_be_pattern(source.frame.sparkSession, form, what)
    return _of_text(f"trim(cast({escaped(spec.timestamp)} as string))", form)


def numbers_need_a_format(what: str) -> str:
    """How to mend numbers where times were expected."""
    return (
        f'Say what the numbers are: {what}.timestamp_format = "epoch_s" for seconds since 1970 (or epoch_ms, epoch_us, '
        'epoch_ns), or a pattern such as "yyyyMMdd"'
    )


def _of_text(text: str, form: str | None) -> tuple[Column | None, Column]:
    """As `_local_and_absolute`, of an expression in SQL for a text without blanks around it."""
    return _iso(text) if form is None else _by_pattern(F.expr(text), form)


def _iso(text: str) -> tuple[Column, Column]:
    # A year has four digits: Spark would make a year of other numbers too, and today's date of a time without one.
    dated = F.expr(f"substring({text}, 5, 1) = '-' or length({text}) = 4")
    offset = F.expr(text).rlike(HAS_OFFSET)
    local = _wall(F.expr(f"try_cast({text} as timestamp_ntz)"))
    absolute = F.unix_micros(F.expr(f"try_cast(regexp_replace({text}, r'{NO_SECONDS}', '$1:00$2') as timestamp)"))
    return F.when(dated & ~offset, local), F.when(dated & offset, absolute)


def _by_pattern(text: Column, pattern: str) -> tuple[Column | None, Column]:
    """An offset or zone in the pattern is the time's own; within brackets, it may be left out of a text."""
    absolute = F.unix_micros(F.try_to_timestamp(text, F.lit(pattern)))
    bare = re.sub(r"\[[^][]*[XxzVOZ][^][]*\]", "", pattern)
    if _names_zone(bare):
        return None, absolute
    # Read as UTC, whatever the session's zone.
    local = F.unix_micros(F.try_to_timestamp(F.concat(text, F.lit(" Z")), F.lit(f"{bare} X")))
    return local, F.when(local.isNull(), absolute) if bare != pattern else F.lit(None).cast("long")


def _names_zone(pattern: str) -> bool:
    return re.search("[XxzVOZ]", re.sub("'[^']*'", "", pattern)) is not None


def _must_be_pattern(spark: SparkSession, pattern: str, what: str) -> None:
    # By default a text that an older Spark would have understood ends the whole run; CORRECTED makes it null, as any other.
    if spark.conf.get("spark.sql.legacy.timeParserPolicy") == "EXCEPTION":
        spark.conf.set("spark.sql.legacy.timeParserPolicy", "CORRECTED")
    try:
        spark.range(1).select(F.to_timestamp(F.lit("?"), pattern)).collect()
    except PySparkException as error:
        raise InputError(
            f"{what}.timestamp_format: expected a pattern such as dd.MM.yyyy HH:mm or one of {', '.join(EPOCHS)}, found "
            f"{pattern!r}: {str(error).strip().splitlines()[0]}"
        ) from None


def _epoch(name: str, kind: DataType, form: str) -> Column:
    if isinstance(kind, IntegralType):
        number = quoted(name).cast("long")
        if form == "epoch_ns":
            return F.expr(f"({escaped(name)} - pmod({escaped(name)}, 1000L)) div 1000L")
        return F.try_multiply(number, F.lit(int(EPOCHS[form])))
    # Decimals, because a double of nanoseconds is off by some hundred of them.
    exact = F.expr(f"try_cast({escaped(name)} as decimal(28, 9))") * F.lit(Decimal(str(EPOCHS[form])))
    return F.floor(exact).cast("long")


def _wall(local: Column) -> Column:
    """Microseconds since the epoch that a wall's clock showed, as if in UTC."""
    since = local - F.expr("timestamp_ntz'1970-01-01'")
    return (since.cast("decimal(24, 6)") * SECOND).cast("long")


def _first_instant(zone: str) -> Column:
    """The first instant at which a clock showed LOCAL; null where none did."""
    instant = F.unix_micros(F.to_utc_timestamp(F.timestamp_micros(LOCAL), zone))
    return F.when(_local(instant, zone) == F.col(LOCAL), instant)


def _local(instant: Column, zone: str) -> Column:
    return F.unix_micros(F.from_utc_timestamp(F.timestamp_micros(instant), zone))


def _within_reach(micros: Column) -> Column:
    return F.when(micros.between(EARLIEST, LATEST), micros)
