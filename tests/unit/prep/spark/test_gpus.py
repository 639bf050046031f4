from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import DISCOVERY, gpus_here, gpus_of_task, see_gpus_of_task, visible_devices

SMI = "#!/bin/sh\n[ \"$*\" = '--query-gpu=index --format=csv,noheader' ] && printf '0\\n1\\n2\\n3\\n'\n"


def told(folder: Path, visible: str | None, smi: str | None = SMI) -> list[str]:
    if smi is not None:
        (folder / "nvidia-smi").write_text(smi)
        (folder / "nvidia-smi").chmod(0o755)
    environment = {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    ran = subprocess.run([str(DISCOVERY)], capture_output=True, text=True, check=True, env=environment)
    found = json.loads(ran.stdout)
    assert found["name"] == "gpu"
    return found["addresses"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ["0", "1", "2", "3"]), ("5,7", ["0", "1"]), ("GPU-a, GPU-b", ["0", "1"]), ("", []), ("-1", []), ("2,-1,3", ["0"])],
)
def test_a_host_tells_the_gpus_that_it_may_use(tmp_path: Path, visible: str | None, expected: list[str]) -> None:
    assert told(tmp_path, visible) == expected


@pytest.mark.parametrize("smi", [None, "#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n"])
def test_a_host_without_gpus_or_a_driver_tells_none(tmp_path: Path, smi: str | None) -> None:
    assert told(tmp_path, None, smi) == []


def test_as_many_gpus_as_ranks_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert gpus_here(2) == ["0", "1"]
    with pytest.raises(InputError, match=r"^3 ranks ask for a GPU each, and this machine has 2 [^\n]*$"):
        gpus_here(3)


@pytest.mark.parametrize(
    ("addresses", "already", "expected"),
    [
        (["1"], None, "1"),
        (["0"], "", "0"),
        (["1"], "4,6", "6"),
        (["1", "0"], "4, 6", "6,4"),
        (["0", "1"], "GPU-a,GPU-b", "GPU-a,GPU-b"),
        (["GPU-b"], "GPU-a,GPU-b", "GPU-b"),
        (["GPU-b"], None, "GPU-b"),
    ],
)
def test_a_tasks_gpus_are_those_that_its_executor_sees(addresses: list[str], already: str | None, expected: str) -> None:
    assert visible_devices(addresses, already) == expected


@pytest.mark.parametrize(
    ("address", "already"), [("2", "4,6"), ("6", "4,6"), ("GPU-c", "GPU-a,GPU-b"), ("0", "-1"), ("-1", "4,6")]
)
def test_a_gpu_that_the_executor_does_not_see_is_refused_in_one_line(address: str, already: str) -> None:
    with pytest.raises(
        InputError, match=rf"^GPU {address}, which .* its executor sees \(CUDA_VISIBLE_DEVICES={already}\)[^\n]*$"
    ):
        visible_devices([address], already)


def test_a_process_that_no_task_runs_in_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpus_of_task() == []
    see_gpus_of_task()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_a_worker_that_is_used_again_counts_from_what_its_executor_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hindcast.prep.spark.gpus._OF_EXECUTOR", "4,6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    for address, expected in (("1", "6"), ("0", "4")):
        monkeypatch.setattr("hindcast.prep.spark.gpus.gpus_of_task", lambda address=address: [address])
        see_gpus_of_task()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
