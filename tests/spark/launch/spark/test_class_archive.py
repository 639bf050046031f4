"""Java maps the archive of its classes that the environment's installation has made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from hindcast.launch.spark.java import archive_place


def test_a_session_uses_the_archive(spark: SparkSession) -> None:
    if not (Path(sys.prefix) / ".hindcast-classes").is_file():
        pytest.skip(f"{sys.prefix} was not made by requirements/install.sh, which archives Java's classes")
    java: object = spark._jvm.java.lang.ProcessHandle.current().pid()  # type: ignore[union-attr]
    maps = Path(f"/proc/{java}/maps")
    if not maps.exists():
        pytest.skip("what a process has mapped is read from Linux's /proc")
    assert str(archive_place()) in maps.read_text()
