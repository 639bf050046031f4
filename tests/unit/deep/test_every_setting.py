"""Every setting trains, in a process whose TensorFlow has two threads: what writes out of bounds there kills it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from hindcast.deep.settings import LstmSettings
from tests.unit.deep.every_setting import ALWAYS, GROUPS

ROOT = Path(__file__).resolve().parents[3]
TWO_THREADS = {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2", "CUDA_VISIBLE_DEVICES": "-1"}
TAKEN = [LstmSettings(**ALWAYS | group).model_dump() for group in GROUPS]


@pytest.mark.parametrize("name", LstmSettings.model_fields)
def test_each_setting_is_among_those_that_are_trained(name: str) -> None:
    field, found = LstmSettings.model_fields[name], [group[name] for group in TAKEN]
    if get_origin(field.annotation) is Literal:
        assert set(found) == set(get_args(field.annotation)), f"GROUPS lacks a value of {name}"
    else:
        assert any(value != field.default for value in found), f"GROUPS has no value of {name} but its default"


def test_a_step_of_every_setting_is_trained_by_two_threads() -> None:
    said: dict[str, Any] = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 500}
    environment = {**os.environ, **TWO_THREADS, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-m", "tests.unit.deep.every_setting"], check=False, env=environment, **said)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, f"status {ran.returncode} while it trained {lines[-1:]}: {ran.stderr[-2000:]}"
    assert len(lines) == 2 * len(GROUPS)
    # That of oneDNN writes out of bounds, though not every time is anything hit that kills.
    assert [group for group, kinds in zip(lines[::2], lines[1::2], strict=True) if "Einsum" in kinds.split()] == []
