"""What a launcher adds: from the command to the answer, and to the first step of a training, against the bare tool.

    python benchmarks/launching.py [--rounds 3] [--only prep]

    hindcast prep       of a small CSV, and of ETTh1 where it is at hand: seconds, and processor seconds of all processes that it
                        starts, the start of Java included, and how many jobs Spark runs for it
    spark-submit        a script that calls `prepare` on a small CSV, by spark-submit; `hindcast prep` of the same by itself, by
                        plain spark-submit, and by `hindcast submit`, all on local[2]: whole commands
    horovodrun          two ranks that import TensorFlow, join and sum a number; `fit lstm` on two ranks, to its first step
    Horovod on Spark    the same sum by horovod.spark.run, and a step by `fit_on_spark`, in a session that is there already

The median of some rounds, taken in turn.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hindcast.deep.settings import LstmSettings
from hindcast.launch.spark.java import java_home
from hindcast.launch.spark.session import spark_session
from hindcast.launch.submitting.submit import spark_submit
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

HINDCAST = Path(sys.executable).with_name("hindcast")
MAIN = Path(__file__).resolve().parents[1] / "hindcast" / "__main__.py"
ON_TWO = ["--master", "local[2]"]
ETTH1 = MAIN.parents[1] / "examples/etth1.toml"
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER, of Linux
LIMIT = 300  # seconds of any command
PREPARING = """
import sys, tomllib
from pyspark.sql import SparkSession
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
spark = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
prepare(spark, Spec.model_validate(tomllib.load(open(sys.argv[1], "rb"))), sys.argv[2], overwrite=True)
spark.stop()
"""
JOINING = """
import sys, time
import tensorflow as tf
import horovod.tensorflow as hvd
hvd.init()
hvd.allreduce(tf.constant(1.0))
open(f"{sys.argv[1]}/{hvd.rank()}", "w").write(str(time.perf_counter()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["prep"])
    parser.add_argument(
        "--first", nargs=2, metavar=("DATASET", "OUT"), help="a rank: writes when its first step was about to begin"
    )
    asked = parser.parse_args()
    if asked.first:
        first(*asked.first)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder / "readings.csv")
        preparations(folder, asked.rounds)
        if asked.only:
            return
        report("spark-submit, whole commands", commands(folder), asked.rounds)
        dataset = SequenceDataset.open(folder / "fleet.seq")
        report("horovodrun, two ranks, to the first step", ranks(folder, dataset), asked.rounds)
        with spark_session("local[2]", "launching") as spark:
            spark.range(2).count()
            report("Horovod on Spark, two ranks, whole calls", calls(spark, dataset), asked.rounds)


def write(file: Path) -> None:
    """20 sensors, 500 hours."""
    rng, hours = np.random.default_rng(0), np.datetime64("2025-01-01T00") + np.arange(500)
    times = np.datetime_as_string(hours, "s")
    lines = [f"{t},s{n},{rng.normal():.3f}" for n in range(20) for t in times]
    file.write_text("\n".join(["time,sensor,heat", *lines]) + "\n")


def settings_of(folder: Path) -> Path:
    spec = folder / "spec.toml"
    spec.write_text(
        f'[readings]\npath = "{folder / "readings.csv"}"\ntimestamp = "time"\nseries = "sensor"\n'
        "[windows]\ncontext = 24\nhorizon = 12\n"
    )
    return spec


def preparations(folder: Path, rounds: int) -> None:
    specs = {"a small CSV": settings_of(folder)} | ({"ETTh1": ETTH1} if (ETTH1.parents[2] / "shared/data/ett").is_dir() else {})
    print("hindcast prep, whole commands", flush=True)
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in specs}
    for _ in range(rounds):
        for name, spec in specs.items():
            costs[name].append(cost(prepared(spec, folder)))
    for name, found in costs.items():
        seconds, processor = map(statistics.median, zip(*found, strict=True))
        print(f"  {name:<40}{seconds:7.1f} s {processor:7.1f} s of processors {jobs(specs[name], folder):7} jobs", flush=True)


def prepared(spec: Path, folder: Path) -> list[str]:
    command = [str(HINDCAST), "prep", str(spec), str(folder / "prepared.seq")]
    return [*command, "--overwrite", "--cluster.master", "local[2]"]


