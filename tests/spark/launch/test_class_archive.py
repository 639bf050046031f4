"""Java maps the archive of its classes that the environment's installation has made."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from launch.class_archive import archive_place


def test_a_session_uses_the_archive(spark: SparkSession) -> None:
    if not archive_place().is_file():
        pytest.skip(f"{archive_place()} is not there: requirements/install.sh, or python -m launch.class_archive, makes it")
    java: object = spark._jvm.java.lang.ProcessHandle.current().pid()  # type: ignore[union-attr]
    maps = Path(f"/proc/{java}/maps")
    if not maps.exists():
        pytest.skip("what a process has mapped is read from Linux's /proc")
    assert str(archive_place()) in maps.read_text()
