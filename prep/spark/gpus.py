"""GPUs of Spark's tasks: by Spark's own scheduling of resources on a cluster, by number where all is on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from pyspark import TaskContext
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from hindcast.prep.errors import InputError
from hindcast.prep.spark.slots import runs_tasks_itself

# What executors (and standalone workers) are told to find their GPUs by.
DISCOVERY = Path(__file__).with_name("discover_gpus")
DISCOVERY_SECONDS = 60
# What Spark's addresses are about. A task may limit its process further, and workers are used again.
_OF_EXECUTOR = os.environ.get("CUDA_VISIBLE_DEVICES")


def gpus_a_task(spark: SparkSession, gpus: int | None = None) -> ResourceProfile | None:
    """The resources of a stage whose tasks get so many GPUs each, or all of their executor's, so that other stages go on using
    every core; None in local[…], which schedules none.

    Raises InputError where Spark's executors have no GPUs.
    """
    if runs_tasks_itself(spark):
        return None
    conf = spark.sparkContext.getConf()
    amount = int(conf.get("spark.executor.resource.gpu.amount", "0"))
    if not amount:
        raise InputError(
            "tasks were to get GPUs, and Spark's executors have none: set cluster.gpus_per_worker, or "
            "spark.executor.resource.gpu.amount and .discoveryScript where executors are asked for"
        )
    requests = TaskResourceRequests().cpus(int(conf.get("spark.task.cpus", "1"))).resource("gpu", gpus or amount)
    profile = ResourceProfileBuilder().require(requests).build
    # Spark counts the slots of profiles that it knows.
    manager = spark.sparkContext._jsc.sc().resourceProfileManager()
    registered = manager.getEquivalentProfile(profile._java_resource_profile)
    if registered.isDefined():
        return ResourceProfile(_java_resource_profile=registered.get())
    manager.addResourceProfile(profile._java_resource_profile)
    return profile


def gpus_here(ranks: int) -> list[str]:
    """An address for each of `ranks` ranks on this machine. Raises InputError where it has fewer GPUs."""
    try:
        output = subprocess.run([str(DISCOVERY)], capture_output=True, text=True, timeout=DISCOVERY_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{DISCOVERY}: could not tell this machine's GPUs: {error}") from None
    addresses = [str(address) for address in json.loads(output)["addresses"]]
    if len(addresses) < ranks:
        raise InputError(
            f"{ranks} ranks ask for a GPU each, and this machine has {len(addresses)} (by nvidia-smi and CUDA_VISIBLE_DEVICES): "
            "ask for no more ranks than that, or leave cluster.gpus_per_worker out"
        )
    return addresses


def gpus_of_task() -> list[str]:
    """The addresses of the GPUs that Spark gave the task that runs here; none where it gave none, or none runs."""
    context: Any = TaskContext.get()
    resource = context.resources().get("gpu") if context else None
    return list(resource.addresses) if resource else []


def see_gpus_of_task() -> None:
    """Limits this process to them: a task that took what it finds would take it from its neighbours."""
    addresses = gpus_of_task()
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices(addresses, _OF_EXECUTOR) if addresses else "-1"


def visible_devices(addresses: list[str], already: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for a process given these GPU addresses.

    Where the executor is limited to `already`, addresses are places in that list, or its entries themselves (UUIDs). Raises
    InputError where one is neither.
    """
    if not already:
        return ",".join(addresses)
    visible = [device.strip() for device in already.split(",")]
    if "-1" in visible:  # CUDA sees none from there on
        visible = visible[: visible.index("-1")]
    return ",".join(_device(address, visible, already) for address in addresses)


def _device(address: str, visible: list[str], already: str) -> str:
    if address.isdecimal() and int(address) < len(visible):
        return visible[int(address)]
    if not address.isdecimal() and address in visible:
        return address
    raise InputError(
        f"GPU {address}, which Spark gave a task on {socket.gethostname()}, is none of the {len(visible)} that its executor "
        f"sees (CUDA_VISIBLE_DEVICES={already}): the discovery script must list the executor's GPUs by place, from 0, or by UUID"
    )
