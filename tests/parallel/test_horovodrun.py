"""Two real ranks under horovodrun, held against one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.parallel

PROGRAM = Path(__file__).with_name("two_ranks.py")
ROOT = Path(__file__).resolve().parents[2]


def run(command: list[str], folder: Path) -> list[dict[str, Any]]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = [*command, sys.executable, str(PROGRAM), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run(["horovodrun", "-np", "2", "--gloo"], tmp_path_factory.mktemp("ranks"))


def test_two_ranks_end_with_the_same_weights_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    assert [rank["size"] for rank in ranks] == [2, 2]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    losses = [[(record["loss"], record["validation_loss"]) for record in rank["history"]] for rank in ranks]
    assert losses[0] == losses[1]


def test_two_ranks_lose_as_one_at_the_same_global_batch(ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    (alone,) = run([], tmp_path)
    for one, two in zip(alone["history"], ranks[0]["history"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-4)
    # After each of the first hundred steps, the sum of an epoch's losses so far; 0 once an epoch has ended.
    assert len(alone["totals"]) == 100
    np.testing.assert_allclose(ranks[0]["totals"], alone["totals"], rtol=1e-4)


def test_only_rank_0_is_told_of_progress(ranks: list[dict[str, Any]]) -> None:
    assert [rank["told"] for rank in ranks] == [25, 0]


def test_ranks_exchange_values(ranks: list[dict[str, Any]]) -> None:
    assert [rank["ranks"] for rank in ranks] == [[0, 1], [0, 1]]
    assert [rank["first_broadcast"] for rank in ranks] == [0, 0]
