"""On a standalone cluster, a master and two workers of their own: all kinds of work, by the commands and by spark-submit."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyspark
import pytest

from classical.hmm.saving import load as load_hmm
from deep.forecaster import load as load_lstm
from launch.session import java_home
from prep.dataset import SequenceDataset

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SPARK = Path(pyspark.__file__).parent
ENVIRONMENT = {
    **os.environ,
    "JAVA_HOME": str(java_home()),
    "SPARK_HOME": str(SPARK),
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYSPARK_PYTHON": sys.executable,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


FIT_HMM = ["fit", "hmm", "d.seq", "--settings", "spec.toml", "--out"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_line(log: Path, pattern: str, count: int, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while len(re.findall(pattern, log.read_text())) < count:
        assert time.monotonic() < limit, log.read_text()[-2000:]
        time.sleep(0.3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a master on the loopback address with two workers of one core each, and the master's log."""
    folder, port = tmp_path_factory.mktemp("cluster"), free_port()
    url = f"spark://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, kind: str, *arguments: str) -> Path:
        log = folder / f"{name}.log"
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1", *arguments]
        environment = {
            **ENVIRONMENT,
            "SPARK_WORKER_DIR": str(folder / name),
            "JAVA_TOOL_OPTIONS": os.environ["SPARK_SUBMIT_OPTS"],
        }
        with log.open("wb") as out:
            started.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment))
        return log

    try:
        log = start("master", "master.Master", "--port", str(port), "--webui-port", str(free_port()))
        await_line(log, "New state: ALIVE", 1)
        for worker in ("one", "two"):
            start(worker, "worker.Worker", "--cores", "1", "--memory", "2g", "--webui-port", str(free_port()), url)
        await_line(log, "Registering worker", 2)
        yield url, log
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def master(cluster: tuple[str, Path]) -> str:
    return cluster[0]


@pytest.fixture
def ran_there(cluster: tuple[str, Path]) -> Iterator[None]:
    """The test fails where nothing ran on the cluster."""
    before = cluster[1].read_text().count("Registered app")
    yield
    assert cluster[1].read_text().count("Registered app") > before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    hours = np.arange(600)
    rng = np.random.default_rng(0)
    times = np.datetime_as_string(np.datetime64("2025-01-01T00") + hours, "s")
    lines = [
        f"{t},{name},{20 + 5 * np.sin(h / 4) + rng.normal():.3f}" for name in "abcd" for h, t in zip(hours, times, strict=True)
    ]
    (folder / "readings.csv").write_text("\n".join(["time,sensor,heat", *lines]) + "\n")
    (folder / "spec.toml").write_text(
        '[readings]\npath = "readings.csv"\ntimestamp = "time"\nseries = "sensor"\n[windows]\ncontext = 24\nhorizon = 8\n'
        "[hmm]\nstates = 2\niterations = 3\n[lstm]\nunits = 8\nepochs = 1\n"
    )
    return folder


def run(folder: Path, *command: str, **environment: str) -> str:
    told = {**ENVIRONMENT, **environment}
    ran = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    return ran.stdout


@pytest.fixture(scope="module")
def dataset(master: str, folder: Path) -> SequenceDataset:
    run(folder, "hindcast", "prep", "spec.toml", "d.seq", "--cluster.master", master)
    return SequenceDataset.open(folder / "d.seq")


def test_a_cluster_prepares_what_one_machine_does(dataset: SequenceDataset, folder: Path) -> None:
    run(folder, "hindcast", "prep", "spec.toml", "local.seq", "--cluster.master", "local[1]")
    assert SequenceDataset.open(folder / "local.seq").digest == dataset.digest


@pytest.fixture(scope="module")
def local_hmm(dataset: SequenceDataset, folder: Path) -> str:
    run(folder, "hindcast", *FIT_HMM, "local.hmm", "--cluster.master", "local[1]")
    return "local.hmm"


@pytest.mark.usefixtures("ran_there")
def test_spark_submit_runs_em_and_gets_what_one_machine_gets(master: str, local_hmm: str, folder: Path) -> None:
    run(folder, "spark-submit", "--master", master, str(ROOT / "launch" / "__main__.py"), *FIT_HMM, "cluster.hmm")
    assert_equal_models(folder / "cluster.hmm", folder / local_hmm)


