"""What every row group of a dataset holds, looked at by Spark's tasks: whose rows, how many windows, and their attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import SparkSession

from hindcast.prep.dataset.blocks import Address, read
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.grid.splits import SPLITS
from hindcast.prep.spark.descriptions import described
from hindcast.prep.spark.workers import settle


@dataclass(frozen=True)
class RowGroup:
    """The rows of a row group: series and windows, (rows,) each, and attributes, (rows, attributes), as in its Block."""

    split: str
    address: Address
    series: np.ndarray
    windows: np.ndarray
    attributes: np.ndarray


@dataclass(frozen=True)
class Survey:
    """The row groups of all splits, in the order of `SequenceDataset.addresses`. `blocks`: those of training, for `inputs_of`."""

    row_groups: tuple[RowGroup, ...]

    @property
    def blocks(self) -> tuple[RowGroup, ...]:
        return tuple(group for group in self.row_groups if group.split == "train")


def survey(spark: SparkSession, dataset: SequenceDataset) -> Survey:
    """Reads every row group in Spark's tasks. Raises Spark's exception, with an InputError's text, where one cannot be read."""
    places = places_of(dataset)
    if not places:
        return Survey(())
    tasks = min(len(places), 4 * spark.sparkContext.defaultParallelism)
    with described(spark.sparkContext, "looking at row groups"):
        return Survey(tuple(spark.sparkContext.parallelize(places, tasks).map(look).collect()))


def places_of(dataset: SequenceDataset) -> list[tuple[str, Address]]:
    """The split and the address of every row group."""
    return [(split, address) for split in SPLITS for address in dataset.addresses(split)]


def look(place: tuple[str, Address]) -> RowGroup:
    """The row group at an address of a split."""
    settle()
    split, address = place
    block = read(address)
    return RowGroup(split, address, block.series, np.array(block.windows), np.array(block.attributes))
