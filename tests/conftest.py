"""What all tests share: one Spark session a process, and the way to the shared data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

from hindcast.launch.spark.session import spark_session
from tests.compiling import UNCOMPILED

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Java's second compiler takes longer than it saves, even in all tests together. What the first alone compiles has 48 MiB by
# itself: they fill it, and from then on it throws away and compiles anew.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC")

# Numba then runs kernels for GPUs in threads of Python's. Set it to 0 where there is a GPU, and they are tested there.
os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded row groups of this run are kept apart from everybody else's."""
    os.environ["HINDCAST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    with spark_session("local[2]", name="tests", more=UNCOMPILED) as session:
        yield session


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference values beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: it holds the real data that this test reads")
    return SHARED


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of this process."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server_ = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = server_.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
