"""How the values of each channel lie: quartiles, histograms, outliers, correlations, and the commonest categories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from prep.quality.findings import Correlations, Extreme, Numbers, Words

REACH = 3.0
"""Interquartile ranges beyond the quartiles at which outliers begin: what Tukey called far out."""
BINS = 40
ACCURACY = 10_000
"""Of approximate quantiles: a rank is wrong by a share of at most 1 / ACCURACY."""
CORRELATED = 60
"""At most so many channels are correlated: a table of more than their squares cannot be read."""
COMMONEST = 10


@dataclass(frozen=True)
class Outline:
    """What one pass finds of a channel of numbers, and the next one counts by."""

    lowest: Extreme
    highest: Extreme
    mean: float | None
    deviation: float | None
    quartiles: tuple[float, float, float]

    @property
    def fences(self) -> tuple[float, float] | None:
        low, _, high = self.quartiles
        reach = REACH * (high - low)
        return (low - reach, high + reach) if reach > 0 and math.isfinite(reach) else None

    @property
    def inside(self) -> tuple[float, float]:
        """From where to where the values lie, outliers aside."""
        low, high = self.fences or (-math.inf, math.inf)
        return max(self.lowest.value, low), min(self.highest.value, high)


def outlines(good: DataFrame, columns: Sequence[str]) -> dict[str, Outline]:
    """Of each column of doubles that holds a value: one pass, aggregated on the executors."""
    if not columns:
        return {}
    # A row for each value, rather than some aggregates for each column: Spark compiles no code for hundreds of them.
    values = good.select("series", "time", F.posexplode(F.array(*columns)).alias("column", "value")).where("value is not null")
    placed = F.struct("value", "series", "time")
    rows = values.groupBy("column").agg(
        F.min(placed).alias("lowest"),
        F.max(placed).alias("highest"),
        F.avg("value").alias("mean"),
        F.stddev_pop("value").alias("deviation"),
        F.percentile_approx("value", [0.25, 0.5, 0.75], ACCURACY).alias("quartiles"),
    )
    found = {columns[row["column"]]: _outline(row) for row in rows.collect()}
    return {name: found[name] for name in columns if name in found}


def _outline(row: Row) -> Outline:
    low, middle, high = row["quartiles"]
    return Outline(
        lowest=Extreme(**row["lowest"].asDict()),
        highest=Extreme(**row["highest"].asDict()),
        mean=_finite(row["mean"]),
        deviation=_finite(row["deviation"]),
        quartiles=(low, middle, high),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bin_edges(outline: Outline, whole: bool) -> np.ndarray:
    """(bins + 1,) BINS of equal width, or, of whole numbers in a short range, one bin a number."""
    low, high = outline.inside
    if low == high:
        return np.array([low, high])
    if whole and high - low < BINS:
        return np.arange(math.floor(low), math.ceil(high) + 2) - 0.5
    # Not low + share · (high - low), which is infinite where they are huge.
    share = np.linspace(0, 1, BINS + 1)
    return low * (1 - share) + high * share


def numbers_and_correlations(
    good: DataFrame, outlined: dict[str, Outline], whole: set[str], names: dict[str, str]
) -> tuple[dict[str, Numbers], Correlations]:
    """Histograms, outliers and correlations of the columns outlined: one pass, in which every partition sends on sums alone.

    `whole` are the columns of counts; `names` are what channels are called. A partition's sums are some numbers a bin and four
    a pair of channels; Spark adds them up by place, so that the driver gets them once, whatever the number of partitions.
    """
    columns = list(outlined)
    if not columns:
        return {}, Correlations((), 0, (), ())
    tally = Tally(
        columns=tuple(columns),
        edges=tuple(bin_edges(outlined[name], name in whole) for name in columns),
        inside=np.array([outlined[name].fences or (-np.inf, np.inf) for name in columns]),
        centre=np.array([outlined[name].quartiles[1] for name in columns]),
        # Halves, lest the difference of two huge values be infinite.
        half_range=np.array([outlined[name].highest.value / 2 - outlined[name].lowest.value / 2 for name in columns]),
        correlated=min(len(columns), CORRELATED),
    )
    sums = good.select(*columns).mapInArrow(tally.of_batches, "place long, value double")
    places = sums.groupBy("place").agg(F.sum("value"), F.min("value"), F.max("value")).collect()
    total = np.array([row[1:] for row in sorted(places)]).T
    found = {name: _numbers(outlined[name], tally, index, total) for index, name in enumerate(columns)}
    return found, _correlations(tally, total[0], [names[name] for name in columns])


@dataclass(frozen=True)
class Tally:
    """What is counted in the values of `columns`, and by what.

    The result is one vector: for each column its histogram, the values below and above `inside`, and the lowest and highest
    inside; then, for the first columns, `correlated` of them, four matrices (see `_paired`).
    """

    columns: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    inside: np.ndarray
    """(columns, 2)"""
    centre: np.ndarray
    """(columns,) what is subtracted before values are multiplied: sums of squares stay exact far from zero."""
    half_range: np.ndarray
    """(columns,) half of what the highest is above the lowest"""
    correlated: int
    """How many of the columns are correlated, from the first."""

    def of_batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One batch of place and value for a partition; none for an empty one."""
        sums: list[np.ndarray] | None = None
        pairs = np.zeros((4, self.correlated, self.correlated))
        for batch in batches:
            values = np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns]).astype(float)
            counted = [self._one(values[:, index], index) for index in range(len(self.columns))]
            sums = counted if sums is None else [_add(*both) for both in zip(sums, counted, strict=True)]
            pairs += self._paired(values[:, : self.correlated])
        if sums is not None:
            vector = np.concatenate([*sums, pairs.ravel()])
            yield pa.RecordBatch.from_arrays([pa.array(np.arange(len(vector))), pa.array(vector)], ["place", "value"])

    def offset(self, index: int) -> int:
        """The place at which a column's numbers begin."""
        return sum(len(edges) + 3 for edges in self.edges[:index])

    def _one(self, values: np.ndarray, index: int) -> np.ndarray:
        values = values[np.isfinite(values)]
        low, high = self.inside[index]
        within = values[(values >= low) & (values <= high)]
        ends = (within.min(initial=np.inf), within.max(initial=-np.inf))
        return np.r_[np.histogram(within, self.edges[index])[0], (values < low).sum(), (values > high).sum(), ends]

    def _paired(self, values: np.ndarray) -> np.ndarray:
        """(4, n, n): over readings that hold both i and j, how many, the sums of i and of i squared, and of i times j."""
        count = values.shape[1]
        held = np.isfinite(values)
        centre, scale = self.centre[:count], np.where(self.half_range[:count] > 0, self.half_range[:count], 1.0)
        scaled = np.where(held, (np.where(held, values, centre) / 2 - centre / 2) / scale, 0.0)
        held = held.astype(float)
        return np.stack([held.T @ held, scaled.T @ held, (scaled**2).T @ held, scaled.T @ scaled])


