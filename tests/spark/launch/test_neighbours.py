"""Commands and Spark's workers, where somebody else's modules are called as our folders are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.neighbours import FAULTS, FILES, NAMES, ROOT, python_path, working_folder

PREPARED = f"""
import hindcast as hc
{FAULTS}
with hc.spark_session("local[2]") as spark:
    dataset = hc.prepare("r.csv", context=6, horizon=2, out="d.seq", spark=spark)
    modules = lambda _: [(sorted(name for name in __import__("sys").modules if name.startswith("hindcast.")), faults())]
    workers = spark.sparkContext.parallelize(range(2), 2).mapPartitions(modules).collect()
assert any("hindcast.prep.spark.workers" in names for names, _ in workers), workers
print(faults(), [found for _, found in workers])
"""
COMMAND = f"""
import sys
{FAULTS}
from hindcast.__main__ import main
try:
    main()
finally:
    print("faults:", faults())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where commands run: with somebody else's modules, and with readings."""
    hours = np.datetime_as_string(np.datetime64("2025-01-01T00") + np.arange(100), "s")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/r.csv").write_text("time,value\n" + "\n".join(f"{hour},{i % 12}" for i, hour in enumerate(hours)))
    (tmp_path / "work/s.toml").write_text('[readings]\npath = "r.csv"\ntimestamp = "time"\n[windows]\ncontext = 6\nhorizon = 2\n')
    return working_folder(tmp_path / "work")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": python_path(folder.with_name("installed")), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=400)


def test_what_lies_there_is_found_by_python(folder: Path) -> None:
    for name, file in zip(NAMES, FILES, strict=True):
        ran = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=folder, capture_output=True, text=True, timeout=100)
        assert f"imported somebody else's {file}" in ran.stderr


def test_a_module_under_two_names_would_be_found(tmp_path: Path) -> None:
    code = f"{FAULTS}\nimport hindcast.prep.errors, prep.errors\nprint(faults())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert "['hindcast.prep.errors', 'prep.errors']" in ran.stdout


@pytest.mark.parametrize(
    ("command", "said"), [("prep s.toml d.seq", "d.seq"), ("doctor", "wrote and read 70 steps of training data")]
)
def test_a_command_runs_beside_them_and_loads_nothing_twice(command: str, said: str, folder: Path) -> None:
    ran = run(folder, "-c", COMMAND, *command.split())
    assert "somebody else" not in ran.stdout + ran.stderr
    assert said in ran.stdout, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "faults: []"
    if command.startswith("prep"):
        inspected = run(folder, "-m", "hindcast", "inspect", "d.seq", "--verify")
        assert inspected.returncode == 0, inspected.stderr


def test_workers_of_spark_load_nothing_of_theirs_and_nothing_twice(folder: Path) -> None:
    ran = run(folder, "-c", PREPARED)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "[] [[], []]"
