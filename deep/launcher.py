"""Runs a function on several ranks by Horovod on Spark, watched: it ends with results or with a reason, never with silence.

`horovod.spark.run` leaves a rank's exception in the executor's log, and waits for ever for a rank that stopped. Here it runs in a
thread of its own under the watch of the caller's thread, which ends it when a rank raises or all have gone quiet, and says which
rank it was, where, and how far it had come.
"""

from __future__ import annotations

import os
import re
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import horovod.spark
from horovod.spark.driver import job_id
from horovod.spark.task import get_available_devices
from pyspark.sql import SparkSession

from deep.reins import LOOPBACK, reined
from deep.watch import Address, Line, Watch
from prep.errors import InputError, RunError

# TensorFlow is imported and data are decoded before the first step.
START_SECONDS = 300.0
# What a cluster's executors are given to register, before too few slots are an error.
SLOTS_SECONDS = 30.0
# Ranks that end because another did are given this long to say so before they are ended.
GRACE_SECONDS = 10.0
ONE_RUN = threading.Lock()

OnRecord = Callable[[dict[str, float]], None]


class RankError(RunError):
    """A rank raised, died, or went silent; the message says which, where, after which step, and what it said last."""


@dataclass
class Run:
    """One run of `horovod.spark.run`, in a thread of its own."""

    call: Callable[[Run], list[Any]]
    ended: threading.Event
    log: deque[str]
    results: list[Any] | None = None
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._go, daemon=True, name="horovod on spark")
        self.thread.start()

    def _go(self) -> None:
        try:
            self.results = self.call(self)
        except BaseException as error:  # carried to the caller's thread, which raises what it means
            self.failure = error

    def write(self, text: str) -> None:
        """What ranks print goes here, as to a stream."""
        self.log.extend(text.splitlines())

    def flush(self) -> None:
        pass


