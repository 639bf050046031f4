"""The commands as they are watched: their records, metrics and lines, and what Spark says of their jobs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.spark.running import Run

SPEC = """
[readings]
path = "readings.csv"
timestamp = "time"
series = "sensor"
[windows]
context = 24
horizon = 8
[hmm]
states = 2
order = 100
iterations = 3
tolerance = 0.0
[lstm]
units = 8
epochs = 2
[cluster]
on = "local"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    hours, rng = np.arange(504), np.random.default_rng(0)
    times = np.datetime_as_string(np.datetime64("2025-01-01T00") + hours, "s")
    values = 20 + 5 * np.sin(hours * 2 * np.pi / 24) + rng.normal(0, 0.3, (2, 504))
    lines = [f"{t},{name},{v:.3f}" for name, row in zip("ab", values, strict=True) for t, v in zip(times, row, strict=True)]
    (folder / "readings.csv").write_text("\n".join(["time,sensor,heat", *lines]) + "\n")
    (folder / "spec.toml").write_text(SPEC)
    return folder


@pytest.fixture
def watched(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a command in the folder, watched in every way; its record, and `lines` and `metrics`."""
    monkeypatch.chdir(folder)

    def command(*arguments: object, status: int = 0) -> dict[str, Any]:
        for old in tmp_path.glob("*/run.json"):
            old.unlink()
        ended, printed = run(*arguments, "--run-dir", tmp_path, "--log", "json", "--metrics", tmp_path / "m.prom")
        assert ended == status, printed
        (file,) = tmp_path.glob("*/run.json")
        record: dict[str, Any] = json.loads(file.read_text())
        record["lines"] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        record["metrics"] = (tmp_path / "m.prom").read_text()
        return record

    return command


@pytest.fixture
def dataset(watched: Callable[..., dict[str, Any]], folder: Path) -> Path:
    if not (folder / "d.seq").exists():
        watched("prep", "spec.toml", "d.seq")
    return folder / "d.seq"


def steps_of(record: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    (found,) = [one for one in record["stages"] if one["stage"] == stage]
    steps: list[dict[str, Any]] = found["steps"]
    return steps


def told(record: dict[str, Any]) -> list[str]:
    return [line["stage"] for line in record["lines"] if line["event"] == "stage"]


def test_a_preparation_is_watched_pass_by_pass(watched: Callable[..., dict[str, Any]], spark: SparkSession) -> None:
    record = watched("prep", "spec.toml", "passes.seq", "--windows.horizon", "6")
    passes = ["reading", "grid, gaps and the statistics of the training split", "writing rows"]
    assert told(record) == ["starting Spark", *passes, "preparing"]
    assert [step["stage"] for step in steps_of(record, "preparing")] == passes
    assert record["settings"]["windows"]["horizon"] == 6, "the settings that acted"
    assert record["spark"]["master"] == "local[2]"
    assert record["spark"]["application"] == spark.sparkContext.applicationId
    assert record["written"] == [{"what": "dataset", "path": str(Path("passes.seq").absolute())}]
    assert 'hindcast_readings_total{command="prep",file="m",dataset="passes.seq",split="train"} 706' in record["metrics"]


def test_each_iteration_and_each_epoch_is_told_with_its_numbers(watched: Callable[..., dict[str, Any]], dataset: Path) -> None:
    hmm = watched("fit", "hmm", dataset, "--out", "hmm", "--settings", "spec.toml")
    assert told(hmm) == ["starting Spark", "EM iteration 1", "EM iteration 2", "EM iteration 3", "HMM"]
    history = json.loads(Path("hmm", "model.json").read_text())["history"]
    assert [step["log_likelihood"] for step in steps_of(hmm, "HMM")] == [row["log_likelihood"] for row in history]
    assert hmm["settings"]["hmm"]["order"] == 12, "lowered to half of the context"
    assert hmm["written"] == [{"what": "model", "path": "hmm"}]
    assert f'hindcast_log_likelihood{{command="fit hmm",file="m"}} {history[-1]["log_likelihood"]!r}' in hmm["metrics"]
    assert "tensorflow" not in hmm["versions"] or "keras" in hmm["versions"]
    lstm = watched("fit", "lstm", dataset, "--out", "lstm", "--settings", "spec.toml")
    assert told(lstm) == ["epoch 1", "epoch 2", "LSTM"]
    history = json.loads(Path("lstm", "model.json").read_text())["history"]
    for step, row in zip(steps_of(lstm, "LSTM"), history, strict=True):
        assert {name: step[name] for name in ("epoch", "loss", "validation_loss")}.items() <= row.items()
    assert {"keras", "horovod"} <= lstm["versions"].keys()
    assert 'hindcast_epoch{command="fit lstm",file="m"} 2\n' in lstm["metrics"]
    both = watched("compare", dataset, "--out", "report", "--model", "hmm=hmm", "--model", "lstm=lstm")
    assert told(both) == ["baselines", "scoring", "drawing the report"]
    assert [one["what"] for one in both["written"]] == ["report", "scores"]
    mse = json.loads(Path("report", "scores.json").read_text())["models"]["hmm"]["mse"]
    assert f'hindcast_test_mse{{command="compare",file="m",model="hmm"}} {mse!r}' in both["metrics"]
    rows = watched("forecast", "hmm", dataset, "--out", "f.csv", "--overwrite")
    assert told(rows) == ["forecasting"]
    assert 'hindcast_forecast_rows_total{command="forecast",file="m"} 1504\n' in rows["metrics"]


def test_an_error_is_in_the_record_and_is_a_line(watched: Callable[..., dict[str, Any]], dataset: Path) -> None:
    record = watched("prep", "spec.toml", "never.seq", "--windows.horizon", "400", status=2)
    assert record["state"] == "failed"
    assert record["error"].startswith("train: no segment is long enough")
    assert record["stages"][-1]["state"] == "failed"
    assert record["written"] == []
    assert record["lines"][-1]["error"] == record["error"]
    assert 'hindcast_run_success{command="prep",file="m"} 0\n' in record["metrics"]
    usage = watched("prep", "spec.toml", status=2)
    assert (usage["state"], usage["exit_status"]) == ("failed", 2)


@pytest.fixture
def jobs(spark: SparkSession) -> Callable[[], Counter[str]]:
    """What Spark's status store says of the jobs since the test began; "" of those without a description."""
    store: Any = spark.sparkContext._jsc.sc().statusStore()
    bus: Any = spark.sparkContext._jsc.sc().listenerBus()

    def listed() -> dict[int, str]:
        bus.waitUntilEmpty(120_000)
        every = store.jobsList(None)
        told = (every.apply(number) for number in range(every.size()))
        return {job.jobId(): job.description().get() if job.description().isDefined() else "" for job in told}

    before = listed()
    return lambda: Counter(text for job, text in listed().items() if job not in before)


def test_spark_says_of_every_job_what_it_is_for(
    watched: Callable[..., dict[str, Any]], dataset: Path, jobs: Callable[[], Counter[str]], spark: SparkSession
) -> None:
    watched("readings", "spec.toml")
    watched("prep", "spec.toml", "jobs.seq")
    watched("append", "jobs.seq", "readings.csv")
    watched("fit", "hmm", "jobs.seq", "--out", "jobs.hmm", "--settings", "spec.toml")
    watched("forecast", "jobs.hmm", "readings.csv", "--out", "jobs.csv")
    apart = ["--settings", "spec.toml", "--cluster.on", "partitions", "--lstm.epochs", "1"]
    watched("fit", "lstm", "jobs.seq", "--out", "each.lstm", *apart)
    watched("fit", "lstm", "jobs.seq", "--out", "averaged.lstm", *apart, "--partitions.models", "averaged")
    watched("tune", "jobs.seq", "--out", "search", "--settings", "spec.toml", "--try", "lstm.units=4,8", "--lstm.epochs", "1")
    found = jobs()
    # Of a job that nobody describes Spark says nothing, or where in the code it was started.
    assert not [text for text in found if not text or re.search(r"\.(java|py|scala):\d+", text)]
    for description in (
        "looking at readings: readings.csv", "preparing: reading", "preparing: writing rows", "appending: writing rows",
        "EM: a sample to begin from", "EM iteration 1", "EM iteration 3", "forecasting: readings.csv", "looking at row groups",
        "training 2 models", "epoch 1: training", "epoch 1: validation", "2 trials",
    ):  # fmt: skip
        assert found[description], f"{description}: not among {sorted(found)}"
    assert spark.sparkContext.getLocalProperty("spark.job.description") is None
