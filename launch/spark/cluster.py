"""The session, the ranks and the GPUs of a run, by the settings of the table `cluster`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from hindcast.deep.ways.listening import PORTS
from hindcast.forecasting.kind import Where
from hindcast.launch.settings import ClusterSettings
from hindcast.launch.spark.capacity import must_hold_ranks
from hindcast.launch.spark.session import spark_session
from hindcast.launch.watching.progress import Progress
from hindcast.launch.watching.runs import run
from hindcast.prep.errors import InputError
from hindcast.prep.spark.slots import SLOTS_SECONDS, is_local, on_demand, runs_tasks_itself, slots_within, task_slots

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


# Any of these says that nobody on the network is to read what Spark sends.
ENCRYPTED = (
    "spark.network.crypto.enabled", "spark.authenticate.enableSaslEncryption", "spark.ssl.enabled", "spark.ssl.rpc.enabled",
)  # fmt: skip


@contextmanager
def session_on(cluster: ClusterSettings, name: str, more: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """`spark_session` on the master of these settings, with GPUs for executors where they name some. The run notes the session.

    more   further settings of Spark

    Raises InputError as `spark_session` does.
    """
    conf = {**executors_gpus(cluster), **({PORTS: cluster.ports} if cluster.ports else {}), **(more or {})}
    with ExitStack() as stack:
        with Progress().stage("starting Spark"):
            spark = stack.enter_context(spark_session(cluster.master, name, conf, cluster.wait_seconds))
        context = spark.sparkContext
        run().note(spark={"master": context.master, "application": context.applicationId, "page": context.uiWebUrl})
        yield spark


@contextmanager
def where_on(
    cluster: ClusterSettings, name: str, spark: SparkSession | Callable[[], SparkSession] | None = None
) -> Iterator[Where]:
    """Where these settings have a fit run.

    spark   a session that exists already, or a function that returns one; without it, one is started when the fit first asks for
            it, and stopped at the end
    """
    with ExitStack() as stack:

        @cache
        def session() -> SparkSession:
            if spark is None:
                return stack.enter_context(session_on(cluster, name))
            return spark() if callable(spark) else spark

        def ranks(session: SparkSession) -> int:
            must_train_on(session, cluster)
            return ranks_on(session, cluster)

        yield Where(session, cluster.on, ranks, cluster.least_ranks, cluster.gpus_per_worker)


def executors_gpus(cluster: ClusterSettings) -> dict[str, str]:
    """Settings of Spark that give each executor its GPUs, and the script that finds their addresses.

    Tasks ask for GPUs in the stage that trains alone: every other stage uses all cores.
    """
    if cluster.gpus_per_worker is None:
        return {}
    from hindcast.prep.spark.gpus import DISCOVERY

    conf = {"spark.executor.resource.gpu.amount": str(cluster.gpus_per_worker)}
    if DISCOVERY.is_file():  # not in a zip: then Spark says that it was told of no script
        conf["spark.executor.resource.gpu.discoveryScript"] = str(DISCOVERY)
    return conf


def ranks_on(spark: SparkSession, cluster: ClusterSettings) -> int:
    """How many ranks train: `cluster.ranks`, or else one a GPU, or else two (one where Spark runs one task at a time).

    Raises InputError where there are no GPUs, or their number cannot be known.
    """
    if cluster.ranks is not None:
        return cluster.ranks
    if cluster.gpus_per_worker is not None:
        return _gpus(spark, cluster.gpus_per_worker)
    # A cluster's executors may still be on their way; the launcher waits for as many slots as there are ranks.
    return min(2, task_slots(spark)) if is_local(spark) else 2


def _gpus(spark: SparkSession, per_worker: int) -> int:
    from hindcast.prep.spark.gpus import gpus_a_task, gpus_here

    if on_demand(spark):
        raise InputError("cluster.ranks: executors come on demand here, with any number of GPUs; say how many ranks there are")
    profile = gpus_a_task(spark, 1)
    if profile is None:
        return min(len(gpus_here(1)), per_worker)
    slots = slots_within(spark, 1, SLOTS_SECONDS, profile)
    if not slots:
        raise InputError(
            f"cluster.gpus_per_worker: Spark ({spark.sparkContext.master}) has given no executor with GPUs within "
            f"{SLOTS_SECONDS:g} s. Do its workers know of theirs (spark.worker.resource.gpu.amount)?"
        )
    return slots


def must_train_on(spark: SparkSession, cluster: ClusterSettings) -> None:
    """Raises InputError where ranks cannot train with these settings. Called before work that would be lost then."""
    if cluster.on != "horovod":
        return
    must_allow_cleartext(spark, cluster)
    ranks, gpu_each = ranks_on(spark, cluster), cluster.gpus_per_worker is not None
    must_hold_ranks(spark, ranks, gpu_each)
    if runs_tasks_itself(spark) and task_slots(spark) < ranks:
        raise InputError(
            f"cluster.ranks: {ranks} ranks ask for {ranks} task slots, and Spark ({spark.sparkContext.master}) has "
            f"{task_slots(spark)}: ask for no more ranks than that, or give Spark more cores"
        )


def must_allow_cleartext(spark: SparkSession, cluster: ClusterSettings) -> None:
    """Raises InputError where Spark encrypts its traffic on a network, and `cluster.allow_cleartext` is not set: Horovod's ranks
    do not encrypt theirs."""
    conf = spark.sparkContext.getConf()
    encrypted = [key for key in ENCRYPTED if conf.get(key, "false") == "true"]
    if encrypted and not cluster.allow_cleartext and not is_local(spark):
        raise InputError(
            f"{encrypted[0]} is on, and what Horovod's ranks send each other (gradients and weights) is authenticated, but not "
            "encrypted. --allow-cleartext trains all the same; --cluster.on partitions trains without Horovod"
        )
