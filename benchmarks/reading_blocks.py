"""Reading a Petastorm dataset as arrays: our first and second pass, Petastorm's two readers, and a plain copy of the same bytes.

    python benchmarks/reading_blocks.py [--rows 30000] [--length 96] [--channels 7] [--rounds 5]

Every round runs everything once, on the same files, so a busy machine is busy for all; medians of the rounds are compared. A
first pass hashes, decodes and keeps; a second pass maps what is kept and copies it out, and so does its peer.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from petastorm import make_batch_reader, make_reader
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql.types import IntegerType, StringType, TimestampType

from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.blocks import Address, ArrayField, cache_directory, npy_header, read, read_each
from hindcast.prep.files.cached_arrays import remove
from hindcast.prep.files.storage import xxh128_of
from hindcast.prep.sequences.rows import npy_column

SECOND_PASS = "second pass, the same process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--length", type=int, default=96)
    parser.add_argument("--channels", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # Petastorm speaks to pyarrow through interfaces since deprecated
    with tempfile.TemporaryDirectory(prefix="hindcast-bench-") as folder:
        os.environ["HINDCAST_CACHE"] = folder
        path = Path(folder) / "set"
        write(path, asked.rows, (asked.length, asked.channels))
        addresses = addresses_of(path, (asked.length, asked.channels))
        seconds = measure(contenders(path, addresses, (asked.length, asked.channels)), asked.rounds)
        other = elsewhere(addresses)
        report(asked, path, addresses, seconds, other)


def write(path: Path, rows: int, shape: tuple[int, int]) -> None:
    """A real Petastorm dataset of two files; rows are encoded a batch at a time, because one at a time is 1,000 a second."""
    schema = Unischema(
        "Rows",
        [
            UnischemaField("series", np.str_, (), ScalarCodec(StringType()), False),
            UnischemaField("start", np.datetime64, (), ScalarCodec(TimestampType()), False),
            *(
                UnischemaField(name, np.int32, (), ScalarCodec(IntegerType()), False)
                for name in ("windows", "own_start", "own_stop")
            ),
            UnischemaField("values", np.float32, shape, NdarrayCodec(), False),
            UnischemaField("observed", np.uint8, shape, NdarrayCodec(), False),
        ],
    )

    def encoded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = batch["id"].to_numpy()
            rng = np.random.default_rng(int(numbers[0]))
            integers = pa.array(np.ones(len(numbers), np.int32))
            columns = {
                "series": pa.array([f"s{number % 10}" for number in numbers]),
                "start": pa.array(numbers * 3_600_000_000, pa.timestamp("us", tz="UTC")),
                **dict.fromkeys(("windows", "own_start", "own_stop"), integers),
                "values": npy_column(rng.standard_normal((len(numbers), *shape), np.float32)),
                "observed": npy_column((rng.random((len(numbers), *shape)) < 0.95).astype(np.uint8)),
            }
            yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

    with spark_session("local[2]", name="benchmark") as spark:
        described = "series string, start timestamp, windows int, own_start int, own_stop int, values binary, observed binary"
        with materialize_dataset(spark, path.as_uri(), schema, row_group_size_mb=16):
            options = {"parquet.page.size.row.check.min": "8", "parquet.enable.dictionary": "false"}
            spark.range(0, rows, 1, 2).mapInArrow(encoded, described).write.options(**options).parquet(path.as_uri())


def addresses_of(path: Path, shape: tuple[int, int]) -> list[Address]:
    arrays = (ArrayField("values", "<f4", shape), ArrayField("observed", "|u1", shape))
    found = []
    for file in sorted(map(str, path.glob("*.parquet"))):
        metadata, digest = pq.read_metadata(file), xxh128_of(file)
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        found += [Address(file, digest, group, 0, size, arrays) for group, size in enumerate(sizes)]
    return found


@dataclass(frozen=True)
class Contender:
    """What is measured: `run` returns how many rows it saw; `before`, which is not timed, comes before each run."""

    run: Callable[[], int]
    before: Callable[[], None] = lambda: None


def contenders(path: Path, addresses: list[Address], shape: tuple[int, int]) -> dict[str, Contender]:
    """In the order of a round."""
    target = Target.of(addresses, shape)
    second = Contender(lambda: sum(target.copy(block.values, block.observed) for block in map(read, addresses)))
    warm = mapped(path.with_name("mapped"), addresses)
    return {
        "petastorm.make_reader": Contender(lambda: by_row(path)),
        "petastorm.make_batch_reader, left as bytes": Contender(lambda: by_batch(path)),
        "petastorm.make_batch_reader, decoded by hand": Contender(lambda: by_batch_decoded(path, shape)),
        "first pass, read": Contender(lambda: sum(len(read(address).values) for address in addresses), forget),
        "first pass, read_each": Contender(lambda: sum(len(block.values) for block in read_each(addresses)), forget),
        # The first time after a first pass maps what was written: from then on it is as warm as its peer.
        "second pass, mapping": second,
        SECOND_PASS: second,
        "copy of warm memory-mapped arrays": Contender(lambda: sum(target.copy(*arrays) for arrays in warm)),
    }


@dataclass(frozen=True)
class Target:
    """Memory that a row group is copied to."""

    values: np.ndarray
    observed: np.ndarray

    @classmethod
    def of(cls, addresses: list[Address], shape: tuple[int, int]) -> Target:
        rows = max(address.stop for address in addresses)
        return cls(np.zeros((rows, *shape), "<f4"), np.zeros((rows, *shape), "u1"))

    def copy(self, values: np.ndarray, observed: np.ndarray) -> int:
        self.values[: len(values)] = values
        self.observed[: len(observed)] = observed
        return len(values)


def mapped(folder: Path, addresses: list[Address]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same arrays as files of NumPy's own, mapped."""
    folder.mkdir()
    found = []
    for number, address in enumerate(addresses):
        block = read(address)
        files = {folder / f"{number}-values.npy": block.values, folder / f"{number}-observed.npy": block.observed}
        for file, array in files.items():
            np.save(file, array)
        values, observed = (np.load(file, mmap_mode="r") for file in files)
        found.append((values, observed))
    return found


