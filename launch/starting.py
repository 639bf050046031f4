"""A session that has its executors, also where a worker of a standalone cluster fails all that it is given."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from launch import ended
from launch.capacity import STANDALONE, await_executors
from prep.errors import InputError

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


def started(conf: SparkConf, name: str, wait_seconds: float) -> SparkSession:
    """A new session; of a cluster, with what executors have come within `wait_seconds`.

    Raises InputError as `await_executors` does, and where a standalone master ended the application before one ran; if that was
    since executors failed, after START_SECONDS of starting it again, or `wait_seconds` where those are fewer.
    """
    from pyspark import SparkContext

    session = _start(conf, name, wait_seconds)
    if session is not None:
        return session
    master, seconds = conf.get("spark.master"), min(START_SECONDS, wait_seconds)
    log.warning("%s removed the application, for executors failed at once; it is started again, for up to %g s", master, seconds)
    limit = time.monotonic() + seconds
    with ended.muted(SparkContext._jvm):
        while time.monotonic() < limit:
            session = _start(conf, name, wait_seconds)
            if session is not None:
                return session
    raise InputError(
        f"{master} removed the application for {seconds:g} s whenever it began, before an executor of it ran. Executors fail at "
        "once on a worker whose disk is full, or that finds no Java: its own log says why. Mend that worker, or stop it; if the "
        "others are well, the master leaves the application alone if it is started with -Dspark.deploy.maxExecutorRetries=-1"
    )


def _start(conf: SparkConf, name: str, wait_seconds: float) -> SparkSession | None:
    """The same; None where a standalone master removed the application, since its executors failed."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    master = conf.get("spark.master", "")
    if master.startswith(STANDALONE):
        ended.listen(SparkContext._jvm)
    try:
        session = SparkSession.builder.config(conf=conf).appName(name).getOrCreate()
        if not re.fullmatch(LOCAL, master):
            await_executors(session, wait_seconds)
    except Exception as error:
        why = ended.reason()
        if why is None:
            raise
        if why != ended.FAILED:
            raise InputError(f"{master} ended the application before an executor of it ran: {why}") from error
        stop()
        _until_stopped()
        return None
    return session


def stop() -> None:
    """Stops the session of this process, or what there is of one that could not be made."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    one = SparkSession._instantiatedSession or SparkContext._active_spark_context
    if one is not None:
        one.stop()


def _until_stopped() -> None:
    """Spark stops what its master has removed in a thread of its own, and there is but one context at a time."""
    from pyspark import SparkContext

    assert SparkContext._jvm is not None
    contexts = getattr(getattr(SparkContext._jvm.org.apache.spark, "SparkContext$"), "MODULE$")
    limit = time.monotonic() + STOP_SECONDS
    while contexts.getActive().isDefined() and time.monotonic() < limit:
        time.sleep(0.05)
