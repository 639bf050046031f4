"""Real Horovod on Spark: what it gives, and how it ends when a rank does not do its part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from pyspark.sql import SparkSession

from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import TrainingFile, identity
from hindcast.deep.training.training import digest_of
from hindcast.deep.ways.ranks.elastic import run_elastic
from hindcast.deep.ways.ranks.launcher import RankError, run_on_ranks
from hindcast.deep.ways.ranks.watch import Line
from hindcast.deep.ways.spark import fit_on_spark
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

pytestmark = pytest.mark.parallel

ROOT = Path(__file__).resolve().parents[2]

QUICK = LstmSettings(units=16, segment=12, batch=64, epochs=2, learning_rate=5e-3, schedule="constant")


@pytest.fixture(scope="module")
def waves(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two channels of period 12; context 24, horizon 12."""
    folder = tmp_path_factory.mktemp("waves")
    hours = np.arange(600)
    values = np.sin(2 * np.pi * (hours[:, None] / 12 + np.array([0, 0.3]))) + np.random.default_rng(0).normal(0, 0.1, (600, 2))
    times = np.datetime_as_string(np.datetime64("2020-01-01T00:00:00") + hours * np.timedelta64(1, "h"))
    lines = [f"{when.replace('T', ' ')},{left},{right}" for when, (left, right) in zip(times, values, strict=True)]
    (folder / "waves.csv").write_text("\n".join(["time,left,right", *lines]) + "\n")
    spec = Spec.model_validate(
        {
            "readings": {"path": str(folder / "waves.csv"), "timestamp": "time"},
            "split": {"train": 400, "validation": 100, "test": 100},
            "windows": {"context": 24, "horizon": 12},
        }
    )
    prepare(spark, spec, folder / "waves.seq")
    return folder / "waves.seq"


def test_two_ranks_train_and_the_driver_gets_a_forecaster(spark: SparkSession, waves: Path) -> None:
    records: list[dict[str, float]] = []
    handlers, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    forecaster = fit_on_spark(spark, waves, QUICK, 2, records.append)
    assert [record["epoch"] for record in records] == [1, 2]
    assert tuple(records) == forecaster.card.history
    assert forecaster.card.part.ranks == 2
    assert forecaster.card.part.weights_sha256 == digest_of(forecaster.network.get_weights())
    context = np.zeros((3, 24, 2), np.float32)
    assert forecaster.forecast(Given.of(context)).mean.shape == (3, 12, 2)
    assert signal.getsignal(signal.SIGINT) == handlers
    assert threading.active_count() <= threads + 1


def test_a_training_goes_on_from_the_checkpoint_that_rank_0_sent_to_the_driver(
    spark: SparkSession, waves: Path, tmp_path: Path
) -> None:
    dataset, longer = SequenceDataset.open(waves), QUICK.model_copy(update={"epochs": 3, "dropout": 0.3})
    shorter, of = longer.model_copy(update={"epochs": 2}), identity(dataset, longer)
    assert identity(dataset, shorter) == of
    whole = fit_on_spark(spark, waves, longer, 2)
    fit_on_spark(spark, waves, shorter, 2, checkpoint=TrainingFile(tmp_path / "checkpoint", of))
    records: list[dict[str, float]] = []
    resumed = fit_on_spark(
        spark, waves, longer, 2, records.append, checkpoint=TrainingFile(tmp_path / "checkpoint", of, resume=True)
    )
    assert [record["epoch"] for record in records] == [3]
    assert resumed.card.part.weights_sha256 == whole.card.part.weights_sha256
    other = identity(dataset, longer.model_copy(update={"dropout": 0.0}))
    with pytest.raises(InputError, match=r"checkpoint is of another training: dropout was 0\.3, and is 0\.0"):
        fit_on_spark(spark, waves, longer, 2, checkpoint=TrainingFile(tmp_path / "checkpoint", other, resume=True))


def test_ranks_run_in_the_python_of_spark_tasks_not_in_the_drivers(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "python"
    theirs.write_text(f'#!/bin/sh\nexec {sys.executable} -X theirs "$@"\n')
    theirs.chmod(0o755)
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(theirs))
    assert run_on_ranks(spark, lambda line: sys._xoptions.get("theirs"), ranks=2, silence_seconds=60) == [True, True]


