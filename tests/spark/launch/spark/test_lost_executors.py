"""When the wait for another executor ends. A session of this machine has none, and so waits for one whenever a job of it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from hindcast.launch.spark import lost_executors
from hindcast.launch.spark.lost_executors import ExecutorWatch, watched_executors

WAIT_SECONDS, SECONDS = 0.4, 20.0


@pytest.fixture(autouse=True)
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a cluster's scheduler would say, and this machine's does not know."""
    ids: list[str] = []
    monkeypatch.setattr(lost_executors, "_unconfirmed", lambda _: ids)
    return ids


@pytest.fixture
def job(spark: SparkSession) -> Iterator[None]:
    """One that runs while the test does, or a minute."""

    def work(_: int) -> None:
        time.sleep(60)

    context = spark.sparkContext

    def run() -> None:
        context.setJobGroup("waiting", "waits", interruptOnCancel=True)
        with pytest.raises(Exception, match="cancelled"):
            context.parallelize([0], 1).foreach(work)

    thread = threading.Thread(target=run)
    thread.start()
    limit = time.monotonic() + 30
    while not context.statusTracker().getActiveJobsIds() and time.monotonic() < limit:
        time.sleep(0.05)
    yield
    context.cancelJobGroup("waiting")
    thread.join(30)


@pytest.mark.usefixtures("job")
def test_a_job_without_an_executor_is_ended_once_and_its_error_has_the_reason(spark: SparkSession) -> None:
    reasons, ended = list[str](), threading.Event()

    def end(_: SparkSession, why: str) -> None:
        reasons.append(why)
        ended.set()

    def work() -> None:
        with watched_executors(spark, WAIT_SECONDS, end):
            assert ended.wait(30)
            time.sleep(2 * WAIT_SECONDS)
            raise RuntimeError("SparkContext was shut down")

    with pytest.raises(RuntimeError) as raised:
        work()
    assert len(reasons) == 1
    assert raised.value.__notes__ == reasons
    assert reasons[0].startswith("no executor is left, and local[2] has given no executor within 0.4 s; each was asked for")
    assert reasons[0].endswith("or wait for longer (cluster.wait_seconds)")


@pytest.mark.usefixtures("job")
def test_the_block_outlasts_an_end_that_has_begun(spark: SparkSession) -> None:
    begun, over = threading.Event(), threading.Event()

    def end(_: SparkSession, why: str) -> None:
        begun.set()
        time.sleep(2 * lost_executors.POLL_SECONDS)
        over.set()

    with watched_executors(spark, WAIT_SECONDS, end):
        assert begun.wait(30)
    assert over.is_set()


def test_a_session_that_asks_for_nothing_is_left_alone(spark: SparkSession) -> None:
    watch = ExecutorWatch(spark, SECONDS, now=0)
    assert watch.look(1.0) is None
    assert watch.look(1000.0) is None


@pytest.mark.usefixtures("job")
def test_the_next_executor_that_comes_in_time_is_enough(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = 0
    monkeypatch.setattr(lost_executors, "executors", lambda _: there)
    watch, said = (
        ExecutorWatch(spark, SECONDS, now=0),
        "no executor is left; another is waited for, up to 20 s (cluster.wait_seconds)",
    )
    for now in (1.0, 15.5, 19.0):
        assert watch.look(now) is None
    assert caplog.messages == [said]
    there = 1
    assert watch.look(30.0) is None
    there = 0
    assert watch.look(49.0) is None
    assert caplog.messages == [said, said]
    assert watch.look(51.0) is not None


@pytest.mark.usefixtures("job")
def test_one_that_comes_while_it_is_asked_why_none_does_is_enough(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    there = 0

    def nothing_came(_: SparkSession, seconds: float) -> str:
        nonlocal there
        there = 1
        return "a master that is slow to answer"

    monkeypatch.setattr(lost_executors, "executors", lambda _: there)
    monkeypatch.setattr(lost_executors, "absence_message", nothing_came)
    assert ExecutorWatch(spark, SECONDS, now=0).look(21.0) is None


def test_what_is_given_up_and_not_confirmed_in_time_is_removed(
    spark: SparkSession, given_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(lost_executors, "_remove", lambda _, executor: removed.append(executor))
    watch = ExecutorWatch(spark, SECONDS, now=0)  # Spark waits for an answer for 120 s
    given_up[:] = ["1", "2"]
    watch.look(1.0)
    given_up[:] = ["1"]  # the cluster has answered
    watch.look(2.0)
    given_up[:] = ["1", "2"]  # and another of that name is given up later
    watch.look(100.0)
    assert not removed
    watch.look(127.0)
    assert removed == ["1"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_look_that_fails_is_told_once_and_is_not_the_last(
    spark: SparkSession, stopped: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    def fail(_: SparkSession) -> list[str]:
        nonlocal looks
        looks += 1
        raise RuntimeError("no such method")

    monkeypatch.setattr(lost_executors, "_unconfirmed", fail)
    monkeypatch.setattr(lost_executors, "_is_stopped", lambda _: stopped)
    with watched_executors(spark, WAIT_SECONDS):
        limit = time.monotonic() + 30
        while looks < 3 and time.monotonic() < limit:
            time.sleep(0.05)
    assert looks >= 3
    assert caplog.messages == ([] if stopped else ["whether executors are lost is not known at the moment: no such method"])
