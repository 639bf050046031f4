"""Preparation against `collect_list` over a sliding frame, and how its time and memory grow.

python benchmarks/preparing.py rate                 readings a second, and bytes on disk, beside the peer's
python benchmarks/preparing.py growth               from 1 to 50 million readings
python benchmarks/preparing.py series               the same readings from 100 and from 100,000 series
python benchmarks/preparing.py skew                 one series with half of all readings, against equal ones
python benchmarks/preparing.py memory --memory 512m readings of four times the memory that Spark is given
"""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

CHANNELS = 4
WINDOW, HORIZON = 96, 24


def readings(spark: SparkSession, folder: Path, count: int, share_of_first: float | None, series: int = 32) -> Path:
    """Writes `count` readings a minute apart, of `series` sensors, of which the first may have a share of its own."""
    rows = spark.range(count, numPartitions=max(4, count // 1_000_000))
    if share_of_first is None:
        sensor, minute = F.col("id") % series, F.floor(F.col("id") / series)
    else:
        first = int(count * share_of_first)
        rest = F.col("id") - first
        sensor = F.when(F.col("id") < first, 0).otherwise(1 + rest % (series - 1))
        minute = F.when(F.col("id") < first, F.col("id")).otherwise(F.floor(rest / (series - 1)))
    values = [F.rand(seed).alias(f"v{seed}") for seed in range(CHANNELS)]
    table = rows.select(F.concat(F.lit("s"), sensor).alias("sensor"), F.timestamp_seconds(minute * 60).alias("time"), *values)
    path = folder / f"{count}-{share_of_first}.parquet"
    table.write.parquet(str(path))
    return path


def spec_of(path: Path) -> Spec:
    return Spec.model_validate(
        {
            "readings": {"path": str(path), "timestamp": "time", "series": "sensor"},
            "grid": {"step": "1min"},
            "windows": {"context": WINDOW - HORIZON, "horizon": HORIZON},
        }
    )


def collected(source: DataFrame) -> DataFrame:
    """Every window of every series, each reading in 96 of them: the recipe that most use."""
    frame = Window.partitionBy("sensor").orderBy("time").rowsBetween(0, WINDOW - 1)
    values = F.array(*(F.col(f"v{channel}").cast("float") for channel in range(CHANNELS)))
    windows = source.select("sensor", "time", F.collect_list(values).over(frame).alias("window"))
    return windows.where(F.size("window") == WINDOW)


@contextmanager
def timed(times: dict[str, list[float]], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    times.setdefault(name, []).append(time.perf_counter() - begun)


def rate(spark: SparkSession, folder: Path, count: int, repeats: int) -> None:
    path = readings(spark, folder, count, None)
    times: dict[str, list[float]] = {}
    before = shuffled(spark)
    prepare(spark, spec_of(path), folder / "dataset")
    each = (shuffled(spark) - before) / count
    for _ in range(repeats):
        with timed(times, "collect_list, windows thrown away"):
            collected(spark.read.parquet(str(path))).write.format("noop").mode("overwrite").save()
        with timed(times, "collect_list, windows written as Parquet"):
            collected(spark.read.parquet(str(path))).write.mode("overwrite").parquet(str(folder / "windows"))
        with timed(times, "prepare: a dataset, read back and hashed"):
            dataset = prepare(spark, spec_of(path), folder / "dataset", overwrite=True)
    ours = min(times["prepare: a dataset, read back and hashed"])
    print(f"{count:,} readings of {CHANNELS} channels, 32 series, windows of {WINDOW}, best of {repeats}")
    for name, seconds in times.items():
        print(f"  {name:45} {min(seconds):7.1f} s {count / min(seconds):12,.0f} readings/s  {min(seconds) / ours:5.2f}x")
    raw = 4 * CHANNELS * count
    size = sum(file.stat().st_size for file in dataset.path.rglob("*") if file.is_file())
    stored = sum(part.bytes for part in dataset.manifest.parts)
    theirs = sum(file.stat().st_size for file in (folder / "windows").glob("*.parquet"))
    sizes = f"sequences {stored / raw:.3f}x, all files {size / raw:.3f}x; collect_list {theirs / raw:.1f}x"
    print(f"  on disk, of the raw float32: {sizes}")
    print(f"  shuffled by preparing: {each:.1f} bytes a reading")


def shuffled(spark: SparkSession) -> int:
    """Bytes that Spark's executors have written for shuffles."""
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    return sum(int(executors.apply(number).totalShuffleWrite()) for number in range(executors.length()))


def growth(spark: SparkSession, folder: Path, counts: list[int]) -> None:
    for count in counts:
        path = readings(spark, folder, count, None)
        times: dict[str, list[float]] = {}
        with timed(times, "prepare"):
            prepare(spark, spec_of(path), folder / "dataset", overwrite=True)
        print(f"  {count:12,} readings {times['prepare'][0]:8.1f} s {count / times['prepare'][0]:12,.0f} readings/s", flush=True)
        shutil.rmtree(path)


def skew(spark: SparkSession, folder: Path, count: int, repeats: int) -> None:
    times: dict[str, list[float]] = {}
    paths = {"equal series": readings(spark, folder, count, None), "one with half": readings(spark, folder, count, 0.5)}
    for _ in range(repeats):
        for name, path in paths.items():
            with timed(times, name):
                prepare(spark, spec_of(path), folder / "dataset", overwrite=True)
    for name, seconds in times.items():
        print(f"  {name:15} {min(seconds):7.1f} s")
    print(f"  ratio {min(times['one with half']) / min(times['equal series']):.2f}")


def series(spark: SparkSession, folder: Path, count: int) -> None:
    for number in (100, 1_000, 10_000, 100_000):
        path = readings(spark, folder, count, None, number)
        spec = spec_of(path).model_dump(mode="json", exclude_unset=True) | {
            "windows": {"context": 12, "horizon": 6}, "scaling": {"per": "series"},
        }  # fmt: skip
        times: dict[str, list[float]] = {}
        with timed(times, "prepare"):
            dataset = prepare(spark, Spec.model_validate(spec), folder / "dataset", overwrite=True)
        with timed(times, "open"):
            opened = SequenceDataset.open(dataset.location)
        with timed(times, "windows"):
            windows = len(opened.windows("train"))
        manifest, seconds = (dataset.path / "_manifest.json").stat().st_size, times["prepare"][0]
        print(
            f"  {number:8,} series {seconds:8.1f} s {count / seconds:10,.0f} readings/s; manifest {manifest / 1e3:.0f} kB, opens "
            f"in {times['open'][0]:.2f} s, {windows:,} windows in {times['windows'][0]:.2f} s",
            flush=True,
        )
        shutil.rmtree(path)


def memory(spark: SparkSession, folder: Path, count: int, given: str) -> None:
    path = readings(spark, folder, count, None)
    peaks: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                try:
                    # By name: a Java process that is just being forked to start another is neither.
                    name = {"java": "Java", "python": "a Python worker"}.get(process.name().rstrip("0123456789."))
                    if name:
                        peaks[name] = max(peaks.get(name, 0), process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    try:
        prepare(spark, spec_of(path), folder / "dataset")
    finally:
        done.set()
        watcher.join()
    raw = 8 * CHANNELS * count
    seconds = time.perf_counter() - begun
    print(f"  {count:,} readings, {raw / 1e9:.2f} GB as float64, Spark given {given}: {seconds:.0f} s; largest resident")
    for name, peak in peaks.items():
        print(f"    {name:16} {peak / 1e6:8,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "growth", "series", "skew", "memory"])
    parser.add_argument("--readings", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="2g", help="of Spark's JVM")
    parser.add_argument("--cores", type=int, default=2)
    asked = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "petastorm", "pyarrow", "numpy"))
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    print(f"{machine}; {versions}; local[{asked.cores}]")
    with (
        tempfile.TemporaryDirectory() as scratch,
        spark_session(f"local[{asked.cores}]", "benchmark", {"spark.driver.memory": asked.memory}) as spark,
    ):
        folder = Path(scratch)
        if asked.what == "rate":
            rate(spark, folder, asked.readings or 2_000_000, asked.repeats)
        elif asked.what == "growth":
            growth(spark, folder, [asked.readings] if asked.readings else [1_000_000, 5_000_000, 20_000_000, 50_000_000])
        elif asked.what == "series":
            series(spark, folder, asked.readings or 5_000_000)
        elif asked.what == "skew":
            skew(spark, folder, asked.readings or 4_000_000, asked.repeats)
        else:
            memory(spark, folder, asked.readings or 64_000_000, asked.memory)


if __name__ == "__main__":
    main()
