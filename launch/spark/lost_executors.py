"""Lost executors. Spark waits without end for a cluster to confirm that one is gone, and for a new one when all are gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hindcast.launch.spark import ended
from hindcast.launch.spark.capacity import absence_message, executors

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
def watched_executors(
    spark: SparkSession, seconds: float, end: Callable[[SparkSession, str], None] = ended.end
) -> Iterator[None]:
    """Watches the executors of a session in the block.

    An executor that Spark has asked its cluster to kill is removed, also where the cluster never confirms that. `end` is called
    with the session and the reason when a job has waited for `seconds` without any executor; an error that leaves the block has
    the reason as a note. A session without jobs is left alone, and so is one whose executors work on without a master.
    """
    watch, over, ending = ExecutorWatch(spark, seconds, time.monotonic()), threading.Event(), threading.Lock()
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


class ExecutorWatch:
    """The executors of a session over time; times are seconds of one clock."""

    def __init__(self, spark: SparkSession, seconds: float, now: float) -> None:
        self._spark, self._seconds = spark, seconds
        self._confirmed_within = CONFIRM_SECONDS + _answer_seconds(spark)
        self._unconfirmed_since = dict[str, float]()
        self._since, self._said = now, False

    def look(self, now: float) -> str | None:
        """Removes executors whose end was not confirmed in time. Returns why the session has to end; None where it goes on."""
        self._unconfirmed_since = {name: self._unconfirmed_since.get(name, now) for name in _unconfirmed(self._spark)}
        for executor, since in self._unconfirmed_since.items():
            if now - since > self._confirmed_within:
                _remove(self._spark, executor)
        if not self._waits():
            self._since, self._said = now, False
        elif now - self._since > self._seconds:
            why = f"no executor is left, and {absence_message(self._spark, self._seconds)}"
            return why if self._waits() else None  # to ask why takes its time
        elif now - self._since > SAY_SECONDS and not self._said:
            self._said = True
            log.warning("no executor is left; another is waited for, up to %g s (cluster.wait_seconds)", self._seconds)
        return None

    def _waits(self) -> bool:
        return not executors(self._spark) and bool(self._spark.sparkContext.statusTracker().getActiveJobsIds())


# Spark asks its cluster to kill an executor whose heartbeats it misses, and removes it when that has answered. Where a host that
# is gone had the master, too, no answer comes, Spark forgets the matter, and the executor's tasks run for ever.


def _unconfirmed(spark: SparkSession) -> list[str]:
    """The executors that Spark has asked its cluster to kill, and still counts as its own."""
    java: Any = spark._jvm
    scheduler = _scheduler(spark)
    pending = scheduler.executorsPendingToRemove()
    if pending.isEmpty():
        return []
    ids = java.scala.collection.JavaConverters.seqAsJavaList(scheduler.getExecutorIds())
    return [executor for executor in ids if pending.contains(executor)]


def _remove(spark: SparkSession, executor: str) -> None:
    java: Any = spark._jvm
    reason = java.org.apache.spark.scheduler.ExecutorProcessLost(UNCONFIRMED, java.scala.Option.empty(), False)
    _scheduler(spark).removeExecutor(executor, reason)


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