def assert_equal_models(found: Path, expected: Path) -> None:
    cluster, local = (load_hmm(place).model for place in (found, expected))
    np.testing.assert_allclose(cluster.transition, local.transition, rtol=1e-8, atol=1e-10)
    for name, array in local.emission.arrays().items():
        np.testing.assert_allclose(getattr(cluster.emission, name), array, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with everything but Hindcast."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    ours, its = (sysconfig.get_path("purelib", vars=where) for where in (None, {"base": str(folder)}))
    Path(its, "sitecustomize.py").write_text(f"import sys; sys.path.append({ours!r})")
    python = folder / "bin" / "python"
    lacks = subprocess.run([str(python), "-c", "import prep"], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    assert "No module named 'prep'" in lacks.stderr
    return python


@pytest.mark.usefixtures("ran_there")
def test_submit_brings_code_and_environment_to_hosts_that_have_neither(
    master: str, local_hmm: str, folder: Path, bare: Path
) -> None:
    command = [str(bare), "-m", "launch", "submit", "--environment", "--master", master, "--", *FIT_HMM, "packed.hmm"]
    run(folder, *command, PYTHONPATH=str(ROOT), TMPDIR=str(folder))
    assert [*folder.glob("hindcast-*/environment-*.tar.gz")]
    assert_equal_models(folder / "packed.hmm", folder / local_hmm)


@pytest.mark.usefixtures("ran_there")
def test_readings_are_forecast_on_a_cluster_as_on_one_machine(master: str, local_hmm: str, folder: Path) -> None:
    for where, out in ((master, "cluster.parquet"), ("local[1]", "local.parquet")):
        run(folder, "hindcast", "forecast", local_hmm, "readings.csv", "--out", out, "--cluster.master", where)
    order = [("series", "ascending"), ("step", "ascending")]
    cluster, local = (pq.read_table(folder / name).sort_by(order) for name in ("cluster.parquet", "local.parquet"))
    assert len(local) == 4 * 8
    assert cluster.equals(local)


@pytest.mark.usefixtures("ran_there")
def test_horovod_trains_across_both_workers(master: str, dataset: SequenceDataset, folder: Path) -> None:
    run(folder, "hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "lstm", "--cluster.master", master)
    assert load_lstm(folder / "lstm").card.settings["ranks"] == 2


LOSING_AN_EXECUTOR = """
import json, os, signal, sys, time
import numpy as np, psutil
from classical import em, hmm
from classical.hmm.training import training
from launch.session import spark_session
from prep.entries import cache_directory

def executors(app):
    lines = ((process.pid, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [pid for pid, line in lines if app in line and any("CoarseGrainedExecutorBackend" in word for word in line)]

def lose_one(number):
    if number == 2:
        os.kill(executors(spark.sparkContext.applicationId)[0], signal.SIGKILL)

with spark_session(sys.argv[1]) as spark:
    limit = time.monotonic() + 90
    while len(executors(spark.sparkContext.applicationId)) < 2 and time.monotonic() < limit:
        time.sleep(0.2)
    rng, found = np.random.default_rng(0), {}
    rows = [(rng.integers(0, 1 + 2 * (number % 2), 30).tolist(),) for number in range(60)]
    frame = spark.createDataFrame(rows, "x array<int>").repartition(6)
    model = hmm.CategoricalHMM(2, n_features=3, n_iter=5, random_state=0)
    for name, hook in (("whole", lambda number: None), ("disturbed", lose_one)):
        with training(frame, check=model._check) as given:
            found["nodes"] = len(given.data._nodes)
            how = {"iterations": 5, "tolerance": -np.inf, "on_iteration": lambda number, _: hook(number)}
            found[name] = em.fit(model.beginnings(given)[0], given.data, **how)[1].log_likelihood
    left = spark.sparkContext.parallelize(range(8), 8).map(lambda _: len([*cache_directory().glob("packed-*")])).collect()
print(json.dumps({**found, "left": sum(left)}))
"""


def test_sequences_that_a_lost_executor_had_are_packed_again(master: str, folder: Path) -> None:
    found = json.loads(run(folder, sys.executable, "-c", LOSING_AN_EXECUTOR, master).splitlines()[-1])
    assert found["nodes"] == 2
    assert found["disturbed"] == pytest.approx(found["whole"], rel=1e-12)
    assert found["left"] == 0
