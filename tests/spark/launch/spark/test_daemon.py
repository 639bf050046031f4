"""What the process that Spark forks its Python workers from spares them."""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from hindcast.launch.spark.daemon import MANY_MODULES

# Whichever worker is idle longest is given a task: those of other tests, too.
MOST_ROUNDS = 100


@pytest.mark.parametrize(("imported", "spared"), [(MANY_MODULES, True), (MANY_MODULES // 10, False)])
def test_much_that_a_task_imported_is_not_looked_through_for_garbage(spark: SparkSession, imported: int, spared: bool) -> None:
    def task(_: object) -> list[tuple[int, int]]:
        frozen = gc.get_freeze_count()
        names = [name for name in sys.modules if name.startswith(f"_made_up_{imported}_")]
        for name in names:
            del sys.modules[name]
        if not names:
            sys.modules.update(
                {f"_made_up_{imported}_{number}": ModuleType(f"_made_up_{imported}_{number}") for number in range(imported)}
            )
        return [(os.getpid(), frozen)]

    before: dict[int, int] = {}
    for _ in range(MOST_ROUNDS):
        for pid, frozen in spark.sparkContext.parallelize(range(2), 2).mapPartitions(task).collect():
            if pid in before:
                assert (frozen - before[pid] >= imported) == spared
                return
            before[pid] = frozen
    pytest.fail("no worker was given a second task")
