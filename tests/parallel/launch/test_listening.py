"""Who can reach a run on one machine: nobody from elsewhere, whichever of its processes listens; and what Spark tells there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pyspark.sql import SparkSession

from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.neighbours import python_path, working_folder

pytestmark = pytest.mark.parallel

MARK = "HINDCAST_LISTENING"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
# Of the driver: the watch over the ranks, Horovod's rendezvous and its driver's service. And a service for each of two tasks.
SERVERS, PORTS = 3 + 2, 40


@pytest.fixture
def dataset(spark: SparkSession, tmp_path: Path) -> Path:
    hours = np.arange(600)
    values = np.sin(2 * np.pi * hours / 12)
    times = np.datetime_as_string(np.datetime64("2020-01-01T00") + hours, "s")
    lines = [f"{when},{value}" for when, value in zip(times, values, strict=True)]
    (tmp_path / "waves.csv").write_text("\n".join(["time,value", *lines]) + "\n")
    readings = {"path": str(tmp_path / "waves.csv"), "timestamp": "time"}
    prepare(spark, Spec.model_validate({"readings": readings, "windows": {"context": 24, "horizon": 12}}), tmp_path / "waves.seq")
    return tmp_path / "waves.seq"


def listening(mark: str) -> Iterator[tuple[str, int, str]]:
    """(address, port, process) of every socket on which a process of a run listens."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != mark:
                continue
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    yield one.laddr.ip, one.laddr.port, " ".join(process.cmdline())[:120]
        except psutil.Error:  # it has ended meanwhile, or is somebody else's
            continue


def free_ports(count: int) -> int:
    """The first of so many that are free now."""
    for first in range(40000, 60000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no ports are free")


def fetched(url: str) -> str:
    """What is there; nothing where nobody answers yet, or not any more."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def described(page: str) -> set[str]:
    """What Spark says of the jobs of the application whose page this is; nothing while that starts up."""
    try:
        applications = json.loads(fetched(f"{page}/api/v1/applications"))
        jobs = json.loads(fetched(f"{page}/api/v1/applications/{applications[0]['id']}/jobs"))
    except ValueError:
        return set()
    return {job.get("description", "") for job in jobs}


def test_all_that_a_local_run_opens_is_on_the_loopback_address_and_ports_are_where_they_are_asked_for(
    dataset: Path, tmp_path: Path
) -> None:
    mark, first = uuid.uuid4().hex, free_ports(PORTS + 1)
    page, ports = f"http://127.0.0.1:{first}", range(first + 1, first + 1 + PORTS)
    environment = {name: value for name, value in os.environ.items() if name not in ("SPARK_LOCAL_IP", "SPARK_HOME")}
    environment |= {MARK: mark, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    settings = ["spark.ui.enabled=true", f"spark.ui.port={first}", "spark.ui.prometheus.enabled=true"]
    command = [sys.executable, "-m", "hindcast", "submit", "--master", "local[2]", *(w for s in settings for w in ("--conf", s))]
    command += ["--", "fit", "lstm", str(dataset), "--out", str(tmp_path / "lstm"), "--cluster.ranks", "2", "--lstm.units", "8"]
    command += ["--lstm.epochs", "2", "--cluster.ports", f"{ports[0]}-{ports[-1]}", "--log", "json"]
    # It is submitted from where somebody else's modules are called as our folders are.
    here, environment["PYTHONPATH"] = working_folder(tmp_path / "work"), python_path(tmp_path / "installed")
    found: set[tuple[str, int, str]] = set()
    metrics, descriptions = "", set[str]()
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=here) as run:
        limit = time.monotonic() + 300
        try:
            while run.poll() is None:
                assert time.monotonic() < limit, (tmp_path / "log").read_text()[-4000:]
                found |= set(listening(mark))
                told = fetched(f"{page}/metrics/executors/prometheus")
                metrics = told if told.startswith("spark_info") else metrics
                descriptions |= described(page)
                time.sleep(0.1)
        finally:
            run.terminate()
    assert run.returncode == 0, (tmp_path / "log").read_text()[-4000:]
    assert [one for one in found if one[0] not in LOOPBACK] == []
    assert first in {port for _, port, _ in found}, "Spark's page"
    assert len({port for _, port, _ in found if port in ports}) >= SERVERS, sorted(found)
    assert 'metrics_executor_totalCores{application_id="local-' in metrics
    assert descriptions == {"2 ranks of Horovod"}