def test_too_few_slots_are_refused_before_anything_starts(spark: SparkSession, waves: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"3 ranks ask for 3 task slots, and Spark \(local\[2\]\) has 2"):
        fit_on_spark(spark, waves, QUICK, 3)
    assert time.monotonic() - began < 5


def faulty(how: str) -> Callable[[Line], int]:
    """Ranks that step together, until rank 1 does at its fifth step what it is told to."""

    def rank(line: Line) -> int:
        import os
        import signal
        import time

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        for step in range(1, 1000):
            line.step(2, step)
            print(f"rank {hvd.rank()} prints step {step}", flush=True)
            if hvd.rank() == 1 and step == 5:
                line.record({"failed": time.time()})
                if how == "raise":
                    raise ArithmeticError("five is right out")
                if how == "sleep":
                    time.sleep(600)
                os.kill(os.getpid(), signal.Signals[how])
            if hvd.rank() == 0 and step == 4:
                line.checkpoint(bytes(10_000_000) + b"the last one")
            hvd.allreduce(tf.constant(1), op=hvd.Sum)
        return 0

    return rank


# What the driver says, and within how many seconds of the fault. The limits are shortened so that the test is.
FAULTS = {
    "raise": (r"^rank 1 on \S+ raised, at epoch 2, step 5:\nTraceback(?s:.*)ArithmeticError: five is right out\nThe last 5 ", 15),
    "SIGKILL": (r"^rank 1 on \S+ \(at epoch 2, step 5\) ended with exit code 137 \(SIGKILL\)", 20),
    "SIGSTOP": (r"^rank 1 on \S+ \(at epoch 2, step 5\) has given no sign of life for 5 s", 30),
    "sleep": (
        r"^no rank has moved for 6 s; the others wait for: rank 1 on \S+ \(at epoch 2, step 5\)(?s:.*)"
        r"stands at:\n(?s:.*)time.sleep\(600\)\nThe last 5 ",
        30,
    ),
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_rank_that_fails_ends_the_run_and_is_explained(spark: SparkSession, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hindcast.deep.ways.ranks.faults.STOPPED_SECONDS", 5.0)
    records: list[dict[str, float]] = []
    checkpoints: list[bytes] = []
    message, seconds = FAULTS[how]
    with pytest.raises(RankError, match=message) as raised:
        run_on_ranks(spark, faulty(how), ranks=2, silence_seconds=6, on_record=records.append, on_checkpoint=checkpoints.append)
    assert time.time() - records[0]["failed"] < seconds
    log = str(raised.value).split("lines of rank 1's log:\n")[1].splitlines()
    assert [line for line in log if "prints" in line] == [f"rank 1 prints step {step}" for step in range(1, 6)]
    assert not any("rank 0 prints" in line for line in log)
    assert [(len(data), data[-12:]) for data in checkpoints] == [(10_000_012, b"the last one")]
    assert spark.range(10).count() == 10  # its tasks are gone: the slots are free


def test_a_rank_that_works_before_its_first_step_is_waited_for_and_one_that_sleeps_is_named(spark: SparkSession) -> None:
    def rank(line: Line) -> None:
        import time

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        if hvd.rank() == 1:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                pass
            line.record({"stopped": time.time()})
            time.sleep(600)
        line.step(1, 1)
        hvd.allreduce(tf.constant(1), op=hvd.Sum)

    records: list[dict[str, float]] = []
    message = r"^no rank has moved for 5 s; the others wait for: rank 1 on \S+ \(before the first step\)(?s:.*)time.sleep\(600\)"
    with pytest.raises(RankError, match=message):
        run_on_ranks(spark, rank, ranks=2, silence_seconds=5, on_record=records.append)
    assert time.time() - records[0]["stopped"] < 30


def failing(whens: dict[bytes | None, int]) -> Callable[[Line, bytes | None], tuple[int, bytes | None]]:
    """Ranks of which the last is killed at the step that `whens` has for the checkpoint they go on from, if it has one.

    They end after ten steps, and tell a checkpoint after each fourth.
    """

    def rank(line: Line, checkpoint: bytes | None) -> tuple[int, bytes | None]:
        import os
        import signal

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        first = int(checkpoint or b"0") + 1
        for step in range(first, 11):
            line.step(1, step)
            if hvd.rank() == hvd.size() - 1 and step == whens.get(checkpoint):
                os.kill(os.getpid(), signal.SIGKILL)
            hvd.allreduce(tf.constant(1), op=hvd.Sum)
            if hvd.rank() == 0 and step % 4 == 0:
                line.checkpoint(str(step).encode())
        return hvd.size(), checkpoint

    return rank


def test_a_run_goes_on_from_its_last_checkpoint_where_ranks_are_lost(spark: SparkSession) -> None:
    checkpoints: list[bytes] = []
    results = run_elastic(
        spark, failing({None: 6, b"4": 9}), ranks=2, least_ranks=1, silence_seconds=30, on_checkpoint=checkpoints.append
    )
    assert results == [(2, b"8"), (2, b"8")]
    assert checkpoints == [b"4", b"8"]


def test_a_run_that_fails_twice_at_the_same_place_is_given_up(spark: SparkSession) -> None:
    with pytest.raises(RankError, match=r"(?s)at epoch 1, step 6\) ended with exit code 137.*It had ended before, from the same"):
        run_elastic(spark, failing({None: 6, b"4": 6}), ranks=2, least_ranks=1, silence_seconds=30)


@pytest.mark.parametrize(
    ("least", "batch_of", "message"),
    [
        (3, "run", "least_ranks 3: must be between 1 and the number of ranks, which is 2"),
        (1, "rank", 'least_ranks 1: with batch_of = "rank" steps depend on the number of ranks'),
    ],
)
def test_ranks_that_a_training_cannot_do_without_are_said_at_once(
    spark: SparkSession, waves: Path, least: int, batch_of: str, message: str
) -> None:
    settings = QUICK.model_copy(update={"batch_of": batch_of})
    with pytest.raises(InputError, match=message):
        fit_on_spark(spark, waves, settings, 2, least_ranks=least)


def test_an_interrupt_at_the_driver_leaves_no_rank_behind(spark: SparkSession) -> None:
    pids: list[int] = []

    def endless(line: Line) -> None:
        import os
        import time

        line.record({"pid": float(os.getpid())})
        time.sleep(600)

    def interrupt(record: dict[str, float]) -> None:
        pids.append(int(record["pid"]))
        if len(pids) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_ranks(spark, endless, ranks=2, silence_seconds=60, on_record=interrupt)
    assert_gone(pids, 5)


def test_a_driver_that_is_ended_leaves_no_rank_behind(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("endless.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as driver,
    ):
        assert driver.stdout is not None
        pids = [int(driver.stdout.readline()) for _ in range(2)]
        driver.terminate()
    assert_gone(pids, 20)


def assert_gone(pids: list[int], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while left := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < limit, f"processes {left} are still there"
        time.sleep(0.1)


def test_a_gpu_that_was_asked_for_and_not_given_is_said(spark: SparkSession) -> None:
    """local[2] is a Spark that has no GPUs to give, whatever it is asked for."""
    conf = spark.sparkContext._conf
    conf.set("spark.task.resource.gpu.amount", "1")
    try:
        with pytest.raises(InputError, match=r"^rank \d on \S+: a GPU was asked for .* and Spark gave its task none[^\n]*$"):
            run_on_ranks(spark, lambda line: None, ranks=2, silence_seconds=60)
    finally:
        conf._jconf.remove("spark.task.resource.gpu.amount")


def test_a_users_mistake_on_a_rank_is_a_users_mistake_at_the_driver(spark: SparkSession, waves: Path) -> None:
    with pytest.raises(InputError, match=r"^epoch 1, step \d+: the loss is"):
        fit_on_spark(spark, waves, QUICK.model_copy(update={"learning_rate": 1e30}), 2)
