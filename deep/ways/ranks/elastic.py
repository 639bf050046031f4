"""A run that outlives its ranks: where one is lost, all go on from the last checkpoint, on as many as there are slots left.

Horovod's own `run_elastic` brings survivors together again within their processes, but learns of a loss only where a connection
breaks: while a process is stopped or a host is cut off, the others wait in the collective for ever. Here the watch ends the run,
for whichever reason, and it begins anew: what follows are the steps of a training that was resumed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from pyspark.resource import ResourceProfile
from pyspark.sql import SparkSession

from hindcast.deep.ways.ranks.faults import RankError
from hindcast.deep.ways.ranks.launcher import OnCheckpoint, OnRecord, run_on_ranks
from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import gpus_a_task
from hindcast.prep.spark.slots import SLOTS_SECONDS, slots_within, task_slots

# Spark counts the slots of a lost host until it misses it too: after its network timeout, which it looks at once a minute.
DROPPED_SECONDS = 70.0


def run_elastic(
    spark: SparkSession,
    function: Callable[..., Any],
    arguments: tuple[Any, ...] = (),
    *,
    ranks: int,
    least_ranks: int,
    silence_seconds: float,
    gpu_each: bool = False,
    checkpoint: bytes | None = None,
    on_record: OnRecord | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> list[Any]:
    """`function(line, checkpoint, *arguments)` by `run_on_ranks`. Where a rank fails, it runs again, from the last checkpoint.

    At first it runs on `ranks` ranks, and then on as many of them as Spark has slots for.

    Raises what `run_on_ranks` raises. A RankError ends it where two runs end without a new checkpoint between, or where fewer
    slots than `least_ranks` are left.
    """
    last, count, failed_from = checkpoint, ranks, object()
    profile = gpus_a_task(spark, 1) if gpu_each else None

    def remember(data: bytes) -> None:
        nonlocal last
        last = data
        if on_checkpoint is not None:
            on_checkpoint(data)

    while True:
        began_from, slots = last, task_slots(spark, profile)
        try:
            return run_on_ranks(
                spark, function, (last, *arguments), ranks=count, silence_seconds=silence_seconds, gpu_each=gpu_each,
                on_record=on_record, on_checkpoint=remember,
            )  # fmt: skip
        except RankError as error:
            if last is failed_from:
                raise RankError(f"{error}\nIt had ended before, from the same checkpoint: it is not begun again") from None
            failed_from = last
            count = min(ranks, _slots_available(spark, profile, ranks, slots if error.host_lost else None))
            if count < least_ranks:
                raise RankError(f"{error}\n{count} task slots are left, and least_ranks is {least_ranks}") from None
            logging.getLogger(__name__).warning(
                "%s\nGoes on with %d ranks, from %s", error, count,
                "its beginning" if last is None else "where it began" if last is began_from else "its last checkpoint",
            )  # fmt: skip


def must_spare_ranks(ranks: int, least_ranks: int, batch_of: str) -> None:
    """Raises InputError where a run of so many ranks cannot go on with fewer."""
    if not 1 <= least_ranks <= ranks:
        raise InputError(f"least_ranks {least_ranks}: must be between 1 and the number of ranks, which is {ranks}")
    if batch_of == "rank" and least_ranks < ranks:
        raise InputError(
            f'least_ranks {least_ranks}: with batch_of = "rank" steps depend on the number of ranks, so a training cannot go on '
            f'with fewer than {ranks}. Choose batch_of = "run", or least_ranks {ranks}'
        )


def _slots_available(spark: SparkSession, profile: ResourceProfile | None, ranks: int, before: int | None) -> int:
    """The task slots there are, once there are as many as wanted or none came for long. `before`: of so many some are lost."""
    if before is not None:
        limit = time.monotonic() + _network_timeout(spark) + DROPPED_SECONDS
        while task_slots(spark, profile) >= before and time.monotonic() < limit:
            time.sleep(0.5)
    return slots_within(spark, ranks, SLOTS_SECONDS, profile)


def _network_timeout(spark: SparkSession) -> float:
    conf = spark.sparkContext._jsc.sc().conf()
    return float(conf.getTimeAsSeconds("spark.network.timeout", "120s"))
