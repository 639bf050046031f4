"""What the tests share: two clusters, a small disk, and what was made on one machine to compare with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.disk import Disk
from tests.cluster.hosts import Hosts
from tests.cluster.standalone import Standalone


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
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
        "[hmm]\nstates = 2\niterations = 20\ntolerance = 0.0\n"
        "[lstm]\nunits = 8\nbatch = 64\nepochs = 12\npatience = 12\ncheckpoint_steps = 10\n"
    )
    cluster = Standalone(tmp_path_factory.mktemp("cluster"), folder)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def dataset(standalone: Standalone) -> SequenceDataset:
    """d.seq, prepared on the cluster."""
    standalone.run("hindcast", "prep", "spec.toml", "d.seq", "--cluster.master", standalone.url)
    return SequenceDataset.open(standalone.folder / "d.seq")


@pytest.fixture(scope="session")
def local_hmm(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """Fitted to it on one machine."""
    standalone.run(
        "hindcast", "fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", "local.hmm", "--cluster.master", "local[1]"
    )  # fmt: skip
    return standalone.folder / "local.hmm"


@pytest.fixture(scope="session")
def models(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """An LSTM of each series, on one machine."""
    standalone.run(
        "hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "local.models", "--cluster.on", "partitions",
        "--lstm.epochs", "10", "--cluster.master", "local[1]",
    )  # fmt: skip
    return standalone.folder / "local.models"


@pytest.fixture(scope="session")
def lstm(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """Fitted to it on a rank at each worker."""
    standalone.run(
        "hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "lstm", "--cluster.master", standalone.url
    )  # fmt: skip
    return standalone.folder / "lstm"


@pytest.fixture
def small_disks(standalone: Standalone, tmp_path: Path) -> Iterator[dict[str, Disk]]:
    """By worker. What each and its executors write lies on its own: Spark's local directory, Hindcast's cache, logs."""
    disks = {name: Disk(tmp_path / name) for name in ("one", "two")}
    mounted = []
    try:
        for name, disk in disks.items():
            disk.folder.mkdir()
            disk.mount()
            mounted.append(disk)
            standalone.kill(name)
            local, work = (str(disk.folder / kind) for kind in ("local", "work"))
            standalone.start_worker(name, SPARK_LOCAL_DIRS=local, SPARK_WORKER_DIR=work)
        yield disks
    finally:
        for name in disks:
            standalone.kill(name)
            standalone.start_worker(name)
        for disk in mounted:
            subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


@pytest.fixture
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosts]:
    """A driver's host, and two workers of one core on hosts of their own; `request.param`: what else Hosts is told."""
    if missing := [name for name in ("ip", "unshare", "mount") if shutil.which(name) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces are made by root alone")
    cluster = Hosts(tmp_path, **getattr(request, "param", {}))
    try:
        try:
            cluster.up()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        yield cluster
    finally:
        cluster.down()
