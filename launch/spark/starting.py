"""A session that has its executors, also where a worker of a standalone cluster fails all that it is given."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from hindcast.launch.spark import ended
from hindcast.launch.spark.capacity import STANDALONE, await_executors
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)
# Tasks run in the driver's own Java.
LOCAL = r"local(\[.*\])?"
# A worker that fails every executor at once, such as one whose disk is full, may have failed ten before the first runs anywhere
# else. A standalone master then removes the application, however well all other workers are: one start in three where there was
# one other, and two in three where its host was busy. A start takes less than a second.
START_SECONDS, STOP_SECONDS = 60.0, 30.0
STOPPER = "stop-spark-context"


def started(conf: SparkConf, name: str, wait_seconds: float) -> SparkSession:
    """A new session; of a cluster, with what executors have come within `wait_seconds`.

    Raises InputError as `await_executors` does, and where a standalone cluster ended the application before one ran; if that was
    since executors failed, after START_SECONDS of starting it again, or `wait_seconds` where those are fewer.
    """
    from pyspark import SparkContext

    master = conf.get("spark.master", "")
    if not master.startswith(STANDALONE):
        ended.forget()
        return _start(conf, name, wait_seconds)
    ended.listen(SparkContext._jvm)
    session = _start_unless_removed(conf, name, wait_seconds)
    if session is not None:
        return session
    seconds = min(START_SECONDS, wait_seconds)
    log.warning("%s removed the application, for executors failed at once; it is started again, for up to %g s", master, seconds)
    limit = time.monotonic() + seconds
    with ended.muted(SparkContext._jvm):
        while time.monotonic() < limit:
            session = _start_unless_removed(conf, name, wait_seconds)
            if session is not None:
                return session
    raise InputError(
        f"{master} removed the application for {seconds:g} s whenever it began, before an executor of it ran. Executors fail at "
        "once on a worker whose disk is full, or that finds no Java: its own log says why. Mend that worker, or stop it; if the "
        "others are well, the master leaves the application alone if it is started with -Dspark.deploy.maxExecutorRetries=-1"
    )


def stop() -> None:
    """Stops the session of this process, or what there is of one that could not be made."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    session = SparkSession._instantiatedSession or SparkContext._active_spark_context
    if session is not None:
        session.stop()


def _start(conf: SparkConf, name: str, wait_seconds: float) -> SparkSession:
    from pyspark.sql import SparkSession

    session = SparkSession.builder.config(conf=conf).appName(name).getOrCreate()
    if not re.fullmatch(LOCAL, session.sparkContext.master):
        await_executors(session, wait_seconds)
    return session


def _start_unless_removed(conf: SparkConf, name: str, wait_seconds: float) -> SparkSession | None:
    """None where a standalone master removed the application since its executors failed: all is as before then."""
    try:
        return _start(conf, name, wait_seconds)
    except Exception as error:
        why = ended.reason()
        if why is None:
            raise
        stop()
        _until_stopped()
        ended.forget()
        if why != ended.FAILED:
            raise InputError(f"the application ended before an executor of it ran: {why} ({conf.get('spark.master')})") from error
        return None


def _until_stopped() -> None:
    """Spark stops what a cluster has ended in a thread of its own, which ends with what all sessions share. Raises InputError
    where that takes longer than STOP_SECONDS."""
    from pyspark import SparkContext

    jvm, limit = SparkContext._jvm, time.monotonic() + STOP_SECONDS
    assert jvm is not None
    while any(thread.getName() == STOPPER for thread in jvm.java.lang.Thread.getAllStackTraces().keySet()):
        if time.monotonic() > limit:
            raise InputError(
                f"Spark does not stop an application that its cluster has ended within {STOP_SECONDS:g} s. Try again"
            )
        time.sleep(0.05)
