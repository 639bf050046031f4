"""Few readings are looked at in this process, and many by Spark's tasks: both find the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from hindcast.prep import pipeline
from hindcast.prep.dataset import writing
from hindcast.prep.grid.steps import at_hand, infer_step, lay_grid
from hindcast.prep.pipeline import prepare
from hindcast.prep.sequences import work
from hindcast.prep.spec import Spec


@pytest.mark.parametrize("seed", range(3))
def test_spark_and_numpy_lay_the_same_grid(spark: SparkSession, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Two intervals that are equally common in some series, times before the epoch, duplicates, and no order.
    times = [(f"s{n}", int(t)) for n in range(4) for t in np.cumsum(rng.choice([0, 60, 60, 90, 90], 30)) * 1_000_000 - 10**9]
    rng.shuffle(times)
    readings = spark.createDataFrame([(name, int(time)) for name, time in times], "series string, time long")
    few = at_hand(readings)
    step = infer_step(readings)
    assert infer_step(few) == step
    assert lay_grid(few, -(10**9), step) == lay_grid(readings, -(10**9), step)


def test_many_readings_make_the_dataset_that_few_make(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"2025-03-{day:02d} {hour:02d}:00:01,{day * hour}" for day in range(1, 15) for hour in range(24)]
    (tmp_path / "a.csv").write_text("\n".join(["time,a", *rows]) + "\n")
    spec = Spec.model_validate(
        {"readings": {"path": str(tmp_path / "a.csv"), "timestamp": "time"}, "windows": {"context": 12, "horizon": 6}}
    )
    few = prepare(spark, spec, tmp_path / "few").manifest
    monkeypatch.setattr(pipeline, "FEW_READINGS", 0)
    monkeypatch.setattr(work, "READINGS_A_PARTITION", 100)
    monkeypatch.setattr(writing, "DESCRIBED_HERE", 0)
    many = prepare(spark, spec, tmp_path / "many").manifest
    assert many.digests == few.digests
    assert many.model_copy(update={"parts": (), "tail": ()}) == few.model_copy(update={"parts": (), "tail": ()})
    assert sorted(part.content for part in many.parts) == sorted(part.content for part in few.parts)
