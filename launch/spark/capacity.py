"""What a cluster has, held against what executors and ranks ask of it: said at once, where Spark would wait for ever.

A standalone master is asked by the same port, with the same authentication, that the session is registered by; its page need not
be reachable. Elsewhere (YARN, Kubernetes) nobody can be asked beforehand, and the wait for a first executor has an end.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STANDALONE = "spark://"
# For a first executor. A cluster that is busy, or has to fetch an image, gives none at once.
WAIT_SECONDS = 300.0
# For a master that is just being started.
ANSWER_SECONDS = 5.0
# For the other executors: work is cut by how many cores there are.
OTHERS_SECONDS, SETTLED_SECONDS = 30.0, 1.5
POLL_SECONDS = 0.2
NAMED = 4  # workers at most


@dataclass(frozen=True)
class Worker:
    """Of a standalone cluster: what it has, memory in MiB. What applications have taken of that a master does not tell."""

    host: str
    cores: int
    memory: int
    gpus: int = 0

    def __str__(self) -> str:
        gpus = f", GPUs {self.gpus}" if self.gpus else ""
        return f"{self.host} with cores {self.cores}, MiB {self.memory:,}{gpus}"


@dataclass(frozen=True)
class Asked:
    """For each executor: memory in MiB, cores (None: all of its worker, of which a task takes `task_cores`), GPUs. `most_cores`:
    of all executors together."""

    memory: int
    cores: int | None = None
    gpus: int = 0
    task_cores: int = 1
    most_cores: int | None = None

    def executors_on(self, worker: Worker) -> int:
        """How many fit on a worker that nobody else uses."""
        fits = [worker.memory // max(1, self.memory), worker.cores // self.cores if self.cores else 1]
        fits += [worker.gpus // self.gpus] if self.gpus else []
        return min(fits) if worker.cores >= self.task_cores else 0

    def slots_on(self, workers: Sequence[Worker], gpu_each: bool) -> int:
        """How many tasks run at once when all of a cluster is given: with a GPU for each of them, no more than there are GPUs."""
        slots = 0
        for worker in workers:
            executors = self.executors_on(worker)
            tasks = (self.cores or worker.cores) // self.task_cores
            slots += executors * (min(tasks, self.gpus) if gpu_each else tasks)
        return slots if self.most_cores is None else min(slots, self.most_cores // self.task_cores)

    def __str__(self) -> str:
        asked = {"memory": f"{self.memory:,} MiB", "cores": self.cores, "resource.gpu.amount": self.gpus}
        return ", ".join(f"spark.executor.{name} {value}" for name, value in asked.items() if value)


def await_executors(spark: SparkSession, seconds: float = WAIT_SECONDS) -> None:
    """Returns when a cluster's executors have registered, or once no more come. Where executors come on demand, one is asked for.

    Raises InputError at once where no worker of a standalone cluster could ever hold one as it is asked for; and where none has
    come within `seconds`.
    """
    wanted = asked(spark)
    with described(spark.sparkContext, "asking for a first executor"):
        job = spark.sparkContext.parallelize([0], 1)._jrdd.countAsync() if _on_demand(spark) else None
    began, count, since = time.monotonic(), 0, time.monotonic()
    looked = 0.0
    while True:
        now, found = time.monotonic(), executors(spark)
        if found != count:
            count, since = found, now
        if count and (now - since > SETTLED_SECONDS or now - began > OTHERS_SECONDS):
            return
        if not count and now - looked > 1.0:
            looked, workers = now, workers_of(spark)
            if workers and (why := misfit(wanted, workers, spark.sparkContext.master)):
                raise InputError(why)
        if not count and now - began > seconds:
            if job is not None:
                job.cancel(True)
            raise InputError(nothing_came(spark, seconds))
        time.sleep(POLL_SECONDS)


def must_answer(master: str) -> None:
    """Raises InputError where nobody listens at a standalone master's address: Spark would try for a minute, and not say so."""
    limit = time.monotonic() + ANSWER_SECONDS
    while why := _silence(master):
        if time.monotonic() > limit:
            raise InputError(f"{master}: no master answers there ({why}). Is it running, and is that its address?")
        time.sleep(POLL_SECONDS)


