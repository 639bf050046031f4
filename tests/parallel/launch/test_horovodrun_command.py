"""`horovodrun -np 2 … python -m hindcast fit lstm`: the command as a user types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from hindcast.deep.forecaster import load
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.neighbours import python_path, working_folder

pytestmark = pytest.mark.parallel

SILENT = str(Path(__file__).with_name("silent_rank.py"))


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("horovodrun")
    hours = np.arange(600)
    times = np.datetime_as_string(np.datetime64("2025-01-01T00") + hours, "s")
    lines = [f"{time},{np.sin(hour * 2 * np.pi / 24):.4f}" for hour, time in zip(hours, times, strict=True)]
    (folder / "r.csv").write_text("\n".join(["timestamp,wave", *lines]) + "\n")
    tables = {"readings": {"path": str(folder / "r.csv")}, "windows": {"context": 24, "horizon": 8}}
    return prepare(spark, Spec.model_validate(tables), folder / "d.seq")


def horovodrun(
    program: list[str], dataset: SequenceDataset, out: Path, *options: str, fault: str = ""
) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [
        "fit",
        "lstm",
        str(dataset.path),
        "--out",
        str(out),
        "--lstm.units",
        "8",
        "--lstm.epochs",
        "2",
        "--lstm.batch",
        "32",
    ]
    # Ranks run where somebody else's modules are called as our folders are.
    here = working_folder(dataset.path.with_name("work"))
    python = python_path(dataset.path.with_name("installed"))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": python, "FAULT": fault}
    return subprocess.run(
        ["horovodrun", "-np", "2", "--gloo", sys.executable, *program, *arguments, *options],
        capture_output=True, text=True, timeout=300, cwd=here, env=environment,
    )  # fmt: skip


def test_two_ranks_make_one_model(dataset: SequenceDataset, tmp_path: Path) -> None:
    ran = horovodrun(["-m", "hindcast"], dataset, tmp_path / "model")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("model:") == 1
    model = load(tmp_path / "model")
    assert model.card.part.ranks == 2
    assert len(model.card.history) == 2


FAULTS = {
    "sleep": r"no rank has moved for 12 s; the others wait for: rank 1 on \S+ \(at epoch 1, step 2\)(?s:.*)time.sleep\(600\)",
    "early": r"no rank has moved for 12 s; the others wait for: rank 1 on \S+ \(before its first step\)(?s:.*)time.sleep\(600\)",
    "SIGSTOP": r"hindcast: rank 1 on \S+ \(.+\) has given no sign of life for 8 s, and rank 0 is at epoch 1, step 3",
    "SIGKILL": r"Process 1 exit with status code 137",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rank_that_stops_ends_the_run_and_is_named(dataset: SequenceDataset, tmp_path: Path, fault: str) -> None:
    began = time.monotonic()
    ran = horovodrun(
        [SILENT],
        dataset,
        tmp_path / "model",
        "--lstm.silence_seconds",
        "12" if fault in ("sleep", "early") else "60",
        fault=fault,
    )
    assert ran.returncode != 0
    assert re.search(FAULTS[fault], ran.stdout + ran.stderr), ran.stdout + ran.stderr
    assert time.monotonic() - began < 120
    assert not (tmp_path / "model").exists()


def test_what_the_user_can_mend_is_said_without_a_traceback(dataset: SequenceDataset, tmp_path: Path) -> None:
    ran = horovodrun(["-m", "hindcast"], dataset, tmp_path / "model", "--lstm.segment", "7")
    assert ran.returncode != 0
    assert "segment 7: must divide both" in ran.stdout + ran.stderr
    assert "launch/cli/" not in ran.stdout + ran.stderr, "horovodrun shows a traceback of its own, and there is none of ours"


def test_a_run_of_which_a_rank_was_killed_goes_on_to_the_same_weights(dataset: SequenceDataset, tmp_path: Path) -> None:
    options = ("--lstm.checkpoint_steps", "1", "--lstm.dropout", "0.3")
    checkpoint = tmp_path / "cut.checkpoint"
    whole = horovodrun(["-m", "hindcast"], dataset, tmp_path / "whole", *options)
    killed = horovodrun([SILENT], dataset, tmp_path / "cut", *options, fault="SIGKILL")
    assert whole.returncode == 0 != killed.returncode
    assert checkpoint.exists()
    resumed = horovodrun(["-m", "hindcast"], dataset, tmp_path / "cut", *options, "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not checkpoint.exists()
    weights = {load(tmp_path / name).card.part.weights_sha256 for name in ("whole", "cut")}
    assert len(weights) == 1
