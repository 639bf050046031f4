"""What can go wrong with a dataset while it is written and after: each ends in words of ours, and never in half a dataset.

Writers are killed by the operating system, in processes of their own.
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from petastorm import make_reader
from pyspark.sql import SparkSession

from hindcast.prep.dataset.blocks import cache_directory
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.names import MANIFEST
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

# What the writers in processes of their own run. They say what they have reached, and wait there to be killed.
WRITER = """
import sys, time
from hindcast.launch.spark.session import spark_session
from hindcast.prep import pipeline
from hindcast.prep.files import placing
from hindcast.prep.errors import InputError
from hindcast.prep.spec import Spec

def reached(what):
    print("reached", what, flush=True)
    time.sleep(120)

def after(function, what):
    def then(*given, **named):
        result = function(*given, **named)
        reached(what)
        return result
    return then

spec, out, point = Spec.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3]
if point == "before the exchange":
    placing._exchange = lambda *names: reached(point)
if point == "after the exchange":
    placing._exchange = after(placing._exchange, point)
with spark_session("local[2]", name="writer") as spark:
    try:
        pipeline.prepare(spark, spec, out, overwrite=True)
    except InputError as error:
        print("refused", error, flush=True)
"""


def spec_of(folder: Path, steps: int = 60, seed: int = 0) -> Spec:
    """Of readings that are written here: two sensors, two channels, hourly."""
    file = folder / f"readings-{steps}-{seed}.csv"
    hours = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(steps), "s")
    values = np.random.default_rng(seed).normal(size=(2, steps, 2))
    with file.open("w", newline="") as opened:
        rows = ([hours[i], sensor, *values[s, i]] for s, sensor in enumerate("xy") for i in range(steps))
        csv.writer(opened).writerows([["time", "sensor", "a", "b"], *rows])
    return Spec.model_validate(
        {
            "readings": {"path": str(file), "timestamp": "time", "series": "sensor"},
            "split": {"train": steps // 2, "validation": steps // 4, "test": steps - steps // 2 - steps // 4},
            "windows": {"context": 6, "horizon": 2},
        }
    )


def verified(dataset: SequenceDataset) -> int:
    """The rows of all splits, read anew: no byte comes from what a node has kept."""
    for entry in cache_directory().iterdir():
        entry.unlink()
    return sum(len(block.windows) for split in ("train", "validation", "test") for block in dataset.blocks(split))


@pytest.fixture(scope="module")
def whole(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("whole")
    return prepare(spark, spec_of(folder), folder / "set")


@pytest.fixture
def copy(whole: SequenceDataset, tmp_path: Path) -> Path:
    """The dataset, to be damaged."""
    shutil.copytree(whole.path, tmp_path / "set")
    return tmp_path / "set"


def started(spec: Spec, out: Path, point: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, spec.model_dump_json(), str(out), point]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def until(reached: Callable[[], object], seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < limit, "it did not come so far in time"
        time.sleep(0.002)


def test_killed_writers_leave_a_whole_dataset_and_nothing_that_lasts(
    spark: SparkSession, copy: Path, whole: SequenceDataset
) -> None:
    """Each writer also is the next one, which finds what the one before it left."""
    staging = copy.parent / ".set.writing"
    for seed, point in enumerate(["rows are being written", "before the exchange", "after the exchange"], 1):
        process = started(spec_of(copy.parent, seed=seed), copy, point)
        try:
            if point == "rows are being written":
                until(lambda: list(staging.glob("content-*/**/*.parquet")))
                process.send_signal(signal.SIGSTOP)
                with pytest.raises(InputError, match=rf"set: is being written by process {process.pid} on "):
                    prepare(spark, spec_of(copy.parent), copy, overwrite=True)
            else:
                assert process.stdout is not None
                assert process.stdout.readline() == f"reached {point}\n"
        finally:
            killed(process)
        found = SequenceDataset.open(copy)
        assert (found.digest == whole.digest) == (point != "after the exchange")
        assert verified(found) == verified(whole)
        assert staging.exists()  # the writer had no chance to clean up
    again = prepare(spark, spec_of(copy.parent, seed=4), copy, overwrite=True)
    assert verified(again) == verified(whole)
    assert again.digest not in (whole.digest, found.digest)
    assert sorted(path.name for path in copy.parent.iterdir() if path.suffix != ".csv") == ["set"]


def test_a_full_disk_ends_clearly_and_leaves_the_old_dataset(copy: Path, whole: SequenceDataset, tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("a small disk to fill needs the right to mount one (unshare --mount)")
    small = tmp_path / "small"
    small.mkdir()
    spec = spec_of(tmp_path, steps=12_000)
    script = """
