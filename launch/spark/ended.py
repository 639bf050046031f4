"""Why an application was ended before its command was over. What a standalone cluster does Spark tells to its own log alone, and
what a driver meets next is any of many errors, by where it was."""

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

_heard: Any = None
_ours: str | None = None


def listen(jvm: Any) -> None:
    """From now on, in a driver's Java, to why applications are ended; what was heard of earlier ones is forgotten."""
    global _heard
    forget()
    if _heard is not None:
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
    _heard = heard


def end(spark: SparkSession, why: str) -> None:
    """Ends a session's application from another thread: whoever waits for a job of it meets an error, whose reason this is. What
    Spark's log has of it, a page for each job, is not said."""
    global _ours
    _ours = why
    with muted(spark._jvm):
        spark.sparkContext._jsc.sc().stop()


def forget() -> None:
    """What was heard and said until now."""
    global _ours
    _ours = None
    if _heard is not None:
        _heard.getBuffer().setLength(0)


@contextmanager
def muted(jvm: Any) -> Iterator[None]:
    """Spark's log says nothing in the block, and is still listened to."""
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
    """That of `end`, or in Spark's words; None where nothing ended it, or Java is gone too."""
    from py4j.protocol import Py4JError

    if _ours is not None or _heard is None:
        return _ours
    try:
        _, found, after = str(_heard.toString()).rpartition(WORDS)
    except (Py4JError, OSError):
        return None
    return after.splitlines()[0].strip() if found else None
