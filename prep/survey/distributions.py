"""How the values of each channel lie: quartiles, histograms, outliers, correlations, and the commonest categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from hindcast.prep.survey.findings import Correlations, Extreme, Numbers, Words
from hindcast.prep.survey.tally import BINS, SCHEMA, Counts, Plan, bin_edges

REACH = 3.0
"""Interquartile ranges beyond the quartiles at which outliers begin: what Tukey called far out."""
ACCURACY = 10_000
"""Of approximate quantiles: a rank is wrong by a share of at most 1 / ACCURACY."""
CORRELATED, CORRELATED_ALONE = 60, 24
"""At most so many channels are correlated, of all series and of one: a table of more than their squares cannot be read."""
MATRICES = 12
"""Of so many series, the first, channels are correlated in each by itself."""
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


def outlines(good: DataFrame, columns: Sequence[str], alone: Sequence[str] = ()) -> list[dict[str, Outline]]:
    """Of each column of doubles that holds a value: of all series together, then of each series of `alone` by itself.

    One pass, aggregated on the executors; a quartile is kept there as a summary of bounded size, whatever it is of.
    """
    groups: list[dict[str, Outline]] = [{} for _ in range(len(alone) + 1)]
    if not columns:
        return groups
    # A row for each value, rather than some aggregates for each column: Spark compiles no code for hundreds of them.
    values = good.select("series", "time", group_of(alone).alias("grp"), F.posexplode(F.array(*columns)).alias("column", "value"))
    values = values.where("value is not null")
    if alone:
        both = F.when(F.col("grp") > 0, F.array(F.lit(0), "grp")).otherwise(F.array(F.lit(0)))
        values = values.withColumn("grp", F.explode(both))
    placed = F.struct("value", "series", "time")
    rows = values.groupBy("grp", "column").agg(
        F.min(placed).alias("lowest"),
        F.max(placed).alias("highest"),
        F.avg("value").alias("mean"),
        F.stddev_pop("value").alias("deviation"),
        F.percentile_approx("value", [0.25, 0.5, 0.75], ACCURACY).alias("quartiles"),
    )
    for row in sorted(rows.collect(), key=lambda row: row["column"]):
        groups[row["grp"]][columns[row["column"]]] = _outline(row)
    return groups


def group_of(alone: Sequence[str]) -> Column:
    """From 1, the place among `alone` of the series of a reading; 0 where it is none of them."""
    if not alone:
        return F.lit(0)
    return F.call_function("array_position", F.array(*map(F.lit, alone)), F.col("series")).cast("int")


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


def numbers_and_correlations(
    good: DataFrame, outlined: list[dict[str, Outline]], alone: Sequence[str], whole: set[str], names: dict[str, str]
) -> list[tuple[dict[str, Numbers], Correlations]]:
    """Histograms, outliers and correlations of what is outlined: one pass, in which every partition sends on sums alone.

    `outlined` is of `alone`; `whole` are the columns of counts; `names` are what channels are called, which is what the numbers
    found are by. A partition's sums are some numbers a bin and four a pair of channels; Spark adds them up by place, so that the
    driver gets them once, whatever the number of partitions.
    """
    columns = list(outlined[0])
    if not columns:
        return [({}, Correlations((), 0, (), ())) for _ in outlined]
    plan = _plan(columns, outlined, whole)
    sums = good.select(group_of(alone).alias("grp"), *columns).mapInArrow(plan.of_batches, SCHEMA)
    added = sums.groupBy("grp", "place").agg(
        F.sum("value").alias("sum"), F.min("value").alias("low"), F.max("value").alias("high")
    )
    by_group = dict(iter(added.toPandas().sort_values("place").groupby("grp")))
    results = []
    for number, group in enumerate(outlined):
        counts = Counts.empty(len(columns), plan.correlated[number])
        if number in by_group:
            rows = by_group[number]
            counts = Counts.of_sums(rows["sum"].to_numpy(), rows["low"].to_numpy(), rows["high"].to_numpy(), len(columns))
        numbers = {names[name]: _numbers(outline, plan, counts, number, columns.index(name)) for name, outline in group.items()}
        results.append((numbers, _correlations(counts.pairs, [names[name] for name in columns])))
    return results


def _plan(columns: Sequence[str], outlined: list[dict[str, Outline]], whole: set[str]) -> Plan:
    shape = (len(outlined), len(columns))
    plan = Plan(
        columns=tuple(columns),
        edges=np.zeros((*shape, BINS + 1)),
        bins=np.ones(shape, int),
        inside=np.tile([-np.inf, np.inf], (*shape, 1)),
        centre=np.zeros(shape),
        half_range=np.zeros(shape),
        correlated=tuple(
            min(len(columns), CORRELATED if number == 0 else CORRELATED_ALONE if number <= MATRICES else 0)
            for number in range(len(outlined))
        ),
    )
    for number, group in enumerate(outlined):
        for index, name in enumerate(columns):
            if name in group:
                outline, at = group[name], (number, index)
                edges = bin_edges(*outline.inside, name in whole)
                plan.edges[at][: len(edges)], plan.bins[at] = edges, len(edges) - 1
                plan.inside[at] = outline.fences or (-np.inf, np.inf)
                plan.centre[at] = outline.quartiles[1]
                plan.half_range[at] = outline.highest.value / 2 - outline.lowest.value / 2
    return plan


def _numbers(outline: Outline, plan: Plan, counts: Counts, group: int, index: int) -> Numbers:
    bins = plan.bins[group, index]
    below, above = counts.bins[index, BINS:]
    low, high = counts.ends[index]
    return Numbers(
        lowest=outline.lowest,
        highest=outline.highest,
        mean=outline.mean,
        deviation=outline.deviation,
        quartiles=outline.quartiles,
        fences=outline.fences,
        whiskers=(float(low), float(high)),
        outliers_below=int(below),
        outliers_above=int(above),
        edges=tuple(plan.edges[group, index, : bins + 1].tolist()),
        counts=tuple(int(number) for number in counts.bins[index, :bins]),
    )


def _correlations(pairs: np.ndarray, names: Sequence[str]) -> Correlations:
    common, single, squares, product = pairs
    count = len(common)
    spread = common * squares - single**2
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (common * product - single * single.T) / np.sqrt(spread * spread.T)
    # What rounding leaves of a channel that does not vary is no variance.
    varies = spread > 1e-12 * common * squares
    defined = varies & varies.T & np.isfinite(values)
    clipped = np.clip(values, -1, 1)
    return Correlations(
        channels=tuple(names[:count]),
        left_out=len(names) - count,
        values=tuple(tuple(float(clipped[i, j]) if defined[i, j] else None for j in range(count)) for i in range(count)),
        pairs=tuple(tuple(int(number) for number in row) for row in common),
    )


def commonest_words(good: DataFrame, columns: Sequence[str]) -> dict[str, Words]:
    """Of each column of text that holds a value: one pass, counted and ranked on the executors."""
    if not columns:
        return {}
    pairs = F.explode(F.array(*(F.struct(F.lit(name).alias("name"), F.col(name).alias("word")) for name in columns)))
    counted = good.select(pairs.alias("pair")).select("pair.*").where("word is not null").groupBy("name", "word").count()
    place = F.row_number().over(Window.partitionBy("name").orderBy(F.desc("count"), "word"))
    best = F.when(F.col("place") <= COMMONEST, F.struct("place", "word", "count"))
    ranked = (
        counted.withColumn("place", place)
        .groupBy("name")
        .agg(F.count(F.lit(1)).alias("distinct"), F.collect_list(best).alias("best"))
    )
    return {
        row["name"]: Words(row["distinct"], tuple((word, count) for _, word, count in sorted(row["best"])))
        for row in ranked.collect()
    }
