"""EM of a categorical HMM on Spark: the table of 2016 remade, what a second core gives, what an iteration costs beside its work.

    python benchmarks/hmm_on_spark.py table [--largest 10000000]    1 thousand … 10 million sequences of 100 steps, 10 iterations
    python benchmarks/hmm_on_spark.py cores [--sequences 500000]    local[2] against local[1], 8 states; and two processes without
                                                                    Spark against one, which is what the machine can give
    python benchmarks/hmm_on_spark.py workers [--sequences 500000]  two workers of a core, with an executor each, against one
    python benchmarks/hmm_on_spark.py overhead                      8 partitions with next to nothing in them

In 2016 a PySpark HMM of 3 states trained on 500 thousand sequences in 6.4 minutes and on 10 million in 102 minutes, on 15 nodes
of 8 cores; hmmlearn needed 91.6 minutes for 500 thousand, its limit. Here sequences are rows of a Parquet file that Spark reads;
reading and packing them counts. hmmlearn is given arrays in memory, as it wants them, as long as it is expected to take less than
--patience seconds.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from hindcast.classical import hmm
from hindcast.classical.hmm.data.sequences import sequences_of
from hindcast.launch.spark.session import spark_session

STATES, SYMBOLS, STEPS, ITERATIONS, ROWS = 3, 16, 100, 10, 20_000
EIGHT = 8  # states where one core is held against two: with 3 there is little to share
TABLE = (1_000, 10_000, 100_000, 500_000, 1_000_000, 10_000_000)
warnings.filterwarnings("ignore", module="hmmlearn")


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """start, transition, emission."""
    rng = np.random.default_rng(0)
    return np.full(STATES, 1 / STATES), 0.8 * np.eye(STATES) + 0.2 / STATES, rng.dirichlet(np.ones(SYMBOLS), STATES)


def drawn(rows: int, seed: int) -> np.ndarray:
    """(rows, STEPS) int8 symbols of the true model."""
    rng, (start, transition, emission) = np.random.default_rng(seed), truth()
    symbols, state = np.empty((rows, STEPS), np.int8), rng.choice(STATES, rows, p=start)
    for t in range(STEPS):
        if t:
            state = (rng.random(rows)[:, None] >= np.cumsum(transition, axis=1)[state]).sum(axis=1)
        symbols[:, t] = np.minimum((rng.random(rows)[:, None] >= np.cumsum(emission, axis=1)[state]).sum(axis=1), SYMBOLS - 1)
    return symbols


def write(spark: Any, sequences: int, file: Path) -> None:
    """A Parquet file of arrays of bytes, one sequence a row."""

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for seed in batch.column(0).to_pylist():
                symbols = drawn(min(ROWS, sequences - seed * ROWS), seed)
                offsets = np.arange(len(symbols) + 1, dtype=np.int32) * STEPS
                yield pa.RecordBatch.from_arrays([pa.ListArray.from_arrays(offsets, symbols.ravel())], names=["symbols"])

    parts = -(-sequences // ROWS)
    spark.range(0, parts, 1, min(parts, 64)).mapInArrow(rows, "symbols array<tinyint>").write.parquet(str(file))


def model(states: int = STATES) -> hmm.CategoricalHMM:
    return hmm.CategoricalHMM(states, n_features=SYMBOLS, n_iter=ITERATIONS, tol=-np.inf, random_state=0)


class Memory:
    """The most that each kind of process had resident, in MiB, while it was watched."""

    def __enter__(self) -> Memory:
        self.most: dict[str, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.2):
            for process in (me, *me.children(recursive=True)):
                try:
                    kind = "driver" if process == me else "Java" if process.name() == "java" else "worker"
                    # Shared pages of a cache that is mapped are nobody's own.
                    memory = process.memory_info()
                    own = (memory.rss - memory.shared) / 2**20
                except psutil.Error:
                    continue
                self.most[kind] = max(self.most.get(kind, 0.0), own)


def table(largest: int, patience: float) -> None:
    print(
        f"{STATES} states, {SYMBOLS} symbols, {STEPS} steps a sequence, {ITERATIONS} iterations; seconds, and MiB of each process"
    )
    print(f"{'sequences':>10}{'hmmlearn':>10}{'Hindcast':>10}{'ratio':>7}{'beginning':>11}{'iteration':>11}  memory")
    each_of_theirs = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for sequences in (one for one in TABLE if one <= largest):
            file = Path(folder) / f"{sequences}.parquet"
            theirs = None
            with spark_session(f"local[{os.cpu_count()}]", "table") as spark:
                write(spark, sequences, file)
                with Memory() as memory:
                    began = time.perf_counter()
                    fitted = model().fit(spark.read.parquet(str(file)))
                    ours = time.perf_counter() - began
            if each_of_theirs * sequences < patience:
                theirs = seconds_of_hmmlearn(sequences)
                each_of_theirs = theirs / sequences
            told = f"{theirs:>10.1f}" if theirs is not None else f"{'–':>10}"
            ratio = f"{theirs / ours:>7.1f}" if theirs is not None else f"{'–':>7}"
            passes = sum(fitted.history_.seconds)
            each = ", ".join(f"{kind} {most:.0f}" for kind, most in sorted(memory.most.items()))
            print(
                f"{sequences:>10,}{told}{ours:>10.1f}{ratio}{ours - passes:>11.1f}{passes / ITERATIONS:>11.2f}  {each}",
                flush=True,
            )


def seconds_of_hmmlearn(sequences: int) -> float:
    """Of the same number of iterations from a beginning of its own, one thread, with its fastest implementation."""
    from hmmlearn import hmm as peer

    parts = -(-sequences // ROWS)
    X = np.concatenate([drawn(min(ROWS, sequences - part * ROWS), part) for part in range(parts)]).reshape(-1, 1).astype(np.int64)
    one = peer.CategoricalHMM(STATES, n_iter=ITERATIONS, tol=-np.inf, implementation="scaling", random_state=0)
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    began = time.perf_counter()
    one.fit(X, [STEPS] * sequences)
    return time.perf_counter() - began


def cores(sequences: int) -> None:
    """Each number of cores in processes of its own, in turn, so that neither has a warmer machine."""
    seconds: dict[tuple[str, int], list[float]] = {(what, count): [] for what in ("iteration", "alone") for count in (1, 2)}
    millions = sequences * STEPS / 1e6
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sequences.parquet"
        with spark_session(f"local[{os.cpu_count()}]", "writing") as spark:
            write(spark, sequences, file)
        for _ in range(3):
            for what, count in seconds:
                seconds[what, count].append(_measured(what, count, file, sequences))
                told = f"local[{count}]" if what == "iteration" else f"{count} process(es) without Spark"
                print(f"{told}: {seconds[what, count][-1]:.2f} s an iteration on {millions:.0f} million steps", flush=True)
    for what, told in (("iteration", "local[2] against local[1]"), ("alone", "two processes against one, without Spark")):
        ratios = np.array(seconds[what, 1]) / np.array(seconds[what, 2])
        print(f"{told}: {np.median(ratios):.2f} times as fast ({ratios.min():.2f} to {ratios.max():.2f})")


def workers(sequences: int) -> None:
    """As `cores`, with processes of Spark's in the place of threads."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sequences.parquet"
        with spark_session(f"local[{os.cpu_count()}]", "writing") as spark:
            write(spark, sequences, file)
        for _ in range(3):
            for count in seconds:
                seconds[count].append(_measured("worker", count, file, sequences))
                millions = sequences * STEPS / 1e6
                print(f"{count} worker(s): {seconds[count][-1]:.2f} s an iteration on {millions:.0f} million steps", flush=True)
    ratios = np.array(seconds[1]) / np.array(seconds[2])
    print(f"two workers against one: {np.median(ratios):.2f} times as fast ({ratios.min():.2f} to {ratios.max():.2f})")


