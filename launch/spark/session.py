"""The Spark session: made, or taken where there is one, and ended with a reason."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hindcast.launch.spark.capacity import WAIT_SECONDS, must_answer
from hindcast.launch.spark.java import driver_java_conf, java_home
from hindcast.launch.spark.lost_executors import watched_executors
from hindcast.launch.spark.starting import LOCAL, started, stop
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

# Spark's page listens where this says, whatever the settings for the driver's address are: without it, everywhere.
OWN_ADDRESS = "SPARK_LOCAL_IP", "127.0.0.1"
# On a cluster, a task that failed twice on an executor, or three times on a host, is tried elsewhere. By itself Spark gives it to
# whoever is idle, and an executor that fails at once, such as one whose disk is full, always is: four times, and the job is lost.
# All else that this option brings is put out of reach: after two hiccups of a network it would take executors away from a whole
# stage, and ranks would wait for slots that no longer count.
ATTEMPTS, NEVER = 4, str(10**6)
AFTER_FAILURES = {
    "spark.task.maxFailures": str(ATTEMPTS),
    "spark.excludeOnFailure.enabled": "true",
    "spark.excludeOnFailure.task.maxTaskAttemptsPerExecutor": "2",
    "spark.excludeOnFailure.task.maxTaskAttemptsPerNode": str(ATTEMPTS - 1),
    "spark.excludeOnFailure.stage.maxFailedTasksPerExecutor": NEVER,
    "spark.excludeOnFailure.application.maxFailedTasksPerExecutor": NEVER,
}
# Petastorm speaks to pyarrow through interfaces since deprecated; its workers would say so once a file.
QUIET_WORKERS = "ignore::FutureWarning:petastorm.fs_utils"


@contextmanager
def spark_session(
    master: str | None = None,
    name: str = "hindcast",
    more: Mapping[str, str] | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[SparkSession]:
    """A session for the length of a `with`: a new one, or the one that this process has already, which then goes on.

    Under spark-submit the master and everything else come from there. Otherwise `master`, which defaults to all cores of this
    machine, where Spark listens on the loopback address alone. The Java that a process's first session starts runs those that
    follow, too. Raises InputError where no Java is found, no master answers, and where a cluster has no room for executors as
    they are asked for, has given none within `wait_seconds`, or has removed the application again and again. Where a cluster's
    last executor is lost and work waits that long for another, the application ends: Spark's error has the reason as a note.
    """
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYTHONWARNINGS", QUIET_WORKERS)
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    # Not getActiveSession, which answers for one thread of the JVM.
    if SparkContext._active_spark_context is not None:
        yield SparkSession.builder.getOrCreate()
        return
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if submitted:  # what spark-submit was told is in the Java that it started, once it is asked
        SparkContext._ensure_initialized()
    conf = SparkConf()
    master = conf.get("spark.master") or master or "local[*]"
    must_answer(master)
    if master.startswith("local"):
        os.environ.setdefault(*OWN_ADDRESS)  # for the Java that is started below
    ours = {**_defaults(master, conf.get("spark.submit.pyFiles", "")), **(more or {})}
    for key, value in ours.items():
        conf.setIfMissing(key, value)
    with ExitStack() as afterwards:
        if not submitted:
            afterwards.callback(_forget, ours)
        if not re.fullmatch(LOCAL, master):
            SparkContext._ensure_initialized(conf=conf)  # its Java has read spark-defaults.conf
            _try_elsewhere(conf, SparkConf())
        afterwards.callback(stop)
        session = started(conf, name, wait_seconds)
        if not re.fullmatch(LOCAL, master):
            afterwards.enter_context(watched_executors(session, wait_seconds))
        yield session


def _forget(settings: Iterable[str]) -> None:
    """Java outlives its sessions, and tells the next one what it was started with: these it does not."""
    from pyspark import SparkContext

    if SparkContext._jvm is not None:
        for key in settings:
            SparkContext._jvm.java.lang.System.clearProperty(key)


def _try_elsewhere(conf: SparkConf, said: SparkConf) -> None:
    """Adds AFTER_FAILURES to a session's settings, as far as the user has `said` nothing of them.

    Raises InputError where spark.task.maxFailures is no number.
    """
    attempts = conf.get("spark.task.maxFailures", said.get("spark.task.maxFailures", str(ATTEMPTS)))
    if not attempts.isdecimal():
        raise InputError(
            f"spark.task.maxFailures: found {attempts!r}, expected a whole number; mend it in spark-defaults.conf, or where "
            "spark-submit is told"
        )
    # With fewer attempts than one host may fail, Spark refuses to start.
    if int(attempts) < ATTEMPTS:
        return
    for key, value in AFTER_FAILURES.items():
        if not said.contains(key):
            conf.setIfMissing(key, value)


def _defaults(master: str, carried: str) -> dict[str, str]:
    conf = {
        "spark.master": master,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.ui.showConsoleProgress": "false",
        # What is kept between passes is compact already; to unpack it anew in every pass takes longer than to read it.
        "spark.rdd.compress": "false",
        "spark.python.daemon.module": "hindcast.launch.spark.daemon",
        "spark.executorEnv.PYTHONWARNINGS": QUIET_WORKERS,
    }
    conf |= driver_java_conf()
    if carried:
        # spark-submit's zips are on a task's path, but the process that tasks are forked from is started before there is one.
        # Executors have them where they run; only tasks of this process find them where they lie.
        here = re.fullmatch(LOCAL, master)
        paths = [place.removeprefix("file:") if here else place.rpartition("/")[2] for place in carried.split(",")]
        conf["spark.executorEnv.PYTHONPATH"] = os.pathsep.join(paths)
    if master.startswith("local"):
        conf |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.driver.memory": "2g",
        }
    return conf