def cost(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and processor seconds of all that it starts, also of what ends after it."""
    before = processor_seconds()
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    seconds = whole(command)
    limit = time.monotonic() + LIMIT
    try:
        while time.monotonic() < limit:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
    except ChildProcessError:
        pass  # all have ended
    finally:
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 0, 0, 0, 0)
    return seconds, processor_seconds() - before


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def jobs(spec: Path, folder: Path) -> int:
    """How many jobs Spark runs for it, by the log of its events."""
    log, settings = folder / "events", folder / "spark"
    log.mkdir(exist_ok=True)
    settings.mkdir(exist_ok=True)
    (settings / "spark-defaults.conf").write_text(f"spark.eventLog.enabled true\nspark.eventLog.dir {log.as_uri()}\n")
    whole(prepared(spec, folder), SPARK_CONF_DIR=str(settings))
    newest = max(log.iterdir(), key=lambda file: file.stat().st_mtime)
    return sum(json.loads(line)["Event"] == "SparkListenerJobStart" for line in newest.read_text().splitlines())


def commands(folder: Path) -> dict[str, Callable[[], float]]:
    script, spec = folder / "preparing.py", settings_of(folder)
    script.write_text(PREPARING)
    submit, what = [str(spark_submit()), *ON_TWO], [str(spec), str(folder / "fleet.seq")]
    ours = ["prep", *what, "--overwrite"]
    return {
        "bare: a script that calls prepare": lambda: whole([*submit, str(script), *what]),
        "hindcast": lambda: whole([str(HINDCAST), *ours, "--cluster.master", "local[2]"]),
        "spark-submit hindcast/__main__.py": lambda: whole([*submit, str(MAIN), *ours]),
        "hindcast submit": lambda: whole([str(HINDCAST), "submit", *ON_TWO, "--", *ours]),
    }


def ranks(folder: Path, dataset: SequenceDataset) -> dict[str, Callable[[], float]]:
    script = folder / "joining.py"
    script.write_text(JOINING)
    run = [str(Path(sys.executable).with_name("horovodrun")), "-np", "2", "--gloo", sys.executable]
    return {
        "bare: a sum": lambda: until_told([*run, str(script)]),
        "fit lstm": lambda: until_told([*run, __file__, "--first", dataset.location]),
    }


def calls(spark: Any, dataset: SequenceDataset) -> dict[str, Callable[[], float]]:
    from hindcast.deep.ways.spark import fit_on_spark

    return {
        "bare: horovod.spark.run of a sum": lambda: taken(bare_on_spark),
        "fit_on_spark, a step and validation": lambda: taken(
            lambda: fit_on_spark(spark, dataset.location, LstmSettings(epochs=1, max_seconds=1e-6), 2)
        ),
    }


def bare_on_spark() -> None:
    import horovod.spark

    def summed() -> float:
        import horovod.tensorflow as hvd
        import tensorflow as tf

        hvd.init()
        return float(hvd.allreduce(tf.constant(1.0)))

    horovod.spark.run(summed, num_proc=2, use_gloo=True, verbose=0)


def first(location: str, out: str) -> None:
    from hindcast.deep.training.collective import HorovodRanks
    from hindcast.deep.ways.local import train_on

    collective, seconds = HorovodRanks(), []
    settings = LstmSettings(epochs=1, max_seconds=1e-6)
    train_on(SequenceDataset.open(location), settings, collective, on_step=lambda *at: seconds.append(time.perf_counter()))
    Path(out, str(collective.rank)).write_text(str(seconds[0]))


def report(title: str, runs: dict[str, Callable[[], float]], rounds: int) -> None:
    print(title, flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    bare = statistics.median(next(iter(seconds.values())))
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"  {name:<40}{middle:7.1f} s ({min(found):.1f} to {max(found):.1f}) {middle - bare:+7.1f} s", flush=True)


def whole(command: list[str], **variables: str) -> float:
    environment = {**os.environ, "JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable, **variables}
    return taken(lambda: subprocess.run(command, check=True, capture_output=True, timeout=LIMIT, env=environment))


def until_told(command: list[str]) -> float:
    """Until the first of what the command starts wrote the time into the folder that it is given last."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        subprocess.run([*command, out], check=True, capture_output=True, timeout=LIMIT)
        return min(float(file.read_text()) for file in Path(out).iterdir()) - began


def taken(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
