"""A new kind of models is a folder and a line: with these, every command knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv as pa_csv
import pytest
from pyspark.sql import SparkSession

import hindcast
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

LISTED, MORE = "(HMM, LSTM)", "(HMM, LSTM, MEAN)"


class Project:
    """A copy of the project with another kind in it, and a folder with a dataset to run its commands in."""

    def __init__(self, folder: Path, spark: SparkSession) -> None:
        self.code, self.folder = folder / "code", folder / "work"
        code = self.code / "hindcast"
        shutil.copytree(Path(hindcast.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(Path(__file__).with_name("mean"), code / "classical" / "mean")
        kinds = code / "launch" / "kinds.py"
        listed = kinds.read_text().replace(LISTED, MORE)
        kinds.write_text(
            listed.replace("from hindcast.deep.kind", "from hindcast.classical.mean.kind import MEAN\nfrom hindcast.deep.kind")
        )
        self.folder.mkdir()
        hours = np.arange(200)
        wave = np.sin(2 * np.pi * hours / 24)
        frame = pd.DataFrame({"time": np.datetime64("2025-01-01T00") + hours, "x": wave, "y": 2 + wave})
        frame.to_csv(self.folder / "readings.csv", index=False)
        tables = {
            "readings": {"path": str(self.folder / "readings.csv"), "timestamp": "time"},
            "windows": {"context": 12, "horizon": 4},
        }
        prepare(spark, Spec.model_validate(tables), str(self.folder / "data.seq"))

    def run(self, *words: object, status: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.code), "COLUMNS": "200"}
        command = [sys.executable, "-m", "hindcast", *map(str, words)]
        ran = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        printed = ran.stdout + ran.stderr
        assert ran.returncode == status, printed
        return printed


@pytest.fixture(scope="module")
def project(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("new kind"), spark)


def test_every_command_knows_a_new_kind(project: Project) -> None:
    assert "The mean of the context." in project.run("fit", "--help")
    project.run("fit", "mean", "data.seq", "--out", "m", "--mean.shrink", "0.5")
    card = json.loads((project.folder / "m" / "model.json").read_text())
    assert (card["kind"], card["part"]["shrink"]) == ("mean", 0.5)

    (project.folder / "wide.toml").write_text('[entrants.wide]\nkind = "mean"\nshrink = 0.9\n')
    fits = ["--model", "half=m", "--fit", "none=mean", "--fit", "wide", "--settings", "wide.toml"]
    printed = project.run("compare", "data.seq", "--out", "report", *fits)
    scores = json.loads((project.folder / "report" / "scores.json").read_text())["models"]
    assert {"half", "none", "wide"} < scores.keys()
    assert len({scores[name]["mse"] for name in ("half", "none", "wide")}) == 3
    page = (project.folder / "report" / "report.html").read_text()
    for name in ("half", "none", "wide"):
        assert name in printed
        assert f"{name} is as simple as a model can be" in page
    assert "drawn by 0.9 towards" in page

    project.run("forecast", "m", "data.seq", "--out", "windows.csv")
    assert set(pa_csv.read_csv(project.folder / "windows.csv")["channel"].to_pylist()) == {"x", "y"}
    assert "no setting that can be tuned" in project.run("tune", "data.seq", "--out", "t", "--try", "mean.shrink=0,1", status=2)


def test_spark_knows_it_too(project: Project) -> None:
    """Its workers forecast with it, and spark-submit carries it along."""
    master = ["--cluster.master", "local[1]"]
    fit = ["fit", "mean", "data.seq", "--out", "submitted", "--mean.shrink", "1"]
    assert "model: submitted" in project.run("submit", "--master", "local[1]", "--", *fit)
    project.run("forecast", "submitted", "readings.csv", "--out", "coming.csv", *master)
    coming = pa_csv.read_csv(project.folder / "coming.csv").to_pandas()
    assert len(coming) == 4 * 2
    # Drawn all the way, it is the mean of the training split: of sines over whole days but for a few hours.
    assert np.abs(coming[coming.channel == "x"]["mean"]).max() < 0.1
