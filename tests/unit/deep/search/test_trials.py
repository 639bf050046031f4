"""What becomes of a trial, whatever its training does."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import hindcast.deep.search.trials
import hindcast.deep.ways.local
from hindcast.deep.search.questions import Desk
from hindcast.deep.search.trials import ONE_THREAD, Outcome, judged, run_trial
from hindcast.deep.settings import LstmSettings
from hindcast.deep.ways.listening import Address
from hindcast.prep.errors import InputError

SETTINGS = LstmSettings(epochs=4, patience=2)
ends: list[tuple[int, tuple[float, ...], str]] = []


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A driver that stops what loses more than 5, and keeps how trials ended."""
    for name in (*ONE_THREAD, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))

    def decide(trial: int, losses: tuple[float, ...], end: str) -> bool:
        if end:
            ends.append((trial, losses, end))
        return not end and losses[-1] > 5

    ends.clear()
    with Desk("127.0.0.1", "127.0.0.1", decide) as open_:
        yield open_


def training(losses: list[float], raises: Exception | None = None) -> Callable[..., Any]:
    """Stands in for `train_on`: these validation losses, unless it is ended before, and then perhaps an error."""

    def train_on(*_: Any, on_epoch: Callable[[dict[str, float]], bool]) -> Any:
        done = []
        for loss in losses:
            done.append(loss)
            if on_epoch({"epoch": float(len(done)), "validation_loss": loss}):
                break
        else:
            if raises is not None:
                raise raises
        return SimpleNamespace(best_epoch=1 + int(np.argmin(done)), seconds=1.0)

    return train_on


@pytest.mark.parametrize(
    ("losses", "ended", "counts"),
    [
        ([4, 3, 2, 1], "epochs", 4),
        ([4, 1, 2, 3], "epochs", 4),
        ([1, 2, 3], "patience", 3),
        ([2, 1], "time", 2),
        ([4, 6, 1, 1], "median", 2),
        ([4, math.nan, 1, 1], "failed", 1),
        ([math.inf], "failed", 0),
    ],
)
def test_why_a_trial_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch, losses: list[float], ended: str, counts: int) -> None:
    monkeypatch.setattr(hindcast.deep.ways.local, "train_on", training(losses))
    outcome = run_trial(3, SETTINGS, None, desk.address)  # type: ignore[arg-type]
    assert (outcome.trial, outcome.ended, outcome.losses) == (3, ended, tuple(losses[:counts]))
    word = {"median": None, "failed": "failed"}.get(ended, "complete")
    assert ends == ([(3, outcome.losses, word)] if word else []), "the driver must know who will say no more"
    assert outcome.loss == (math.inf if ended == "failed" else min(losses[:counts]))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (InputError("no number"), "no number"),
        (MemoryError(), "out of memory"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), "out of memory"),
    ],
)
def test_a_trial_that_cannot_be_trained_has_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    monkeypatch.setattr(hindcast.deep.ways.local, "train_on", training([4.0], error))
    outcome = run_trial(0, SETTINGS, None, desk.address)  # type: ignore[arg-type]
    assert (outcome.ended, outcome.losses, outcome.error[: len(says)]) == ("failed", (4.0,), says)


def test_what_is_no_fault_of_the_settings_is_the_tasks_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hindcast.deep.ways.local, "train_on", training([4.0], OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        run_trial(0, SETTINGS, None, desk.address)  # type: ignore[arg-type]


def test_a_trial_that_cannot_reach_the_driver_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hindcast.deep.ways.local, "train_on", training([9, 9, 9, 9]))
    nobody = Address("127.0.0.1", 1, "token")
    assert run_trial(2, SETTINGS, None, nobody).ended == "epochs"  # type: ignore[arg-type]
    assert "trial 2, epoch 4: the driver did not answer; it goes on" in capsys.readouterr().err


def test_epochs_past_the_verdict_do_not_count() -> None:
    """As when the trials before were slower: nobody could say it in time."""
    trials = [SETTINGS] * 4
    outcomes = [
        Outcome(0, (2.0, 2.0, 2.0, 2.0), 4, 1.0, "epochs"),
        Outcome(1, (2.0, 2.0, 2.0, 2.0), 4, 1.0, "epochs"),
        Outcome(2, (3.0, 0.1, 0.1), 3, 1.0, "patience"),
        Outcome(3, (3.0, 3.0), 2, 1.0, "failed", "no number"),
    ]
    after = judged(outcomes, trials, grace=1)
    assert [(one.losses, one.epochs, one.ended, one.error) for one in after[2:]] == [
        ((3.0,), 3, "median", ""),
        ((3.0,), 2, "median", ""),
    ]
    assert after[:2] == outcomes[:2]
    assert judged(outcomes, trials, grace=4) == outcomes


def test_a_search_can_be_prepared_without_tensorflow() -> None:
    code = (
        "import sys, hindcast.deep.search.trials, hindcast.launch.tuning.tune; "
        "print(*sorted({'tensorflow', 'horovod'} & sys.modules.keys()))"
    )
    root = Path(hindcast.deep.search.trials.__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True, timeout=300)
    assert ran.stdout.split() == []
