"""A worker's network is cut. While ranks step together, Horovod and Spark would wait for it: the watch does not. Preparation and
EM wait until Spark finds out, and lose nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.hosts import WORKERS, Hosts
from tests.cluster.standalone import Standalone
from tests.cluster.waiting import until_persisted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def started(hosts: Hosts, program: str, folder: Path) -> tuple[subprocess.Popen[bytes], Iterator[str]]:
    """A program of this folder on the driver's host, and the lines it prints; what else it says goes to program.log."""
    with (folder / "program.log").open("wb") as log:
        driver = hosts.start(
            "driver", sys.executable, str(Path(__file__).with_name(program)), hosts.master, "10.77.0.1",
            stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert driver.stdout is not None
    return driver, iter(lambda: driver.stdout.readline().decode().rstrip("\n"), "")


def test_a_lost_network_ends_the_run_and_the_lost_rank_is_named(hosts: Hosts, tmp_path: Path) -> None:
    driver, said = started(hosts, "stepping.py", tmp_path)
    assert [next(said), next(said)] == ["stepping", "stepping"], (tmp_path / "program.log").read_text()[-3000:]
    hosts.cut("host2")
    began = time.monotonic()
    lines = list(iter(lambda: next(said), "told"))
    assert time.monotonic() - began < 45
    named = re.match(r"rank (\d) on host2 \(at epoch 1, step (\d+)\) is lost: ", lines[0])
    assert named, lines
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) >= 20, "what it printed before it was lost is told"
    assert all(line.endswith("on host2") for line in steps)
    assert abs(int(named[2]) - int(steps[-1].split()[1])) <= 2
    assert driver.wait(timeout=30) == 0, "the session and the process end in order"


def test_a_run_goes_on_without_the_host_that_it_lost(hosts: Hosts, tmp_path: Path) -> None:
    driver, said = started(hosts, "outliving.py", tmp_path)
    assert next(said) == "stepping", (tmp_path / "program.log").read_text()[-3000:]
    hosts.cut("host2")
    result, log = list(said)[-1], (tmp_path / "program.log").read_text()
    named = re.fullmatch(r"\(1, (\d+)\)", result)
    assert named, log[-3000:]
    assert int(named[1]) >= 20
    assert "on host2" in log
    assert "Goes on with 1 ranks, from its last checkpoint" in log
    assert driver.wait(timeout=30) == 0


# A host is lost where the master has not heard of its worker, or the driver of its executor, for so long: by default a minute,
# looked at once a minute, and two.
SOON = {"spark.worker.timeout": "10"}
soon = pytest.mark.parametrize("hosts", [{"conf": SOON}], indirect=True, ids=["soon"])
# Without a master the driver finds out by itself.
ALONE = {"spark.network.timeout": "25s", "spark.network.timeoutInterval": "5s", "spark.executor.heartbeatInterval": "5s"}


def command(hosts: Hosts, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A command on the driver's host, whose files are in the folder."""
    with (hosts.folder / "command.log").open("wb") as log:
        return hosts.start(
            "driver", sys.executable, "-m", "hindcast", *words, "--cluster.master", hosts.master,
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def assert_ends_well(hosts: Hosts, driver: subprocess.Popen[bytes], lost: str, why: str = "") -> None:
    status, log = driver.wait(timeout=400), (hosts.folder / "command.log").read_text()
    assert status == 0, log[-4000:]
    named = rf"Lost executor \d on ({lost}|{re.escape(WORKERS[lost])}): .*{why}"
    assert re.search(named, log), log[-4000:]


@soon
def test_em_loses_a_host_and_ends_with_the_same_numbers(hosts: Hosts, standalone: Standalone, local_hmm: Path) -> None:
    fit = ["fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", "host.hmm"]
    driver = command(hosts, standalone.folder, *fit)
    standalone.until_checkpoint("host.hmm", driver)
    hosts.cut("host2")
    assert_ends_well(hosts, driver, "host2")
    standalone.assert_same_hmm("host.hmm", local_hmm)


@pytest.mark.parametrize("hosts", [{"conf": ALONE, "master": "host1"}], indirect=True, ids=["alone"])
def test_em_loses_the_host_of_its_master_too_and_ends_with_the_same_numbers(
    hosts: Hosts, standalone: Standalone, local_hmm: Path
) -> None:
    driver = command(hosts, standalone.folder, "fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", "masters.hmm")
    standalone.until_checkpoint("masters.hmm", driver)
    hosts.cut("host1")
    assert_ends_well(hosts, driver, "host1", "the cluster does not confirm that it is gone")
    standalone.assert_same_hmm("masters.hmm", local_hmm)


@soon
def test_preparation_loses_a_host_and_no_reading(hosts: Hosts, standalone: Standalone, dataset: SequenceDataset) -> None:
    driver = command(hosts, standalone.folder, "prep", "spec.toml", "host.seq")
    lost = until_persisted({host: hosts.disk(host) for host in WORKERS}, driver)
    hosts.cut(lost)
    assert_ends_well(hosts, driver, lost)
    assert SequenceDataset.open(standalone.folder / "host.seq").digest == dataset.digest
