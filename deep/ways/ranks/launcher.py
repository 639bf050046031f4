"""Runs a function on several ranks by Horovod on Spark, watched: it ends with results or with a reason, never with silence.

`horovod.spark.run` leaves a rank's exception in the executor's log, and waits for ever for a rank that stopped. Here it runs in a
thread of its own under the watch of the caller's thread, which ends it when a rank raises, dies, is lost with its host, or stops,
and says which rank it was, where, how far it had come, and what it printed last.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import horovod.spark
from horovod.spark.driver import job_id
from pyspark.resource import ResourceProfile
from pyspark.sql import SparkSession

from hindcast.deep.ways.listening import PORTS, ports_of
from hindcast.deep.ways.ranks.faults import GRACE_SECONDS, START_SECONDS, Fault, RankError, explained, find
from hindcast.deep.ways.ranks.processes import LOG_LINES, Processes
from hindcast.deep.ways.ranks.rank import run_rank
from hindcast.deep.ways.ranks.reins import LOOPBACK, reined
from hindcast.deep.ways.ranks.watch import END, WHERE, Watch
from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import gpus_a_task, gpus_here
from hindcast.prep.spark.slots import SLOTS_SECONDS, is_local, runs_tasks_itself, slots_within, threads_each

__all__ = ["OnCheckpoint", "OnRecord", "RankError", "run_on_ranks"]

# Ranks are given this long to say where they stand.
ANSWER_SECONDS = 1.5
# A driver that was away for longer than this (in a callback, or stopped) has not heard what ranks said meanwhile.
AWAY_SECONDS = 3.0
RUN_LOCK = threading.Lock()

OnRecord = Callable[[dict[str, float]], None]
OnCheckpoint = Callable[[bytes], None]


@dataclass
class HorovodCall:
    """A call of `horovod.spark.run`, in a thread of its own; its results, or the exception that it ended with."""

    call: Callable[[], list[Any]]
    results: list[Any] | None = None
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._go, daemon=True, name="horovod on spark")
        self.thread.start()

    def _go(self) -> None:
        try:
            self.results = self.call()
        except BaseException as error:  # carried to the caller's thread, which raises what it means
            self.failure = error


def run_on_ranks(
    spark: SparkSession,
    function: Callable[..., Any],
    arguments: tuple[Any, ...] = (),
    *,
    ranks: int,
    silence_seconds: float,
    gpu_each: bool = False,
    on_record: OnRecord | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> list[Any]:
    """Runs `function(line, *arguments)` on each of `ranks` Spark tasks. Returns the results, by rank.

    The function reports its progress by `line.step`, `line.record` and `line.checkpoint`; `on_record` and `on_checkpoint` are
    called with each record and each whole checkpoint, in order, in this thread. With `gpu_each` a rank sees one GPU, its own
    (prep/spark/gpus.py).

    Raises InputError where Spark has fewer task slots or GPUs than ranks, where a rank gets none of the GPUs that Spark was asked
    for, or where a rank raised an InputError; RankError for all else that ends a run.
    """
    conf, local = spark.sparkContext.getConf(), is_local(spark)
    profile = gpus_a_task(spark, 1) if gpu_each else None
    own_gpus = gpus_here(ranks) if gpu_each and profile is None else None
    _require_slots(spark, ranks, profile)
    host = LOOPBACK if local else conf.get("spark.driver.host")
    bind = LOOPBACK if local else conf.get("spark.driver.bindAddress", host)
    ports = ports_of(conf.get(PORTS))
    environment = _environment(silence_seconds, threads_each(spark, ranks))
    gpus = "1" if profile else conf.get("spark.task.resource.gpu.amount")
    ended, log, processes = threading.Event(), deque[str](maxlen=LOG_LINES), Processes()
    with (
        RUN_LOCK,
        Watch(bind, host, ports=ports) as watch,
        reined(ended, log, processes, local, f"{ranks} ranks of Horovod", profile, ports),
    ):
        deliver = partial(_deliver, watch, on_record or _ignore, on_checkpoint or _ignore)
        group = f"horovod.spark.run.{job_id.next_job_id() + 1}"
        rank_arguments, nics = (watch.address, function, arguments, gpus, own_gpus), {"lo"} if local else None
        run = HorovodCall(
            lambda: horovod.spark.run(
                run_rank, rank_arguments, num_proc=ranks, use_gloo=True, nics=nics, env=environment, verbose=0,
                start_timeout=int(START_SECONDS), executable=spark.sparkContext.pythonExec,
            )
        )  # fmt: skip
        fault = None
        try:
            fault = _attend(run, watch, processes, ranks, silence_seconds, deliver)
        finally:  # an interrupt too must leave nothing running
            _end(run, watch, processes, ended, spark, group, fault)
        deliver()
    if run.results is not None and not fault:
        return run.results
    raise explained(fault, watch, processes, f"{type(run.failure).__name__}: {run.failure}", log)


def _ignore(message: Any) -> None:
    """The callback where the caller has none."""


def _require_slots(spark: SparkSession, ranks: int, profile: ResourceProfile | None) -> None:
    """Raises InputError where there are fewer; a cluster's executors are given some seconds to register."""
    slots = slots_within(spark, ranks, 0 if runs_tasks_itself(spark) else SLOTS_SECONDS, profile)
    if slots < ranks:
        each = " with a GPU each" if profile else ""
        raise InputError(
            f"{ranks} ranks ask for {ranks} task slots{each}, and Spark ({spark.sparkContext.master}) has {slots}: "
            "ask for no more ranks than that, or give Spark more cores (and GPUs, where each task asks for some)"
        )