set -e
mount -t tmpfs -o size=200k tmpfs "$1"
cp -r "$2" "$1/set"
"$3" -c "$4" "$5" "$1/set" ""
ls -A "$1"
"$3" -c "$6" "$1/set"
"""
    opened = (
        "import sys; from hindcast.prep.dataset.sequence_dataset import SequenceDataset; "
        "print(SequenceDataset.open(sys.argv[1]).digest)"
    )
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", small, copy, sys.executable, WRITER, spec.model_dump_json(), opened],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    message, *left, digest = ran.stdout.splitlines()
    assert message.startswith(f"refused {small}/set: the disk of {small} is full.")
    assert left == ["set"]
    assert digest == whole.digest


def test_a_changed_byte_and_a_missing_file_are_named(copy: Path) -> None:
    file = sorted(copy.glob("split=train/*.parquet"))[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"{file.name}: its bytes have the digest"):
        verified(SequenceDataset.open(copy))
    file.write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"{file.name}: has {len(content) - 1} bytes, and the manifest says {len(content)}"):
        SequenceDataset.open(copy)
    file.unlink()
    with pytest.raises(InputError, match=rf"{file.name}: is missing"):
        SequenceDataset.open(copy)


def test_a_file_that_goes_missing_while_the_dataset_is_open_is_named(copy: Path) -> None:
    dataset = SequenceDataset.open(copy)
    file = sorted(copy.glob("split=train/*.parquet"))[0]
    file.unlink()
    with pytest.raises(InputError, match=rf"{file.name}: is missing. The dataset is damaged: prepare it again"):
        verified(dataset)


@pytest.mark.parametrize("change", [{"version": 99}, {"format": "something-else"}])
def test_what_another_version_wrote_is_not_guessed_at(copy: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((copy / MANIFEST).read_text()) | change
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"expected format 'hindcast-sequences' version .* found .*Open it with"):
        SequenceDataset.open(copy)


def test_parts_outside_of_the_dataset_are_not_read(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["parts"][0]["path"] = "../../secret.parquet"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="leads out of it"):
        SequenceDataset.open(copy)


class Crafted:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {os.environ['CRAFTED']}",)


def test_code_in_the_metadata_of_petastorm_is_not_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAFTED", str(tmp_path / "ran"))
    schema = pq.read_schema(copy / "_common_metadata")
    keys = dict.fromkeys(schema.metadata, pickle.dumps(Crafted()))
    pq.write_metadata(schema.with_metadata(keys), copy / "_common_metadata")
    verified(SequenceDataset.open(copy))
    assert not (tmp_path / "ran").exists()


def test_petastorm_and_tensorflow_read_the_rows_that_blocks_hold(whole: SequenceDataset) -> None:
    from petastorm.tf_utils import make_petastorm_dataset

    ours = {
        (split, str(block.series[row]), block.start[row]): (block.values[row], block.observed[row], block.windows[row])
        for split in ("train", "validation", "test")
        for block in whole.blocks(split)
        for row in range(len(block.windows))
    }
    url = whole.path.as_uri()
    assert_equal(url, ours, lambda reader: reader, lambda row: (row.split, row.series, np.datetime64(row.start)))
    assert_equal(
        url,
        ours,
        make_petastorm_dataset,
        lambda row: (*(text.numpy().decode() for text in (row.split, row.series)), micros(row.start)),
    )


def micros(start: Any) -> np.datetime64:
    return np.datetime64(int(start.numpy()), "us")


def assert_equal(url: str, ours: dict[Any, Any], rows: Callable[[Any], Any], key: Callable[[Any], Any]) -> None:
    with make_reader(url, num_epochs=1, shuffle_row_groups=False, reader_pool_type="dummy") as reader:
        theirs = {key(row): tuple(np.asarray(value) for value in (row.values, row.observed, row.windows)) for row in rows(reader)}
    assert theirs.keys() == ours.keys()
    for name, values in theirs.items():
        for one, other in zip(values, ours[name], strict=True):
            np.testing.assert_array_equal(one, other)
