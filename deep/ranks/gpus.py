"""A GPU for each rank: by Spark's own scheduling of resources on a cluster, by number where all ranks are on this machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from deep.ranks.slots import runs_tasks_itself
from prep.errors import InputError

# What executors (and standalone workers) are told to find their GPUs by.
DISCOVERY = Path(__file__).with_name("discover_gpus")
DISCOVERY_SECONDS = 60


def one_gpu_a_task(spark: SparkSession) -> ResourceProfile | None:
    """The resources of a stage whose tasks get a GPU each, so that other stages go on using every core; None in local[…], which
    schedules none.

    Raises InputError where Spark's executors have no GPUs.
    """
    if runs_tasks_itself(spark):
        return None
    conf = spark.sparkContext.getConf()
    if not int(conf.get("spark.executor.resource.gpu.amount", "0")):
        raise InputError(
            "ranks were to get a GPU each, and Spark's executors have none: set cluster.gpus_per_worker, or "
            "spark.executor.resource.gpu.amount and .discoveryScript where executors are asked for"
        )
    requests = TaskResourceRequests().cpus(int(conf.get("spark.task.cpus", "1"))).resource("gpu", 1)
    profile = ResourceProfileBuilder().require(requests).build
    # Spark counts the slots of profiles that it knows.
    manager = spark.sparkContext._jsc.sc().resourceProfileManager()
    known = manager.getEquivalentProfile(profile._java_resource_profile)
    if known.isDefined():
        return ResourceProfile(_java_resource_profile=known.get())
    manager.addResourceProfile(profile._java_resource_profile)
    return profile


def gpus_here(ranks: int) -> list[str]:
    """An address for each of `ranks` ranks on this machine. Raises InputError where it has fewer GPUs."""
    try:
        told = subprocess.run([str(DISCOVERY)], capture_output=True, text=True, timeout=DISCOVERY_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{DISCOVERY}: could not tell this machine's GPUs: {error}") from None
    addresses = [str(address) for address in json.loads(told)["addresses"]]
    if len(addresses) < ranks:
        raise InputError(
            f"{ranks} ranks ask for a GPU each, and this machine has {len(addresses)} (by nvidia-smi and CUDA_VISIBLE_DEVICES): "
            "ask for no more ranks than that, or leave cluster.gpus_per_worker out"
        )
    return addresses
