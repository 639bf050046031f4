"""One model a series: in Spark's partitions, and by one process that does them in turn.

    python benchmarks/lstm_partitions.py [--series 200] [--slots 2] [--epochs 6]
    python benchmarks/lstm_partitions.py --workers          two workers of a core, with an executor each, against one

Both run the same code (one traced network for all series, one thread of TensorFlow a process) on the same dataset, and both begin
with a process that has not imported TensorFlow. Spark's session is there already, as it is in a session's second job. Models must
come out the same, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hindcast.deep.inputs import inputs_of
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.ways.partitions.each import plan, train_each, train_works
from hindcast.deep.ways.partitions.row_groups import Survey, look, places_of
from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from hindcast.prep.synthetic.fleet import draw, write_readings

STEPS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--dataset", help="one that is there already, in place of a synthetic fleet")
    parser.add_argument("--workers", action="store_true")
    parser.add_argument("--in-turn", help="only that, on this dataset; prints what came out")
    asked = parser.parse_args()
    settings = LstmSettings(units=16, batch=64, epochs=asked.epochs, patience=asked.epochs, segment=12)
    if asked.in_turn:
        in_turn(SequenceDataset.open(asked.in_turn), settings)
        return
    if asked.workers:
        workers(asked.series, settings)
        return
    with spark_session(f"local[{asked.slots}]", name="benchmark") as spark, tempfile.TemporaryDirectory() as folder:
        dataset = SequenceDataset.open(asked.dataset) if asked.dataset else fleet(spark, Path(folder), asked.series)
        alone_seconds, alone = timed_alone(dataset, asked.epochs)
        loads = [os.getloadavg()[0]]
        began = time.perf_counter()
        works, outcomes = together(spark, dataset, settings)
        seconds = time.perf_counter() - began
        loads.append(os.getloadavg()[0])
        digests = {one.key: one.trained.weights_digest for one in outcomes if one.trained is not None}
        cpu = sum(one.trained.cpu_seconds for one in outcomes if one.trained is not None)
        windows = sum(work.windows for work in works)
    packages = ", ".join(f"{name} {version(name)}" for name in ("keras", "pyspark", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}")
    print(f"{len(works)} series, {windows} training windows of 3 channels, {asked.epochs} epochs")
    print(f"load of the machine (its own included) after each: {loads[0]:.1f}, {loads[1]:.1f}\n")
    print("| | s, all | CPU s, training | ratio |")
    print("|---|---|---|---|")
    print(f"| one process, in turn | {alone_seconds:.1f} | {alone['cpu']:.1f} | 1.00 |")
    print(f"| Spark, {asked.slots} tasks at once | {seconds:.1f} | {cpu:.1f} | {alone_seconds / seconds:.2f} |")
    same = sum(digests[key] == digest for key, digest in alone["digests"].items())
    print(f"\nequal bit for bit: {same} of {len(digests)} models")


def together(spark: Any, dataset: SequenceDataset, settings: LstmSettings) -> tuple[Sequence[Any], list[Any]]:
    """What was to be trained, and what came of it."""
    found = look_at(dataset)
    works, inputs = plan(dataset, found, PartitionSettings()).works, inputs_of(dataset, found, settings)
    return works, list(train_each(spark, dataset, works, inputs, settings))


def workers(series: int, settings: LstmSettings) -> None:
    """Three pairs, in turn. Each run has a cluster of its own, so both begin with workers that have not imported TensorFlow."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        with spark_session("local[2]", name="writing") as spark:
            dataset = fleet(spark, Path(folder), series)
        for _ in range(3):
            for count in seconds:
                master = f"local-cluster[{count},1,2048]"
                with spark_session(master, "benchmark", {"spark.executor.memory": "1g"}) as spark:
                    spark.range(count, numPartitions=count).count()
                    began = time.perf_counter()
                    together(spark, dataset, settings)
                    seconds[count].append(time.perf_counter() - began)
                print(f"{count} worker(s): {seconds[count][-1]:.1f} s for {series} series", flush=True)
    ratios = np.divide(seconds[1], seconds[2])
    print(f"two workers against one: {np.median(ratios):.2f} times as fast ({ratios.min():.2f} to {ratios.max():.2f})")


def fleet(spark: object, folder: Path, series: int) -> SequenceDataset:
    write_readings(draw(series, STEPS, seed=0), folder / "readings.csv", folder / "regimes.csv", seed=0)
    spec = {
        "readings": {"path": str(folder / "readings.csv"), "timestamp": "time", "series": "sensor", "bad_rows": "quarantine"},
        "grid": {"step": "1h", "duplicates": "first"},
        "split": {"train": 380, "validation": 60, "test": 60},
        "windows": {"context": 24, "horizon": 12},
    }
    return prepare(spark, Spec.model_validate(spec), folder / "fleet.seq")


def look_at(dataset: SequenceDataset) -> Survey:
    return Survey(tuple(map(look, places_of(dataset))))


def timed_alone(dataset: SequenceDataset, epochs: int) -> tuple[float, dict]:
    command = [sys.executable, __file__, "--in-turn", dataset.location, "--epochs", str(epochs)]
    one = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    began = time.perf_counter()
    ran = subprocess.run(command, env={**os.environ, **one}, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, json.loads(ran.stdout.splitlines()[-1])


def in_turn(dataset: SequenceDataset, settings: LstmSettings) -> None:
    found = look_at(dataset)
    works, inputs = plan(dataset, found, PartitionSettings()).works, inputs_of(dataset, found, settings)
    done = [one for one in train_works(dataset.location, dataset.digest, works, inputs, settings) if one.trained is not None]
    digests = {one.key: one.trained.weights_digest for one in done if one.trained is not None}
    print(json.dumps({"digests": digests, "cpu": sum(one.trained.cpu_seconds for one in done if one.trained is not None)}))


if __name__ == "__main__":
    main()
