"""What a run asks of the cluster that it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from launch.session import spark_session
from launch.settings import ClusterSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def session_on(cluster: ClusterSettings, name: str, more: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """`spark_session` where these settings say, with executors that have the GPUs they name."""
    with spark_session(cluster.master, name, {**executors_gpus(cluster), **(more or {})}) as spark:
        yield spark


def executors_gpus(cluster: ClusterSettings) -> dict[str, str]:
    """Spark's options by which executors get GPUs and find out which. Tasks ask for none but in the stage that trains, so that
    every other stage goes on using all cores."""
    if cluster.gpus_per_worker is None:
        return {}
    from deep.ranks.gpus import DISCOVERY

    return {
        "spark.executor.resource.gpu.amount": str(cluster.gpus_per_worker),
        "spark.executor.resource.gpu.discoveryScript": str(DISCOVERY),
    }


def ranks_on(spark: SparkSession, cluster: ClusterSettings) -> int:
    """How many ranks train: as many as were asked for, else one a GPU, else two (one where Spark runs one task at a time)."""
    from deep.ranks.gpus import gpus_here, one_gpu_a_task
    from deep.ranks.launcher import is_local, task_slots

    if cluster.ranks is not None:
        return cluster.ranks
    if cluster.gpus_per_worker is not None:
        profile = one_gpu_a_task(spark)
        return max(1, task_slots(spark, profile) if profile else min(len(gpus_here(1)), cluster.gpus_per_worker))
    # A cluster's executors may still be on their way; the launcher waits for as many slots as there are ranks.
    return min(2, task_slots(spark)) if is_local(spark) else 2
