"""What each task is given to train."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hindcast.deep.settings import PartitionSettings
from hindcast.deep.ways.partitions.each import plan
from hindcast.deep.ways.partitions.row_groups import RowGroup, Survey
from hindcast.prep.dataset.blocks import Address
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.errors import InputError
from hindcast.prep.readings.vocabulary import Vocabulary

SITE = Column(name="site", vocabulary=Vocabulary(by_split={"train": ("north", "south")}))
DATASET: Any = SimpleNamespace(location="memory", manifest=SimpleNamespace(attributes=(SITE, Column(name="floor"))))


def row_group(split: str, number: int, rows: list[tuple[str, int, float, float]]) -> RowGroup:
    series, windows, *attributes = zip(*rows, strict=True)
    address = Address("file", "0" * 32, number, 0, len(rows), ())
    return RowGroup(split, address, np.array(series), np.array(windows), np.array(attributes, np.float32).T)


FOUND = Survey(
    (
        row_group("train", 0, [("a", 3, 0, 1), ("b", 0, 0, 2.5), ("a", 2, 0, 1)]),
        row_group("train", 1, [("a", 1, 0, 1), ("north", 4, np.nan, 1)]),
        row_group("validation", 2, [("a", 1, 0, 1), ("b", 1, 0, 2.5), ("late", 1, 1, 1)]),
    )
)


def test_a_series_is_trained_on_its_own_windows_from_the_row_groups_that_hold_them() -> None:
    planned = plan(DATASET, FOUND, PartitionSettings())
    (a, north) = planned.works
    assert (a.key, a.series, a.windows) == ("a", ("a",), 6)
    assert [address.row_group for address in (*a.training, *a.validation)] == [0, 1, 2]
    assert (north.key, north.windows, len(north.training), north.validation) == ("north", 4, 1, ())
    assert planned.without == dict.fromkeys(("b", "late"), "0 training windows, and at least 1 were asked for")


def test_groups_are_values_of_an_attribute_and_a_series_without_one_is_in_none() -> None:
    planned = plan(DATASET, FOUND, PartitionSettings(models="group", group_by="site"))
    assert [(work.key, work.series, work.windows) for work in planned.works] == [("north", ("a", "b"), 6)]
    assert planned.key_of == {"a": "north", "b": "north", "late": "south"}
    assert planned.without["north"] == "its attribute 'site' is missing"  # of the series of that name
    by_floor = plan(DATASET, FOUND, PartitionSettings(models="group", group_by="floor"))
    assert {work.key: work.series for work in by_floor.works} == {"1": ("a", "late", "north")}


def test_too_few_windows_for_any_model_are_an_error() -> None:
    with pytest.raises(InputError, match="memory: no series has 7 training windows or more"):
        plan(DATASET, FOUND, PartitionSettings(least_windows=7))