def _environment(silence_seconds: float, threads: int) -> dict[str, str]:
    silence = str(max(1, int(silence_seconds)))
    return {
        "PYTHONFAULTHANDLER": "1",  # a crash of compiled code leaves its Python stack in the log
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "HOROVOD_STALL_CHECK_TIME_SECONDS": silence,
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(2 * int(silence)),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(START_SECONDS)),
    }


def _deliver(watch: Watch, on_record: OnRecord, on_checkpoint: OnCheckpoint) -> None:
    while not watch.messages.empty():
        message = watch.messages.get()
        if isinstance(message, bytes):
            on_checkpoint(message)
        else:
            on_record(message)


def _attend(
    run: HorovodCall, watch: Watch, processes: Processes, ranks: int, silence_seconds: float, deliver: Callable[[], None]
) -> Fault | None:
    """Returns when the run is over, or should be: for which fault, if any."""
    since = attended = time.monotonic()
    while run.thread.is_alive():
        run.thread.join(0.1)
        deliver()
        if time.monotonic() - attended > AWAY_SECONDS:
            since = time.monotonic()
        attended = time.monotonic()
        fault = find(watch, processes, ranks, silence_seconds, since)
        if fault and fault.how == "silent":
            watch.say(WHERE)
            time.sleep(ANSWER_SECONDS)
            fault = find(watch, processes, ranks, silence_seconds, since)
        if fault:
            return fault
    deliver()
    if run.results is not None and not watch.errors:
        return None
    return find(watch, processes, ranks, silence_seconds, since, over=True)


def _end(
    run: HorovodCall,
    watch: Watch,
    processes: Processes,
    ended: threading.Event,
    spark: SparkSession,
    group: str,
    fault: Fault | None,
) -> None:
    """Ends what still runs: ranks end when told, Horovod ends those that do not, and if it cannot, Spark ends the tasks."""
    lost = set(fault.ranks) if fault and fault.how in ("unreachable", "absent") else set()
    if run.thread.is_alive():
        processes.abandoned |= lost
        watch.say(END)
        ended.set()
        run.thread.join(GRACE_SECONDS)
    if run.thread.is_alive():
        spark.sparkContext.cancelJobGroup(group)
        run.thread.join(GRACE_SECONDS)
    # A cancelled task still ends its process: a session that is stopped meanwhile would complain of it.
    limit = time.monotonic() + GRACE_SECONDS
    while run.failure and time.monotonic() < limit and _running_tasks(spark) > len(lost):
        time.sleep(0.1)


def _running_tasks(spark: SparkSession) -> int:
    return sum(executor.numRunningTasks() for executor in spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos())
