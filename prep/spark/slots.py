"""Where Spark runs tasks, and how many at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

# What a cluster's executors are given to register, before too few slots are an error.
SLOTS_SECONDS = 30.0


def task_slots(spark: SparkSession, profile: ResourceProfile | None = None) -> int:
    """How many tasks can run at once, those of a `profile` where one is given. Where executors come and go on demand, as many as
    there may be."""
    conf = spark.sparkContext.getConf()
    if on_demand(spark):
        per_executor = int(conf.get("spark.executor.cores", "1")) // int(conf.get("spark.task.cpus", "1"))
        if profile is not None:
            per_executor = min(per_executor, int(conf.get("spark.executor.resource.gpu.amount", "0")))
        return int(conf.get("spark.dynamicAllocation.maxExecutors", str(2**31 - 1))) * per_executor
    scala = spark.sparkContext._jsc.sc()
    java_profile = profile._java_resource_profile if profile else scala.resourceProfileManager().defaultResourceProfile()
    return scala.maxNumConcurrentTasks(java_profile)


def slots_within(spark: SparkSession, count: int, seconds: float, profile: ResourceProfile | None = None) -> int:
    """`task_slots`, as soon as there are `count` of them, or after the seconds."""
    limit = time.monotonic() + seconds
    while (slots := task_slots(spark, profile)) < count and time.monotonic() < limit:
        time.sleep(0.5)
    return slots


def threads_each(spark: SparkSession, ranks: int) -> int:
    """Of each rank: the cores of its share of the slots."""
    conf = spark.sparkContext.getConf()
    cores = task_slots(spark) * int(conf.get("spark.task.cpus", "1")) // ranks
    if on_demand(spark):  # there may be any number of slots, but no executor has more cores than these
        cores = min(cores, int(conf.get("spark.executor.cores", "1")))
    return max(1, cores)


def on_demand(spark: SparkSession) -> bool:
    """Whether executors come and go with the work there is."""
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"


def is_local(spark: SparkSession) -> bool:
    """Whether driver and tasks are one host by construction: local[…] and local-cluster[…]."""
    return spark.sparkContext.master.startswith("local")


def runs_tasks_itself(spark: SparkSession) -> bool:
    """Whether tasks run in the driver's own Java process: local and local[…], where there are no executors to wait for."""
    return spark.sparkContext.master.partition("[")[0] == "local"