def forget() -> None:
    remove(cache_directory(), "")


def by_row(path: Path) -> int:
    with make_reader(path.as_uri(), num_epochs=1, shuffle_row_groups=False) as reader:
        return sum(1 for _ in reader)


def by_batch(path: Path) -> int:
    with make_batch_reader(path.as_uri(), num_epochs=1, shuffle_row_groups=False) as reader:
        return sum(len(batch.windows) for batch in reader)


def by_batch_decoded(path: Path, shape: tuple[int, int]) -> int:
    headers = {kind: len(npy_header(shape, np.dtype(kind))) for kind in ("<f4", "u1")}
    rows = 0
    with make_batch_reader(path.as_uri(), num_epochs=1, shuffle_row_groups=False) as reader:
        for batch in reader:
            for kind, column in (("<f4", batch.values), ("u1", batch.observed)):
                decoded = np.stack([np.frombuffer(value, kind, offset=headers[kind]) for value in column])
            rows += len(decoded.reshape(-1, *shape))
    return rows


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            contender.before()
            began = time.perf_counter()
            contender.run()
            seconds[name].append(time.perf_counter() - began)
    return {name: taken[1:] for name, taken in seconds.items()}  # the first round warms up


def elsewhere(addresses: list[Address]) -> float:
    """Seconds in which a process that has just started reads and copies what this one has kept."""
    code = (
        "import sys, time; from hindcast.prep.dataset.blocks import *; addresses = eval(sys.argv[1])\n"
        "began = time.perf_counter()\n"
        "for block in map(read, addresses): block.values.copy(), block.observed.copy()\n"
        "print(time.perf_counter() - began)"
    )
    ran = subprocess.run([sys.executable, "-c", code, repr(addresses)], capture_output=True, text=True, check=True, timeout=600)
    return float(ran.stdout)


def report(
    asked: argparse.Namespace, path: Path, addresses: list[Address], seconds: dict[str, list[float]], other: float
) -> None:
    size = sum(file.stat().st_size for file in path.glob("*.parquet"))
    processors = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    model = next((value.strip() for key, _, value in processors if key.startswith("model name")), "?")
    versions = ", ".join(f"{name} {version(name)}" for name in ("petastorm", "pyarrow", "numpy"))
    print(f"{platform.platform()}, {model}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    print(
        f"{asked.rows} rows of ({asked.length}, {asked.channels}) float32 and uint8, "
        f"{size / 1e6:.0f} MB in {len(addresses)} row groups; "
        f"median of {asked.rounds} rounds (fastest to slowest)\n"
    )
    median = {name: float(np.median(taken)) for name, taken in seconds.items()}
    reader, batches, *_, copy = median.values()
    print(f"| {'':46} | ms | thousand rows/s | of make_reader | of make_batch_reader |\n|---|---|---|---|---|")
    for name, taken in seconds.items():
        ms = f"{1e3 * median[name]:.1f} ({1e3 * min(taken):.1f}–{1e3 * max(taken):.1f})"
        print(
            f"| {name:46} | {ms} | {asked.rows / median[name] / 1e3:,.0f} | {reader / median[name]:.1f} | "
            f"{batches / median[name]:.2f} |"
        )
    print(f"\nSecond pass: {median[SECOND_PASS] / copy:.2f} times the copy of warm memory-mapped arrays.")
    print(f"In a process that has just started: {1e3 * other:.1f} ms, fresh memory to copy into included.")


if __name__ == "__main__":
    started = shutil.disk_usage(tempfile.gettempdir()).free
    if started < 2e9:
        raise SystemExit(f"{tempfile.gettempdir()}: {started / 1e9:.1f} GB are free, and 2 are needed")
    main()
