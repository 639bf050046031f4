"""Ranks with a GPU each, made up by a discovery script: what Spark's scheduling does with them is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from hindcast.deep.ways.ranks.launcher import run_on_ranks
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spark.gpus import gpus_a_task
from hindcast.prep.spec import Spec
from hindcast.prep.synthetic.fleet import draw, write_readings

pytestmark = pytest.mark.parallel

ROOT = Path(__file__).resolve().parents[2]


def test_every_rank_has_a_gpu_of_its_own_and_other_stages_have_every_core(spark: SparkSession, tmp_path: Path) -> None:
    write_readings(draw(6, 60, seed=0), tmp_path / "readings.csv", tmp_path / "regimes.csv", seed=0)
    tables = {
        "readings": {"path": str(tmp_path / "readings.csv"), "timestamp": "time", "series": "sensor", "bad_rows": "quarantine"},
        "grid": {"step": "1h", "duplicates": "first"},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2},
    }
    dataset = prepare(spark, Spec.model_validate(tables), tmp_path / "fleet.seq")
    script = tmp_path / "gpus"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0", "1"]}'\n""")
    script.chmod(0o755)
    reads = tmp_path / "reads"
    reads.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("gpu_each.py")), str(script), dataset.location, str(reads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["slots"], found["gpu slots"], found["ranks"]) == (6, 4, 4)
    addresses = sorted(address for _, address in found["seen"])
    assert addresses == ["0", "0", "1", "1"]  # two executors have two each
    assert found["refused"].startswith("5 ranks ask for 5 task slots with a GPU each, and Spark (local-cluster[2,3,1024]) has 4")
    assert len(found["hmm, gpus True"]) == 3
    assert found["hmm, gpus True"] == pytest.approx(found["hmm, gpus False"], rel=1e-12)
    assert len(list(reads.iterdir())) == len(dataset.addresses("train", 4))  # once each, in three iterations


def test_on_one_machine_ranks_take_its_gpus_in_turn(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(line: object) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    monkeypatch.setattr("hindcast.deep.ways.ranks.launcher.gpus_here", lambda ranks: ["0", "1", "2"])
    assert gpus_a_task(spark, 1) is None
    assert run_on_ranks(spark, seen, ranks=2, silence_seconds=60, gpu_each=True) == ["0", "1"]


def test_a_machine_with_fewer_gpus_than_ranks_is_said_at_once(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="2 ranks ask for a GPU each, and this machine has 1 "):
        run_on_ranks(spark, lambda line: None, ranks=2, silence_seconds=60, gpu_each=True)