def _add(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts are added; of the last two places, the lower and the higher is kept."""
    return np.r_[first[:-2] + second[:-2], min(first[-2], second[-2]), max(first[-1], second[-1])]


def _numbers(outline: Outline, tally: Tally, index: int, total: np.ndarray) -> Numbers:
    """`total` (3, places): the sum, the lowest and the highest of what the partitions found."""
    start, bins = tally.offset(index), len(tally.edges[index]) - 1
    counts = total[0, start : start + bins]
    below, above = total[0, start + bins : start + bins + 2]
    return Numbers(
        lowest=outline.lowest,
        highest=outline.highest,
        mean=outline.mean,
        deviation=outline.deviation,
        quartiles=outline.quartiles,
        fences=outline.fences,
        whiskers=(float(total[1, start + bins + 2]), float(total[2, start + bins + 3])),
        outliers_below=int(below),
        outliers_above=int(above),
        edges=tuple(tally.edges[index].tolist()),
        counts=tuple(int(number) for number in counts),
    )


def _correlations(tally: Tally, sums: np.ndarray, names: Sequence[str]) -> Correlations:
    count = tally.correlated
    held, single, squares, product = sums[tally.offset(len(tally.columns)) :].reshape(4, count, count)
    spread = held * squares - single**2
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (held * product - single * single.T) / np.sqrt(spread * spread.T)
    # What rounding leaves of a channel that does not vary is no variance.
    varies = spread > 1e-12 * held * squares
    known = varies & varies.T & np.isfinite(values)
    clipped = np.clip(values, -1, 1)
    return Correlations(
        channels=tuple(names[:count]),
        left_out=len(names) - count,
        values=tuple(tuple(float(clipped[i, j]) if known[i, j] else None for j in range(count)) for i in range(count)),
        pairs=tuple(tuple(int(number) for number in row) for row in held),
    )


def commonest_words(good: DataFrame, columns: Sequence[str]) -> dict[str, Words]:
    """Of each column of text that holds a value: one pass, counted and ranked on the executors."""
    if not columns:
        return {}
    pairs = F.explode(F.array(*(F.struct(F.lit(name).alias("name"), F.col(name).alias("word")) for name in columns)))
    counted = good.select(pairs.alias("pair")).select("pair.*").where("word is not null").groupBy("name", "word").count()
    place = F.row_number().over(Window.partitionBy("name").orderBy(F.desc("count"), "word"))
    best = F.when(F.col("place") <= COMMONEST, F.struct("place", "word", "count"))
    found = (
        counted.withColumn("place", place)
        .groupBy("name")
        .agg(F.count(F.lit(1)).alias("distinct"), F.collect_list(best).alias("best"))
    )
    return {
        row["name"]: Words(row["distinct"], tuple((word, count) for _, word, count in sorted(row["best"])))
        for row in found.collect()
    }