def executors(spark: SparkSession) -> int:
    """How many executors of a cluster the session has."""
    return int(spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1  # the driver is one of them


def must_hold_ranks(spark: SparkSession, ranks: int, gpu_each: bool) -> None:
    """Raises InputError where a standalone cluster has fewer task slots than ranks, were it given whole."""
    workers = workers_of(spark)
    if not workers:
        return
    slots = asked(spark).slots_on(workers, gpu_each)
    if slots < ranks:
        each = " with a GPU each" if gpu_each else ""
        raise InputError(
            f"{ranks} ranks ask for {ranks} task slots{each}, and all of {spark.sparkContext.master} has {slots} "
            f"(executors are asked for with {asked(spark)}; the workers: {_named(workers)}). Ask for no more ranks than that, or "
            "start more workers"
        )


def misfit(wanted: Asked, workers: Sequence[Worker], master: str) -> str | None:
    """Why no worker can ever hold an executor; None where one can."""
    if any(wanted.executors_on(worker) for worker in workers):
        if wanted.most_cores is None or wanted.most_cores >= (wanted.cores or wanted.task_cores):
            return None
        fault = f"spark.cores.max {wanted.most_cores}: is less than an executor is to have"
    elif max(worker.memory for worker in workers) < wanted.memory:
        fault = f"spark.executor.memory {wanted.memory:,} MiB: is more than any worker of {master} has"
    elif max(worker.cores for worker in workers) < (wanted.cores or wanted.task_cores):
        name = "spark.executor.cores" if wanted.cores else "spark.task.cpus"
        fault = f"{name} {wanted.cores or wanted.task_cores}: is more cores than any worker of {master} has"
    elif max(worker.gpus for worker in workers) < wanted.gpus:
        fault = (
            f"spark.executor.resource.gpu.amount (cluster.gpus_per_worker) {wanted.gpus}: is more than any worker of {master} "
            "knows of (spark.worker.resource.gpu.amount)"
        )
    else:
        fault = f"no worker of {master} has all that an executor asks for"
    asked = f"An executor is asked for with {wanted}; the workers: {_named(workers)}"
    return f"{fault}. {asked}. Ask for less, or start workers with more"


def nothing_came(spark: SparkSession, seconds: float) -> str:
    """What is said when the wait for an executor is over, with what can be known of why."""
    master = spark.sparkContext.master
    given = f"{master} has given no executor within {seconds:g} s; each was asked for with {asked(spark)}"
    if not master.startswith(STANDALONE):
        return f"{given}. {why_none(None)}"
    if silence := _silence(master):  # where a host is gone, Spark itself would wait for two minutes for an answer
        return f"{given}. No master answers there ({silence})"
    state = _state(spark)
    if state is None:
        return f"{given}. Somebody is there, and does not answer as the active master of a cluster"
    if spark.sparkContext.applicationId not in [application.id() for application in state.activeApps()]:
        return f"{given}. Its master was started anew, and does not know of this application"
    return f"{given}. {why_none(_workers(state))}"


def why_none(workers: Sequence[Worker] | None) -> str:
    """Why a cluster that is there gives no executor, and what would mend that. `workers`: None where nobody could be asked."""
    if workers is None:
        why = "Its queue may be full, or no host there has as much. Ask for less"
    elif not workers:
        why = "It has no workers. Start some"
    else:
        why = (
            f"Others may have taken what there is, or workers have died (lately it had {_named(workers)}). If not, executors end "
            "as they start, and a worker's log says why. Ask for less"
        )
    return f"{why}, or wait for longer (cluster.wait_seconds)"


def asked(spark: SparkSession) -> Asked:
    """What the session's executors are asked for with."""
    conf = spark.sparkContext.getConf()
    cores, most = conf.get("spark.executor.cores"), conf.get("spark.cores.max")
    return Asked(
        memory=spark.sparkContext._jsc.sc().executorMemory(),
        cores=int(cores) if cores else None,
        gpus=int(conf.get("spark.executor.resource.gpu.amount", "0")),
        task_cores=int(conf.get("spark.task.cpus", "1")),
        most_cores=int(most) if most else None,
    )


def workers_of(spark: SparkSession) -> list[Worker] | None:
    """The workers of a standalone master; None where there is no such master, or it does not answer. Among them are those that
    died lately: a master keeps them on its page for 16 times spark.worker.timeout, and does not send which they are."""
    state = _state(spark) if spark.sparkContext.master.startswith(STANDALONE) else None
    return None if state is None else _workers(state)


def _silence(master: str) -> str:
    """Why none of a standalone master's addresses answers; nothing where one does, and of any other cluster."""
    why = ""
    for address in _addresses(master) if master.startswith(STANDALONE) else []:
        try:
            socket.create_connection(address, timeout=ANSWER_SECONDS).close()
            return ""
        except OSError as error:
            why = str(error)
    return why


def _addresses(master: str) -> list[tuple[str, int]]:
    """Of spark://one:7077,two:7077 both. Raises InputError for what is none."""
    found = [re.fullmatch(r"(.+):(\d+)", address) for address in master.removeprefix(STANDALONE).split(",")]
    if not all(found):
        raise InputError(f"{master}: expected the address of a master with its port, such as spark://host:7077")
    return [(address[1], int(address[2])) for address in found if address]


def _state(spark: SparkSession) -> Any:
    """The answer of a standalone master to what its own page asks it, for Spark has no public way to know its workers; None where
    none answers that is active."""
    from py4j.protocol import Py4JError

    java: Any = spark._jvm
    messages, environment = java.org.apache.spark.deploy, spark.sparkContext._jsc.sc().env().rpcEnv()
    answer = java.java.lang.Class.forName("org.apache.spark.deploy.DeployMessages$MasterStateResponse")
    tags = getattr(java.scala.reflect, "ClassTag$")
    question = getattr(messages, "DeployMessages$RequestMasterState$")
    for host, port in _addresses(spark.sparkContext.master):
        try:
            master = environment.setupEndpointRef(java.org.apache.spark.rpc.RpcAddress(host, port), "Master")
            state = master.askSync(getattr(question, "MODULE$"), getattr(tags, "MODULE$").apply(answer))
        except Py4JError:  # what it would have said, a wait finds out
            continue
        if state.status().toString() == "ALIVE":  # and not one that stands by for it
            return state
    return None


def _workers(state: Any) -> list[Worker]:
    return [_worker(one) for one in state.workers()]


def _worker(told: Any) -> Worker:
    gpus = told.resources().get("gpu")
    count = gpus.get().addresses().size() if gpus.isDefined() else 0
    return Worker(told.host(), told.cores(), told.memory(), count)


def _named(workers: Sequence[Worker]) -> str:
    more = [f"and {len(workers) - NAMED} more"] if len(workers) > NAMED else []
    return "; ".join([*map(str, sorted(workers, key=lambda one: (-one.memory, one.host))[:NAMED]), *more])


def _on_demand(spark: SparkSession) -> bool:
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"
