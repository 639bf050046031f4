"""The reason why an application ended before its command. A standalone cluster that removes an application writes so to Spark's
log alone; the driver then fails with any of many errors, depending on what it was doing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPEAKER = "org.apache.spark.scheduler.cluster.StandaloneSchedulerBackend"
WORDS = "Application has been killed. Reason: "
# As many executors failed as the master's spark.deploy.maxExecutorRetries says, while none ran.
FAILED = "Master removed our application: FAILED"

_error_log: Any = None
_own_reason: str | None = None


def listen(jvm: Any) -> None:
    """Collects, from the log of a driver's Java, the reasons why applications end; earlier ones are forgotten."""
    global _error_log
    forget()
    if _error_log is not None:
        return
    log4j, heard = jvm.org.apache.logging.log4j, jvm.java.io.StringWriter()
    results = getattr(log4j.core, "Filter$Result")
    # Where Spark says more than errors, the same speaker tells of every executor.
    errors = log4j.core.filter.ThresholdFilter.createFilter(log4j.Level.ERROR, results.NEUTRAL, results.DENY)
    layout = log4j.core.layout.PatternLayout.createDefaultLayout()
    appender = log4j.core.appender.WriterAppender.createAppender(layout, errors, heard, "ended", False, True)
    appender.start()
    speaker = log4j.LogManager.getLogger(SPEAKER)
    speaker.addAppender(appender)
    speaker.setAdditive(True)  # and the log has it, too
    _error_log = heard


def end(spark: SparkSession, why: str) -> None:
    """Ends a session's application from another thread. Jobs that run then fail, and `reason` returns `why`.

    Spark's log is silent meanwhile: it would have a page for each job.
    """
    global _own_reason
    _own_reason = why
    with muted(spark._jvm):
        spark.sparkContext._jsc.sc().stop()


def forget() -> None:
    """Forgets every reason until now."""
    global _own_reason
    _own_reason = None
    if _error_log is not None:
        _error_log.getBuffer().setLength(0)


@contextmanager
def muted(jvm: Any) -> Iterator[None]:
    """Spark's log prints nothing in the block; reasons in it are still collected."""
    log4j = jvm.org.apache.logging.log4j
    configurator, speaker, level = log4j.core.config.Configurator, log4j.LogManager.getLogger(SPEAKER), log4j.Level
    before = log4j.LogManager.getRootLogger().getLevel()
    configurator.setRootLevel(level.OFF)
    speaker.setAdditive(False)
    try:
        yield
    finally:
        speaker.setAdditive(True)
        configurator.setRootLevel(before)


def reason() -> str | None:
    """The reason that `end` was given, or else the one in Spark's log; None where there is none, or Java is gone too."""
    from py4j.protocol import Py4JError

    if _own_reason is not None or _error_log is None:
        return _own_reason
    try:
        _, marker, after = str(_error_log.toString()).rpartition(WORDS)
    except (Py4JError, OSError):
        return None
    return after.splitlines()[0].strip() if marker else None
