"""Whether a cluster has room for the executors and ranks of a run. An error says so at once, where Spark would wait for ever.

A standalone master answers on the port, and with the authentication, by which the session is registered; its web page need not
be reachable. YARN and Kubernetes cannot be asked beforehand: there the wait for a first executor has an end.
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
MOST_NAMED = 4  # workers at most


@dataclass(frozen=True)
class Worker:
    """A worker of a standalone cluster, with all its cores, memory (MiB) and GPUs. A master does not say how many are in use."""

    host: str
    cores: int
    memory: int
    gpus: int = 0

    def __str__(self) -> str:
        gpus = f", GPUs {self.gpus}" if self.gpus else ""
        return f"{self.host} with cores {self.cores}, MiB {self.memory:,}{gpus}"


@dataclass(frozen=True)
class ExecutorRequest:
    """What a session asks for.

    memory      MiB of each executor
    cores       of each executor; None: all cores of its worker
    gpus        of each executor
    task_cores  cores that a task takes
    most_cores  of all executors together; None: no limit
    """

    memory: int
    cores: int | None = None
    gpus: int = 0
    task_cores: int = 1
    most_cores: int | None = None

    def executors_on(self, worker: Worker) -> int:
        """How many executors fit on a worker that runs nothing else."""
        fits = [worker.memory // max(1, self.memory), worker.cores // self.cores if self.cores else 1]
        fits += [worker.gpus // self.gpus] if self.gpus else []
        return min(fits) if worker.cores >= self.task_cores else 0

    def slots_on(self, workers: Sequence[Worker], gpu_each: bool) -> int:
        """How many tasks run at once on a whole cluster; with `gpu_each`, no more than there are GPUs."""
        slots = 0
        for worker in workers:
            executors = self.executors_on(worker)
            tasks = (self.cores or worker.cores) // self.task_cores
            slots += executors * (min(tasks, self.gpus) if gpu_each else tasks)
        return slots if self.most_cores is None else min(slots, self.most_cores // self.task_cores)

    def __str__(self) -> str:
        options = {"memory": f"{self.memory:,} MiB", "cores": self.cores, "resource.gpu.amount": self.gpus}
        return ", ".join(f"spark.executor.{name} {value}" for name, value in options.items() if value)


def await_executors(spark: SparkSession, seconds: float = WAIT_SECONDS) -> None:
    """Waits until a cluster's executors have registered and no more of them come. Where executors come on demand, asks for one.

    Raises InputError at once where no worker of a standalone cluster can ever hold an executor of this size, and after `seconds`
    without any executor.
    """
    request = executor_request(spark)
    with described(spark.sparkContext, "asking for a first executor"):
        job = spark.sparkContext.parallelize([0], 1)._jrdd.countAsync() if _on_demand(spark) else None
    began, count, since = time.monotonic(), 0, time.monotonic()
    looked = 0.0
    while True:
        now, current = time.monotonic(), executors(spark)
        if current != count:
            count, since = current, now
        if count and (now - since > SETTLED_SECONDS or now - began > OTHERS_SECONDS):
            return
        if not count and now - looked > 1.0:
            looked, workers = now, workers_of(spark)
            if workers and (why := misfit(request, workers, spark.sparkContext.master)):
                raise InputError(why)
        if not count and now - began > seconds:
            if job is not None:
                job.cancel(True)
            raise InputError(absence_message(spark, seconds))
        time.sleep(POLL_SECONDS)


def must_answer(master: str) -> None:
    """Raises InputError where nobody listens at a standalone master's address. Spark itself would try for a minute without a
    word."""
    limit = time.monotonic() + ANSWER_SECONDS
    while why := _silence(master):
        if time.monotonic() > limit:
            raise InputError(f"{master}: no master answers there ({why}). Is it running, and is that its address?")
        time.sleep(POLL_SECONDS)


def executors(spark: SparkSession) -> int:
    """How many executors of a cluster the session has."""
    return int(spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1  # the driver is one of them


def must_hold_ranks(spark: SparkSession, ranks: int, gpu_each: bool) -> None:
    """Raises InputError where a whole standalone cluster has fewer task slots than there are ranks."""
    workers = workers_of(spark)
    if not workers:
        return
    slots = executor_request(spark).slots_on(workers, gpu_each)
    if slots < ranks:
        each = " with a GPU each" if gpu_each else ""
        raise InputError(
            f"{ranks} ranks ask for {ranks} task slots{each}, and all of {spark.sparkContext.master} has {slots} "
            f"(executors are asked for with {executor_request(spark)}; the workers: {_worker_names(workers)}). Ask for no more "
            "ranks than that, or start more workers"
        )


def misfit(request: ExecutorRequest, workers: Sequence[Worker], master: str) -> str | None:
    """Why no worker can ever hold an executor; None where one can."""
    if any(request.executors_on(worker) for worker in workers):
        if request.most_cores is None or request.most_cores >= (request.cores or request.task_cores):
            return None
        fault = f"spark.cores.max {request.most_cores}: is less than an executor is to have"
    elif max(worker.memory for worker in workers) < request.memory:
        fault = f"spark.executor.memory {request.memory:,} MiB: is more than any worker of {master} has"
    elif max(worker.cores for worker in workers) < (request.cores or request.task_cores):
        name = "spark.executor.cores" if request.cores else "spark.task.cpus"
        fault = f"{name} {request.cores or request.task_cores}: is more cores than any worker of {master} has"
    elif max(worker.gpus for worker in workers) < request.gpus:
        fault = (
            f"spark.executor.resource.gpu.amount (cluster.gpus_per_worker) {request.gpus}: is more than any worker of {master} "
            "knows of (spark.worker.resource.gpu.amount)"
        )
    else:
        fault = f"no worker of {master} has all that an executor asks for"
    message = f"An executor is asked for with {request}; the workers: {_worker_names(workers)}"
    return f"{fault}. {message}. Ask for less, or start workers with more"


def absence_message(spark: SparkSession, seconds: float) -> str:
    """The error after a wait for an executor in vain, with the likely reason."""
    master = spark.sparkContext.master
    message = f"{master} has given no executor within {seconds:g} s; each was asked for with {executor_request(spark)}"
    if not master.startswith(STANDALONE):
        return f"{message}. {shortage_message(None)}"
    if silence := _silence(master):  # where a host is gone, Spark itself would wait for two minutes for an answer
        return f"{message}. No master answers there ({silence})"
    state = _state(spark)
    if state is None:
        return f"{message}. Somebody is there, and does not answer as the active master of a cluster"
    if spark.sparkContext.applicationId not in [application.id() for application in state.activeApps()]:
        return f"{message}. Its master was started anew, and does not know of this application"
    return f"{message}. {shortage_message(_workers(state))}"


def shortage_message(workers: Sequence[Worker] | None) -> str:
    """Why a running cluster gives no executor, and the remedy. `workers`: None where the cluster cannot be asked for them."""
    if workers is None:
        why = "Its queue may be full, or no host there has as much. Ask for less"
    elif not workers:
        why = "It has no workers. Start some"
    else:
        why = (
            f"Others may have taken what there is, or workers have died (lately it had {_worker_names(workers)}). If not, "
            "executors end as they start, and a worker's log says why. Ask for less"
        )
    return f"{why}, or wait for longer (cluster.wait_seconds)"


def executor_request(spark: SparkSession) -> ExecutorRequest:
    """The request of a session, by its settings."""
    conf = spark.sparkContext.getConf()
    cores, most = conf.get("spark.executor.cores"), conf.get("spark.cores.max")
    return ExecutorRequest(
        memory=spark.sparkContext._jsc.sc().executorMemory(),
        cores=int(cores) if cores else None,
        gpus=int(conf.get("spark.executor.resource.gpu.amount", "0")),
        task_cores=int(conf.get("spark.task.cpus", "1")),
        most_cores=int(most) if most else None,
    )


def workers_of(spark: SparkSession) -> list[Worker] | None:
    """The workers of a standalone master; None where the cluster is of another sort, or the master does not answer.

    Workers that died lately are among them: a master lists them for 16 times spark.worker.timeout, and does not say which.
    """
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
    matches = [re.fullmatch(r"(.+):(\d+)", address) for address in master.removeprefix(STANDALONE).split(",")]
    if not all(matches):
        raise InputError(f"{master}: expected the address of a master with its port, such as spark://host:7077")
    return [(address[1], int(address[2])) for address in matches if address]


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
    return [_worker(worker) for worker in state.workers()]


def _worker(info: Any) -> Worker:
    gpus = info.resources().get("gpu")
    count = gpus.get().addresses().size() if gpus.isDefined() else 0
    return Worker(info.host(), info.cores(), info.memory(), count)


def _worker_names(workers: Sequence[Worker]) -> str:
    more = [f"and {len(workers) - MOST_NAMED} more"] if len(workers) > MOST_NAMED else []
    return "; ".join([*map(str, sorted(workers, key=lambda worker: (-worker.memory, worker.host))[:MOST_NAMED]), *more])


def _on_demand(spark: SparkSession) -> bool:
    return spark.sparkContext.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"
