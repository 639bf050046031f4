"""The columns of a dataset, and words as codes: what a word means is decided by the training split alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from hindcast.prep.dataset.manifest import Column, Manifest
from hindcast.prep.errors import InputError
from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.splits import SPLITS, Border, SeriesSplit
from hindcast.prep.grid.steps import split_at
from hindcast.prep.readings.companions import calendar_names
from hindcast.prep.readings.loading import Readings
from hindcast.prep.readings.vocabulary import MOST_WORDS, Vocabulary, is_number, number_of, vocabulary
from hindcast.prep.scaling.float32 import MOST, OVERFLOW
from hindcast.prep.spec import Spec

Words = dict[str, Counter[str]]


@dataclass(frozen=True)
class Columns:
    """Channels, covariates (joined ones first), labels and attributes.

    of_series  series → its attributes, NaN where there is none
    unknown    split → how many values of categories training knows nothing of; they are missing
    joined     how many of the covariates come from joined tables, the others from the calendar
    """

    channels: tuple[Column, ...]
    covariates: tuple[Column, ...]
    labels: tuple[Column, ...]
    attributes: tuple[Column, ...]
    of_series: dict[str, tuple[float, ...]]
    unknown: Counter[str]
    joined: int

    @property
    def names(self) -> list[str]:
        """Of channels and joined covariates."""
        return [column.name for column in (*self.channels, *self.covariates[: self.joined])]

    @property
    def scaled(self) -> np.ndarray:
        """(channels and joined covariates,) bool: those that are real numbers of a unit."""
        return np.array([column.kind == "real" for column in (*self.channels, *self.covariates[: self.joined])])


def columns_of(
    readings: Readings,
    spec: Spec,
    borders: dict[str, Border],
    series: SeriesSplit | None,
    grid: Grid,
    attributes: dict[str, tuple[str | None, ...]],
    before: Manifest | None = None,
) -> Columns:
    """The columns that a spec asks for, with their vocabularies; those of a dataset that is appended to, with what is new to it.

    Raises InputError where two have one name, and for an attribute that is a number and not finite in float32.
    """
    split = _split(readings, spec, borders, series, grid)
    unknown: Counter[str] = Counter()
    channels = []
    for index, channel in enumerate(readings.channels):
        words = None
        if channel.kind == "category":
            word_counts = _words(split, f"value_{index}", channel.name)
            declared = spec.readings.categories.get(channel.name)
            words = before.channels[index].vocabulary if before else None
            words = words or vocabulary(
                {"train": declared or word_counts["train"]}, f"category {channel.name!r}", ordered=declared is not None
            )
            for name, counts in word_counts.items():
                unknown[name] += sum(count for word, count in counts.items() if word not in words.words)
        channels.append(Column(name=channel.name, kind=channel.kind, vocabulary=words))
    labels = []
    for index, name in enumerate(readings.labels):
        words = vocabulary(_words(split, f"label_{index}", name), f"label {name!r}")
        known = before.labels[index].vocabulary if before else None
        labels.append(Column(name=name, kind="category", vocabulary=known.extended(words.words) if known else words))
    joined = [Column(name=name, known=join.known) for join in spec.joins for name in join.values]
    calendar = [Column(name=name, known=True) for name in calendar_names(spec.calendar.features)]
    described = before.attributes if before else _described(spec.attributes.values, attributes, split)
    every = [column.name for column in (*channels, *joined, *calendar, *labels, *described)]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise InputError(f"two columns are named {twice[0]!r}, among channels, covariates, labels and attributes: rename one")
    words_of = [column.vocabulary for column in described]
    _refuse_infinite(described, attributes)
    of_series = {key: tuple(map(number_of, row, words_of)) for key, row in attributes.items()}
    return Columns(tuple(channels), (*joined, *calendar), tuple(labels), described, of_series, unknown, len(joined))


def _refuse_infinite(described: Sequence[Column], attributes: dict[str, tuple[str | None, ...]]) -> None:
    for series, row in attributes.items():
        for column, text in zip(described, row, strict=True):
            if column.vocabulary is None and text is not None and is_number(text) and abs(float(text)) >= OVERFLOW:
                raise InputError(
                    f"series {series!r}: attribute {column.name!r}: expected a number up to {MOST}, found {text!r}. Mend it, or "
                    "leave it empty"
                )


def coded(good: DataFrame, columns: Columns) -> DataFrame:
    """Readings as numbers: series, time, position, and c0, c1 … (double): channels, then labels."""
    numbers = []
    for index, channel in enumerate(columns.channels):
        numbers.append(_code(f"value_{index}", channel.vocabulary).alias(f"c{index}"))
    for index, label in enumerate(columns.labels):
        numbers.append(_code(f"label_{index}", label.vocabulary).alias(f"c{len(columns.channels) + index}"))
    return good.select("series", "time", "position", *numbers)


def _code(name: str, words: Vocabulary | None) -> SparkColumn:
    if words is None:
        return F.col(name)
    if not words.words:
        return F.lit(None).cast("double")
    pairs = [literal for code, word in enumerate(words.words) for literal in (F.lit(word), F.lit(float(code)))]
    return F.try_element_at(F.create_map(*pairs), F.col(name))


def _split(readings: Readings, spec: Spec, borders: dict[str, Border], series: SeriesSplit | None, grid: Grid) -> DataFrame:
    """The good readings with their split, null for those outside."""
    if series is None:
        return readings.good.withColumn("split", split_at(grid, spec.grid.aggregate is not None, borders))
    names = [row["series"] for row in readings.keys.select("series").collect()]
    of_series = readings.good.sparkSession.createDataFrame([(n, series.of(n)) for n in names], "series string, split string")
    return readings.good.join(F.broadcast(of_series), "series")


def _words(split: DataFrame, column: str, name: str) -> Words:
    """How often each word stands in each split."""
    counted = split.where(F.col("split").isNotNull() & F.col(column).isNotNull()).groupBy("split", column).count()
    rows = counted.limit(len(SPLITS) * MOST_WORDS + 1).collect()
    words: Words = {name: Counter() for name in SPLITS}
    for row in rows:
        words[row["split"]][row[column]] = row["count"]
    if len({word for counts in words.values() for word in counts}) > MOST_WORDS:
        raise InputError(f"column {name!r} has more than {MOST_WORDS:,} different words: too many for a category or a label")
    return words


def _described(names: tuple[str, ...], attributes: dict[str, tuple[str | None, ...]], split: DataFrame) -> tuple[Column, ...]:
    """The attributes as columns: numbers where those of the series that training has are numbers, otherwise words."""
    first = _first_split(split) if names else {}
    columns = []
    for index, name in enumerate(names):
        by_split: dict[str, list[str]] = {name: [] for name in SPLITS}
        for key, row in attributes.items():
            if (text := row[index]) is not None:
                by_split[first.get(key, SPLITS[-1])].append(text)
        numbers = all(map(is_number, by_split["train"]))
        words = None if numbers else vocabulary(by_split, f"attribute {name!r}")
        columns.append(Column(name=name, kind="category" if words else "real", vocabulary=words))
    return tuple(columns)


def _first_split(split: DataFrame) -> dict[str, str]:
    """Of each series that has a reading in one, the earliest."""
    rows = split.where(F.col("split").isNotNull()).select("series", "split").distinct().collect()
    return {row["series"]: row["split"] for row in sorted(rows, key=lambda row: SPLITS.index(row["split"]), reverse=True)}
