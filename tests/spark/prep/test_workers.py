"""What Python workers are spared."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from prep.workers import forget_archives


def test_workers_have_no_archives_to_look_through(spark: SparkSession) -> None:
    def look(_: object) -> list[tuple[list[str], float]]:
        import pyspark

        archives = [entry for entry in sys.path_importer_cache if ".jar" in entry or "pyspark.zip" in entry]
        return [([*archives, *([pyspark.__file__] if ".zip" in pyspark.__file__ else [])], time.process_time())]

    looked = spark.sparkContext.parallelize(range(4), 4).mapPartitions(look).collect()
    assert [archives for archives, _ in looked] == [[]] * 4


def test_modules_of_the_user_stay_on_the_path(tmp_path: Path) -> None:
    mine = str(tmp_path / "mine.zip")
    before = list(sys.path)
    try:
        sys.path[:0] = [mine, str(tmp_path / "spark-core.jar"), str(tmp_path / "pyspark.zip")]
        forget_archives()
        assert sys.path == [mine, str(tmp_path / "pyspark.zip"), *before]
    finally:
        sys.path[:] = before
