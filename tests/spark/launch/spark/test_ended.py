"""What is heard of Spark's log, and what the log itself then says."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession

from hindcast.launch.cli.explaining import explain
from hindcast.launch.spark import ended


@pytest.fixture
def log4j(spark: SparkSession) -> Any:
    jvm: Any = spark._jvm
    ended.listen(jvm)
    return jvm.org.apache.logging.log4j


def test_the_reason_is_heard_and_forgotten(spark: SparkSession, log4j: Any) -> None:
    speaker = log4j.LogManager.getLogger(ended.SPEAKER)
    speaker.error("Disconnected")
    assert ended.reason() is None
    speaker.error(f"{ended.WORDS}Master removed our application: KILLED")
    assert ended.reason() == "Master removed our application: KILLED"
    assert explain(RuntimeError("any"))[0].startswith(
        "The application was ended before the command was over: Master removed our application: KILLED. Run it again"
    )
    ended.listen(spark._jvm)
    assert ended.reason() is None
    assert explain(RuntimeError("any"))[0].startswith("RuntimeError: any")


def test_what_is_no_error_is_not_kept(log4j: Any) -> None:
    log4j.core.config.Configurator.setLevel(ended.SPEAKER, log4j.Level.INFO)
    try:
        log4j.LogManager.getLogger(ended.SPEAKER).info(f"{ended.WORDS}none")
        assert ended.reason() is None
    finally:
        log4j.core.config.Configurator.setLevel(ended.SPEAKER, log4j.Level.ERROR)


def test_the_log_is_mute_in_the_block_alone_and_the_reason_is_heard(spark: SparkSession, log4j: Any) -> None:
    root, speaker = log4j.LogManager.getRootLogger(), log4j.LogManager.getLogger(ended.SPEAKER)
    before = root.getLevel().toString()
    with ended.muted(spark._jvm):
        assert root.getLevel().toString() == "OFF"
        assert not speaker.isAdditive()
        speaker.error(f"{ended.WORDS}{ended.FAILED}")
    assert ended.reason() == ended.FAILED
    assert root.getLevel().toString() == before
    assert speaker.isAdditive()
    ended.forget()
