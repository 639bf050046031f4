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

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.parallel, pytest.mark.data, pytest.mark.timeout(1800)]

BASELINES = {"repeat-last": (1.295, 0.713), "seasonal-naive": (0.512, 0.433), "linear": (0.370, 0.392)}


def hindcast(*arguments: object) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "launch", *map(str, arguments)], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.fixture(scope="module")
def scores(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("etth1")
    readings = shared / "data" / "ett" / "ETTh1.csv"
    hindcast("prep", "examples/etth1.toml", folder / "etth1.seq", "--readings.path", readings)
    hindcast("compare", folder / "etth1.seq", "--out", folder / "report", "--cluster.master", "local[2]", "--cluster.ranks", 2)
    return json.loads((folder / "report" / "scores.json").read_text())


def test_every_test_window_counts(scores: dict[str, Any]) -> None:
    assert scores["test_windows"] == 2880 - 96 + 1


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_baselines_score_what_they_must(scores: dict[str, Any], name: str) -> None:
    found = scores["models"][name]
    assert (found["mse"], found["mae"]) == pytest.approx(BASELINES[name], abs=0.002)


def test_the_lstm_on_two_ranks_of_horovod_on_spark_is_as_good_as_it_should_be(scores: dict[str, Any]) -> None:
    assert scores["models"]["lstm"]["mse"] <= 0.37


def test_regimes_cost_the_hmm_nothing(scores: dict[str, Any]) -> None:
    """A plain autoregression of order 48 for each channel scores 0.409."""
    assert scores["models"]["hmm"]["mse"] <= 0.42
