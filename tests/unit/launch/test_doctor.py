from __future__ import annotations

import os
from pathlib import Path

import pytest

from hindcast.classical.hmm.kind import HMM
from hindcast.deep.kind import LSTM
from hindcast.deep.settings import LstmSettings
from hindcast.launch import doctor
from hindcast.launch.doctor import Finding, gpus, probes
from hindcast.launch.settings import load


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that lists two GPUs."""
    script = tmp_path / "nvidia-smi"
    script.write_text('#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: A\nGPU 1: B" || printf "0\\n1\\n"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_no_gpu_is_one_line_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = gpus()
    assert found.state == "absent"
    assert "everything runs on the CPU" in found.detail


@pytest.mark.parametrize(
    ("visible", "state", "detail"),
    [
        (None, "works", "cluster.gpus_per_worker finds 2 here: 0, 1"),
        ("7", "works", "cluster.gpus_per_worker finds 1 here: 0"),
        ("", "absent", "cluster.gpus_per_worker finds 0 here"),
    ],
)
def test_what_ranks_would_find_is_what_the_discovery_script_tells(
    smi: None, visible: str | None, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "run_python", lambda code: "0")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    seen, ranks = gpus()
    assert seen == Finding("GPU", "absent", "GPU 0: A\nGPU 1: B", seen.mend)
    assert "requirements/install.sh VENV gpu" in seen.mend
    assert (ranks.state, ranks.detail) == (state, detail)


@pytest.mark.parametrize(("simulated", "state", "detail"), [("1", "works", "numba sees them"), ("0", "absent", "numba ")])
def test_gpus_that_numba_cannot_use_are_told_with_the_reason(
    simulated: str, state: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", simulated)
    (e_steps,) = probes(HMM, load(None, {}))
    assert (e_steps.subject, e_steps.state) == ("GPUs for E-steps", state)
    assert detail in e_steps.detail


def test_a_training_is_asked_what_it_would_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    (tmp_path / "deep.py").write_text("raise SystemExit('of the folder, not of Hindcast')")
    monkeypatch.chdir(tmp_path)
    assert list(probes(LSTM, load(None, {"lstm.precision": "mixed"}))) == [
        Finding("Mixed precision", "works", "LSTMs compute in bfloat16"),
        Finding("cuDNN", "absent", "LSTMs run in TensorFlow's loop: TensorFlow sees no GPU"),
    ]


def test_a_crash_there_is_a_finding_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    settings = load(None, {})
    monkeypatch.setattr(LstmSettings, "model_dump", lambda self, mode: {"units": 0})
    (found,) = doctor.look_at("LSTMs", lambda: probes(LSTM, settings))
    assert (found.subject, found.state) == ("LSTMs", "fails")
