"""Lost executors, where Spark's waits have no end: for a cluster to confirm that one is gone, and for the next when all are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hindcast.launch.spark import ended
from hindcast.launch.spark.capacity import executors, nothing_came

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
# One that ends is followed by the next in less, and executors that come on demand are here by then.
SAY_SECONDS = 15.0
# After Spark's own question has had no answer.
CONFIRM_SECONDS = 5.0
UNCONFIRMED = "It sends no heartbeats, or was to end, and the cluster does not confirm that it is gone"


@contextmanager
def watched(spark: SparkSession, seconds: float, end: Callable[[SparkSession, str], None] = ended.end) -> Iterator[None]:
    """In the block, executors that Spark has given up are lost to it also where nobody confirms it; and `end` is called with the
    session and the reason once a job of it has waited for so long without any executor.

    A session that asks for nothing is left alone, and so is one whose executors work on without a master.
    """
    watch, over, ending = Watch(spark, seconds, time.monotonic()), threading.Event(), threading.Lock()
    reasons = list[str]()

    def run() -> None:
        failed = False
        while not over.wait(min(POLL_SECONDS, seconds / 4)) and not reasons:
            try:
                why = watch.look(time.monotonic())
            except Exception as error:  # whatever a look meets, the next may find a cluster in order again
                if not failed and not over.is_set() and not _is_stopped(spark):
                    failed = True
                    log.warning("whether executors are lost is not known at the moment: %s", error)
                continue
            with ending:
                if why and not over.is_set():
                    reasons.append(why)
                    end(spark, why)

    thread = threading.Thread(target=run, name="lost executors", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        for why in reasons:
            error.add_note(why)
        raise
    finally:
        with ending:  # a session is not stopped, and none started, in the middle of its end
            over.set()
        thread.join(POLL_SECONDS)


class Watch:
    """What was seen of a session's executors until now, in seconds of one clock."""

    def __init__(self, spark: SparkSession, seconds: float, now: float) -> None:
        self._spark, self._seconds = spark, seconds
        self._confirmed_within = CONFIRM_SECONDS + _answer_seconds(spark)
        self._given_up = dict[str, float]()
        self._since, self._said = now, False

    def look(self, now: float) -> str | None:
        """Removes what was given up too long ago; why the session is to be ended, where it is."""
        self._given_up = {one: self._given_up.get(one, now) for one in _given_up(self._spark)}
        for executor, since in self._given_up.items():
            if now - since > self._confirmed_within:
                _remove(self._spark, executor)
        if not self._waits():
            self._since, self._said = now, False
        elif now - self._since > self._seconds:
            why = f"no executor is left, and {nothing_came(self._spark, self._seconds)}"
            return why if self._waits() else None  # to ask why takes its time
        elif now - self._since > SAY_SECONDS and not self._said:
            self._said = True
            log.warning("no executor is left; another is waited for, up to %g s (cluster.wait_seconds)", self._seconds)
        return None

    def _waits(self) -> bool:
        return not executors(self._spark) and bool(self._spark.sparkContext.statusTracker().getActiveJobsIds())


# Spark asks its cluster to kill an executor whose heartbeats it misses, and removes it when that has answered. Where a host that
# is gone had the master, too, no answer comes, Spark forgets the matter, and the executor's tasks run for ever.


def _given_up(spark: SparkSession) -> list[str]:
    """Those that Spark has asked its cluster to kill, and that it still counts as its own."""
    java: Any = spark._jvm
    scheduler = _scheduler(spark)
    pending = scheduler.executorsPendingToRemove()
    if pending.isEmpty():
        return []
    known = java.scala.collection.JavaConverters.seqAsJavaList(scheduler.getExecutorIds())
    return [executor for executor in known if pending.contains(executor)]


def _remove(spark: SparkSession, executor: str) -> None:
    java: Any = spark._jvm
    lost = java.org.apache.spark.scheduler.ExecutorProcessLost(UNCONFIRMED, java.scala.Option.empty(), False)
    _scheduler(spark).removeExecutor(executor, lost)


def _answer_seconds(spark: SparkSession) -> float:
    """For which Spark waits for its cluster's answer."""
    java: Any = spark._jvm
    timeout = java.org.apache.spark.util.RpcUtils.askRpcTimeout(spark.sparkContext._jsc.sc().conf())
    return float(timeout.duration().toMillis()) / 1000


def _is_stopped(spark: SparkSession) -> bool:
    """The session, or its Java."""
    from py4j.protocol import Py4JError

    try:
        return bool(spark.sparkContext._jsc.sc().isStopped())
    except (Py4JError, OSError, AttributeError):  # a session that is stopped has no Java
        return True


def _scheduler(spark: SparkSession) -> Any:
    return spark.sparkContext._jsc.sc().schedulerBackend()
