"""What a run asks of the cluster that it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from launch.session import spark_session
from launch.settings import ClusterSettings
from prep.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


# Any of these says that nobody on the network is to read what Spark sends.
ENCRYPTED = (
    "spark.network.crypto.enabled", "spark.authenticate.enableSaslEncryption", "spark.ssl.enabled", "spark.ssl.rpc.enabled",
)  # fmt: skip


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


def must_allow_cleartext(spark: SparkSession, cluster: ClusterSettings) -> None:
    """Raises InputError where Spark's traffic is encrypted, that of Horovod's ranks would cross the network as it is, and nobody
    has allowed that."""
    from deep.ranks.launcher import is_local

    conf = spark.sparkContext.getConf()
    encrypted = [key for key in ENCRYPTED if conf.get(key, "false") == "true"]
    if encrypted and not cluster.allow_cleartext and not is_local(spark):
        raise InputError(
            f"{encrypted[0]} is on, and what Horovod's ranks send each other (gradients and weights) is authenticated, but not "
            "encrypted. --allow-cleartext trains all the same; --cluster.on partitions trains without Horovod"
        )
