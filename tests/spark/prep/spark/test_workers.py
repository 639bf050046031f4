"""What Python workers are spared."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
from pyspark.sql import SparkSession

from hindcast.prep.spark.workers import forget_archives


def test_workers_have_no_archives_to_look_through(spark: SparkSession) -> None:
    def look(_: object) -> list[tuple[list[str], float]]:
        import pyspark

        archives = [entry for entry in sys.path_importer_cache if ".jar" in entry or "pyspark.zip" in entry]
        return [([*archives, *([pyspark.__file__] if ".zip" in pyspark.__file__ else [])], time.process_time())]

    looked = spark.sparkContext.parallelize(range(4), 4).mapPartitions(look).collect()
    assert [archives for archives, _ in looked] == [[]] * 4


def test_modules_of_the_user_stay_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = str(tmp_path / "mine.zip")
    before = list(sys.path)
    try:
        spark_own = [str(tmp_path / "pyspark" / "jars" / "spark-core.jar"), str(tmp_path / "home" / "jars" / "spark-core.jar")]
        sys.path[:0] = [mine, *spark_own, str(tmp_path / "pyspark.zip")]
        monkeypatch.setenv("SPARK_HOME", str(tmp_path / "home"))
        forget_archives()
        assert sys.path == [mine, str(tmp_path / "pyspark.zip"), *before]
    finally:
        sys.path[:] = before


def test_a_jar_with_modules_in_it_can_be_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = str(tmp_path / "jars" / "graphs.jar")
    (tmp_path / "jars").mkdir()
    with ZipFile(jar, "w") as archive:
        archive.writestr("module_in_a_jar.py", "ANSWER = 42\n")
    monkeypatch.setattr(sys, "path", [jar, *sys.path])
    forget_archives()
    import module_in_a_jar

    assert module_in_a_jar.ANSWER == 42