def _measured(what: str, count: int, file: Path, sequences: int) -> float:
    command = [sys.executable, __file__, what, "--cores", str(count), "--file", str(file), "--sequences", str(sequences)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def iteration(master: str, file: str) -> None:
    """Prints the median seconds of an iteration."""
    with spark_session(master, "iteration", {"spark.executor.memory": "2g"}) as spark:
        fitted = model(EIGHT).fit(spark.read.parquet(file))
    print(float(np.median(fitted.history_.seconds)))


def alone(count: int, sequences: int) -> None:
    """Prints the median seconds of an E-step of the same size, its sequences shared out over processes that each hold theirs."""
    context = multiprocessing.get_context("fork")
    ready, told = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_e_steps, args=(sequences // count, ready, told)) for _ in range(count)]
    for process in processes:
        process.start()
    print(float(np.median(np.max([told.get(timeout=300) for _ in processes], axis=0))))
    for process in processes:
        process.join()


def _e_steps(sequences: int, ready: Any, told: Any) -> None:
    few = drawn(min(ROWS, sequences), 0)
    spans = sequences_of(few.reshape(-1, 1), [STEPS] * len(few), check=lambda readings: (np.ones(readings.shape, bool), ""))
    parameters = model(EIGHT).set_params(n_iter=1).fit(list(few[:100, :, None])).parameters_
    parameters.e_step(spans)
    seconds = []
    for _ in range(5):
        ready.wait(timeout=300)
        began = time.perf_counter()
        for _ in range(sequences // len(few)):
            parameters.e_step(spans)
        seconds.append(time.perf_counter() - began)
    told.put(seconds)


def overhead() -> None:
    """What an iteration takes on Spark when there is next to nothing to do, and the same without Spark."""
    symbols = drawn(64, 0)
    with spark_session("local[2]", "overhead") as spark:
        frame = spark.createDataFrame([(row.tolist(),) for row in symbols], "symbols array<tinyint>").repartition(8)
        fitted = model().set_params(n_iter=120).fit(frame)
        idle = spark.sparkContext.parallelize(range(8), 8).map(lambda number: number)
        seconds = []
        for _ in range(60):
            began = time.perf_counter()
            idle.collect()
            seconds.append(time.perf_counter() - began)
    alone = model().set_params(n_iter=60).fit(list(symbols[:, :, None]))
    spent, work = (np.median(one.history_.seconds[20:]) * 1e3 for one in (fitted, alone))
    print(f"{np.median(seconds[20:]) * 1e3:.0f} ms a job of Spark's with 8 tasks that do nothing")
    print(
        f"{spent:.0f} ms an iteration on Spark with 8 partitions, {work:.1f} ms without Spark: {spent - work:.0f} ms of overhead"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "cores", "workers", "overhead", "iteration", "worker", "alone"))
    parser.add_argument("--largest", type=int, default=TABLE[-1])
    parser.add_argument("--patience", type=float, default=300.0, help="seconds that hmmlearn may be expected to take")
    parser.add_argument("--sequences", type=int, default=500_000)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--file", default="")
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if chosen.what == "table":
        table(chosen.largest, chosen.patience)
    elif chosen.what == "cores":
        cores(chosen.sequences)
    elif chosen.what == "workers":
        workers(chosen.sequences)
    elif chosen.what == "iteration":
        iteration(f"local[{chosen.cores}]", chosen.file)
    elif chosen.what == "worker":
        iteration(f"local-cluster[{chosen.cores},1,2048]", chosen.file)
    elif chosen.what == "alone":
        alone(chosen.cores, chosen.sequences)
    else:
        overhead()


if __name__ == "__main__":
    main()