def run_on_ranks(
    spark: SparkSession,
    function: Callable[..., Any],
    arguments: tuple[Any, ...] = (),
    *,
    ranks: int,
    silence_seconds: float,
    on_record: OnRecord | None = None,
) -> list[Any]:
    """`function(line, *arguments)` on each of `ranks` Spark tasks; what it returned, by rank.

    The function tells its progress by `line.step` and `line.record`; `on_record` is called with each record, in this thread.
    Raises InputError where Spark has fewer task slots than ranks, or a rank raised one; RankError for all else that ends a run.
    """
    conf, local = spark.sparkContext.getConf(), is_local(spark)
    slots = _required_slots(spark, ranks, 0 if local else SLOTS_SECONDS)
    threads = max(1, slots * int(conf.get("spark.task.cpus", "1")) // ranks)
    host = LOOPBACK if local else conf.get("spark.driver.host")
    bind = LOOPBACK if local else conf.get("spark.driver.bindAddress", host)
    with ONE_RUN, Watch(bind, host) as watch:
        group = f"horovod.spark.run.{job_id.next_job_id() + 1}"
        job = lambda run: horovod.spark.run(  # noqa: E731
            _explained, (watch.address, function, arguments), num_proc=ranks, use_gloo=True, nics={"lo"} if local else None,
            env=_environment(silence_seconds, threads), stdout=run, stderr=run, verbose=0, start_timeout=int(START_SECONDS),
        )  # fmt: skip
        ended, log = threading.Event(), deque[str](maxlen=40)
        with reined(ended, log, local):
            run = Run(job, ended, log)
            try:
                reason = _attend(run, watch, ranks, silence_seconds, on_record or (lambda record: None))
            finally:  # an interrupt too must leave nothing running
                _end(run, spark, group)
    if run.results is not None and not reason and not watch.errors:
        return run.results
    raise _explanation(run, watch, reason)


def _required_slots(spark: SparkSession, ranks: int, seconds: float) -> int:
    """The task slots there are; a cluster's executors are given some seconds to register."""
    limit = time.monotonic() + seconds
    while (slots := task_slots(spark)) < ranks:
        if time.monotonic() > limit:
            raise InputError(
                f"{ranks} ranks ask for {ranks} task slots, and Spark ({spark.sparkContext.master}) has {slots}: "
                "ask for no more ranks than that, or give Spark more cores"
            )
        time.sleep(0.5)
    return slots


def task_slots(spark: SparkSession) -> int:
    """How many tasks can run at once. Where executors come and go on demand, as many as there may be."""
    conf = spark.sparkContext.getConf()
    if conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        per_executor = int(conf.get("spark.executor.cores", "1")) // int(conf.get("spark.task.cpus", "1"))
        return int(conf.get("spark.dynamicAllocation.maxExecutors", str(2**31 - 1))) * per_executor
    scala = spark.sparkContext._jsc.sc()
    return scala.maxNumConcurrentTasks(scala.resourceProfileManager().defaultResourceProfile())


def is_local(spark: SparkSession) -> bool:
    """Whether driver and tasks are one host by construction: local[…] and local-cluster[…]."""
    return spark.sparkContext.master.startswith("local")


def visible_devices(addresses: list[str], already: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for a rank given these GPU addresses, which index what the executor may be limited to `already`."""
    if not already:
        return ",".join(addresses)
    visible = already.split(",")
    return ",".join(visible[int(address)] for address in addresses)


def _environment(silence_seconds: float, threads: int) -> dict[str, str]:
    silence = str(max(1, int(silence_seconds)))
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "HOROVOD_STALL_CHECK_TIME_SECONDS": silence,
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(2 * int(silence)),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(START_SECONDS)),
    }


def _explained(address: Address, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """On a rank: the function, with what it raises told to the driver."""
    line = Line(address, int(os.environ["HOROVOD_RANK"]))
    devices = get_available_devices()
    if devices:  # before TensorFlow is imported, which looks once
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        return function(line, *arguments)
    except Exception as error:
        known = isinstance(error, InputError)
        line.error(str(error) if known else traceback.format_exc(), input=known, follows=_follows(error))
        return None
    finally:
        line.close()


def _follows(error: Exception) -> bool:
    """Whether an error is only what a rank sees of another's end."""
    return type(error).__name__ == "HorovodInternalError" or "Horovod has been shut down" in str(error) or "gloo" in str(error)


def _attend(run: Run, watch: Watch, ranks: int, silence_seconds: float, on_record: OnRecord) -> str | None:
    """Returns when the run is over (None), or should be: why."""
    raised = None
    while run.thread.is_alive():
        run.thread.join(0.1)
        while not watch.records.empty():
            on_record(watch.records.get())
        if watch.errors:
            raised = raised or time.monotonic()
            if time.monotonic() - raised > GRACE_SECONDS or not all(error.follows for error in watch.errors):
                return "raised"
        limit = silence_seconds if watch.stepping(ranks) else max(START_SECONDS, silence_seconds)
        if watch.silent_for() > limit:
            return f"no rank has moved for {limit:g} s"
    while not watch.records.empty():
        on_record(watch.records.get())
    return None


def _end(run: Run, spark: SparkSession, group: str) -> None:
    """Ends what still runs: Horovod ends its ranks, and if it does not (a lost host), Spark ends the tasks."""
    if run.thread.is_alive():
        run.ended.set()
        run.thread.join(GRACE_SECONDS)
    if run.thread.is_alive():
        spark.sparkContext.cancelJobGroup(group)
        run.thread.join(GRACE_SECONDS)
    # A cancelled task still ends its process: a session that is stopped meanwhile would complain of it.
    patience = time.monotonic() + GRACE_SECONDS
    while run.failure and time.monotonic() < patience and _running_tasks(spark):
        time.sleep(0.1)


def _running_tasks(spark: SparkSession) -> int:
    return sum(executor.numRunningTasks() for executor in spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos())


def _explanation(run: Run, watch: Watch, reason: str | None) -> Exception:
    first = next((error for error in watch.errors if not error.follows), None)
    if first and first.input:
        return InputError(first.text)
    if first:
        return RankError(f"rank {first.rank} on {first.host} raised, {_where(watch, first.rank)}:\n{first.text}")
    told = "\nThe last lines of the log:\n" + "\n".join(run.log) if run.log else ""
    if reason and not watch.errors:
        behind = ", ".join(f"rank {rank} on {watch.places[rank].host} {_where(watch, rank)}" for rank in watch.behind())
        return RankError(f"{reason}; furthest behind: {behind or 'none has started'}. The run was ended.{told}")
    code = re.search(r"Process name: (\d+)\s+Exit code: (\S+)", str(run.failure))
    # A rank that died said nothing; the others said that they lost it.
    lost = sorted(set(watch.places) - {error.rank for error in watch.errors}) or ([int(code[1])] if code else [])
    if lost and lost[0] in watch.places:
        exit_code = f" with exit code {code[2]}" if code and int(code[1]) == lost[0] else ""
        return RankError(f"rank {lost[0]} on {watch.places[lost[0]].host} ended{exit_code}, {_where(watch, lost[0])}.{told}")
    said = watch.errors[0].text if watch.errors else f"{type(run.failure).__name__}: {run.failure}"
    return RankError(f"Horovod on Spark failed: {said}{told}")


def _where(watch: Watch, rank: int) -> str:
    at = watch.places[rank].at
    return f"at epoch {at[0]}, step {at[1]}" if at else "before the first step"
