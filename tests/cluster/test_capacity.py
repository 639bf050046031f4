"""A standalone cluster that has less than is asked of it: every command says so, with what it has; none waits for ever."""

from __future__ import annotations

import subprocess
import time

import pytest

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.standalone import Standalone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HAS = "127.0.0.1 with cores 1, MiB 2,048"


def refusal(standalone: Standalone, *command: str, status: int = 2) -> str:
    """The error of a command that ends with this status. What a driver says, spark-submit prints as its own output."""
    ran = subprocess.run(
        command, cwd=standalone.folder, env=standalone.environment, capture_output=True, text=True, timeout=300
    )  # fmt: skip
    assert ran.returncode == status, ran.stdout[-2000:] + ran.stderr[-2000:]
    return next(line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("hindcast: "))


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("spark.executor.memory", "3g", "spark.executor.memory 3,072 MiB: is more than any worker of spark://"),
        ("spark.executor.cores", "2", "spark.executor.cores 2: is more cores than any worker of spark://"),
    ],
)
@pytest.mark.parametrize("command", [("prep", "spec.toml", "never.seq"), ("fit", "hmm", "d.seq", "--out", "never.hmm")])
@pytest.mark.usefixtures("dataset")
def test_an_executor_that_fits_no_worker_is_refused_by_every_command(
    standalone: Standalone, command: tuple[str, ...], setting: str, value: str, fault: str
) -> None:
    began = time.monotonic()
    said = refusal(standalone, "hindcast", "submit", "--master", standalone.url, "--conf", f"{setting}={value}", "--", *command)
    assert said.startswith(f"hindcast: {fault}")
    assert HAS in said
    assert time.monotonic() - began < 100, "it waited, and there is nothing to wait for"


def test_more_ranks_than_the_cluster_has_are_refused_before_the_hmm_is_fitted(
    standalone: Standalone, dataset: SequenceDataset
) -> None:
    more = ["--cluster.master", standalone.url, "--cluster.ranks", "3"]
    said = refusal(standalone, "hindcast", "compare", "d.seq", "--out", "never", "--settings", "spec.toml", *more)
    assert said.startswith(f"hindcast: 3 ranks ask for 3 task slots, and all of {standalone.url} has 2 ")


def test_where_others_have_taken_all_the_wait_ends(standalone: Standalone, dataset: SequenceDataset) -> None:
    hog = "import time; from hindcast.launch.spark.session import spark_session\n"
    hog += f"with spark_session({standalone.url!r}): print('there', flush=True); time.sleep(300)"
    before = standalone.registered
    with subprocess.Popen(
        ["python", "-c", hog], env=standalone.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "there\n"
            said = refusal(
                standalone, "hindcast", "append", "d.seq", "readings.csv", "--cluster.master", standalone.url,
                "--cluster.wait_seconds", "4",
            )  # fmt: skip
        finally:
            other.terminate()
    assert standalone.registered == before + 2
    assert said.startswith(
        f"hindcast: {standalone.url} has given no executor within 4 s; each was asked for with spark.executor."
    )
    assert f"Others may have taken what there is, or workers have died (lately it had {HAS};" in said
