"""The whole way on a real transformer's readings, against published and recomputed errors of the same protocol.

Every one of the 2,785 test windows counts. It proves that loader, split, scaling, windows and metrics are right, and that both
families of models are as good as they are said to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.saving import load
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.parallel, pytest.mark.data, pytest.mark.timeout(1800)]

BASELINES = {"repeat-last": (1.295, 0.713), "seasonal-naive": (0.512, 0.433), "linear": (0.370, 0.392)}


def hindcast(*arguments: object) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "hindcast", *map(str, arguments)], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """etth1.seq, and etth1.hmm that was fitted to it."""
    folder = tmp_path_factory.mktemp("etth1")
    readings = shared / "data" / "ett" / "ETTh1.csv"
    hindcast("prep", "examples/etth1.toml", folder / "etth1.seq", "--readings.path", readings)
    hindcast("fit", "hmm", folder / "etth1.seq", "--out", folder / "etth1.hmm", "--cluster.master", "local[2]")
    return folder


@pytest.fixture(scope="module")
def scores(folder: Path) -> dict[str, Any]:
    two = ["--cluster.master", "local[2]", "--cluster.ranks", 2]
    hindcast(
        "compare",
        folder / "etth1.seq",
        "--out",
        folder / "report",
        "--model",
        f"hmm={folder / 'etth1.hmm'}",
        "--fit",
        "lstm",
        *two,
    )
    return json.loads((folder / "report" / "scores.json").read_text())


def test_every_test_window_counts(scores: dict[str, Any]) -> None:
    assert scores["test_windows"] == 2880 - 96 + 1


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_baselines_score_what_they_must(scores: dict[str, Any], name: str) -> None:
    found = scores["models"][name]
    assert (found["mse"], found["mae"]) == pytest.approx(BASELINES[name], abs=0.002)


def test_the_lstm_on_two_ranks_of_horovod_on_spark_is_as_good_as_it_should_be(scores: dict[str, Any]) -> None:
    assert scores["models"]["lstm"]["mse"] <= 0.37


def test_the_hmm_is_better_than_one_autoregression_a_channel(scores: dict[str, Any]) -> None:
    """That, of order 48, scores 0.409."""
    assert scores["models"]["hmm"]["mse"] < 0.409


def test_four_fifths_are_about_as_often_right_as_they_say(folder: Path) -> None:
    forecaster, windows = load(folder / "etth1.hmm"), SequenceDataset.open(folder / "etth1.seq").windows("test")
    inside = count = 0
    for batch in windows.batches(512):
        forecast = forecaster.forecast(batch.given)
        assert forecast.deviation is not None
        inside += int((np.abs(forecast.mean - batch.target) < 1.2816 * forecast.deviation).sum())
        count += batch.target.size
    assert count == 2785 * 96 * 7
    assert 0.75 < inside / count < 0.95
