"""Real Horovod on Spark: what it gives, and how it ends when a rank does not do its part."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from deep.launcher import RankError, run_on_ranks
from deep.settings import LstmSettings
from deep.spark import fit_on_spark
from deep.training import digest_of
from deep.watch import Line
from prep.errors import InputError
from prep.pipeline import prepare
from prep.spec import Spec
from prep.windows import Given

pytestmark = pytest.mark.parallel

QUICK = LstmSettings(units=16, segment=12, batch=64, epochs=2, learning_rate=5e-3)


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
    assert forecaster.card.settings["ranks"] == 2
    assert forecaster.card.settings["weights_sha256"] == digest_of(forecaster.network.get_weights())
    context = np.zeros((3, 24, 2), np.float32)
    assert forecaster.forecast(Given.of(context)).mean.shape == (3, 12, 2)
    assert signal.getsignal(signal.SIGINT) == handlers
    assert threading.active_count() <= threads + 1


def test_too_few_slots_are_refused_before_anything_starts(spark: SparkSession, waves: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"3 ranks ask for 3 task slots, and Spark \(local\[2\]\) has 2"):
        fit_on_spark(spark, waves, QUICK, 3)
    assert time.monotonic() - began < 5


def test_a_rank_that_raises_is_explained_at_the_driver(spark: SparkSession) -> None:
    def half_wrong(line: Line) -> int:
        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        line.step(1, 7)
        if hvd.rank() == 1:
            raise ArithmeticError("seven is right out")
        return int(hvd.allreduce(tf.constant(1), op=hvd.Sum))  # waits for a rank that will not come

    with pytest.raises(RankError, match=r"(?s)rank 1 on .+ raised, at epoch 1, step 7:.*ArithmeticError: seven is right out"):
        run_on_ranks(spark, half_wrong, ranks=2, silence_seconds=60)


def test_a_users_mistake_on_a_rank_is_a_users_mistake_at_the_driver(spark: SparkSession, waves: Path) -> None:
    with pytest.raises(InputError, match=r"^epoch 1, step \d+: the loss is"):
        fit_on_spark(spark, waves, QUICK.model_copy(update={"learning_rate": 1e30}), 2)


def test_a_rank_that_goes_silent_ends_the_run(spark: SparkSession) -> None:
    def half_asleep(line: Line) -> int:
        import time

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        for step in range(1, 100):
            if hvd.rank() == 0 and step == 5:
                time.sleep(600)
            line.step(1, step)
            hvd.allreduce(tf.constant(1), op=hvd.Sum)
        return 0

    began = time.monotonic()
    with pytest.raises(RankError, match=r"no rank has moved for 4 s; furthest behind: rank 0 on .+ at epoch 1, step 4"):
        run_on_ranks(spark, half_asleep, ranks=2, silence_seconds=4)
    assert time.monotonic() - began < 60
    assert spark.range(10).count() == 10  # its tasks are gone: the slots are free


def test_a_rank_that_dies_is_named(spark: SparkSession) -> None:
    def half_dead(line: Line) -> Any:
        import os
        import signal

        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        line.step(2, 3)
        if hvd.rank() == 1:
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return int(hvd.allreduce(tf.constant(1), op=hvd.Sum))

    with pytest.raises(RankError, match=r"(?s)rank 1 on \S+ ended.*at epoch 2, step 3.*last words"):
        run_on_ranks(spark, half_dead, ranks=2, silence_seconds=60)
