"""What readings must be scaled by and still be finite in float32, where that is known before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from hindcast.prep.scaling.affine import Scaling

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Bounds:
    """A reading that is not finite in float32 by any of `scalings`, those of the channels, is bad. Of none, there is no bound."""

    scalings: tuple[Scaling, ...] = ()

    def beside(self, frame: DataFrame, series: Column) -> DataFrame:
        """Rows of the series that `series` says, with what `of_channel` speaks of."""
        for number, scaling in enumerate(self.scalings):
            overall = {"centre": scaling.overall.centre, "scale": scaling.overall.scale}
            if scaling.each_series:
                own = F.broadcast(_table(frame, scaling, number))
                frame = frame.join(own, series == F.col(f"_hindcast_series_{number}"), "left")
            for name, numbers in overall.items():
                column = _column(name, number)
                common = F.lit(list(numbers))
                frame = frame.withColumn(column, F.coalesce(F.col(column), common) if scaling.each_series else common)
        return frame

    def of_channel(self, channel: int) -> Pairs:
        """(centre, scale) of a channel by each scaling, in SQL, in rows from `beside`."""
        return [(f"{_column('centre', n)}[{channel}]", f"{_column('scale', n)}[{channel}]") for n in range(len(self.scalings))]

    def of_series(self, names: Sequence[str], place: str) -> Pairs:
        """(centre, scale) of the one channel of the series of `names` whose place among them `place` says, in SQL."""
        pairs = []
        for scaling in self.scalings:
            centre, scale = (f"{_literal(numbers[:, 0])}[{place}]" for numbers in scaling.of(names))
            pairs.append((centre, scale))
        return pairs


def _table(frame: DataFrame, scaling: Scaling, number: int) -> DataFrame:
    """A row for each series that has a map of its own."""
    rows = zip(scaling.by_series.names, *(numbers.tolist() for numbers in scaling.by_series.arrays()), strict=True)
    schema = (
        f"_hindcast_series_{number} string, {_column('centre', number)} array<double>, {_column('scale', number)} array<double>"
    )
    return frame.sparkSession.createDataFrame(list(rows), schema)


def _column(name: str, number: int) -> str:
    return f"_hindcast_{name}_{number}"


def _literal(numbers: np.ndarray) -> str:
    return f"array({', '.join(f'double({number!r})' for number in map(repr, numbers.tolist()))})"
