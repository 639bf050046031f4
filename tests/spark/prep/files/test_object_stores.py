"""Datasets are written to object stores as they are to paths: the same rows, the old or the new, and nothing unnamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
from petastorm import make_reader
from pyspark.sql import SparkSession

from hindcast.prep.appending import append
from hindcast.prep.dataset import writing
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files import locks, storage
from hindcast.prep.files.locks import MARKER
from hindcast.prep.files.names import MANIFEST, ORIGINS, PETASTORM
from hindcast.prep.grid.splits import SPLITS
from hindcast.prep.origins import prepare_origins
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.running import Run

NO_SPARK: Any = None  # what would be used of it is an error


@pytest.fixture(scope="module")
def s3(s3_server: str) -> Iterator[str]:
    """A bucket on an S3 server of this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_ENDPOINT_URL", s3_server)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("sets")
        yield "s3://sets"
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(params=["memory", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with early.csv and late.csv: two sensors, hourly, with holes, and a bad row in each."""
    folder = tmp_path_factory.mktemp("readings")
    rng = np.random.default_rng(0)
    hours = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(90), "h")
    table = pd.concat([pd.DataFrame({"time": hours, "sensor": name, "a": rng.normal(size=90)}) for name in "xy"]).drop([20, 70])
    for name, part in (("early", table.time < "2025-03-03T12"), ("late", table.time >= "2025-03-03T12")):
        rows = table[part].to_csv(index=False)
        (folder / f"{name}.csv").write_text(f"{rows}sometime,x,1.0\n")
    return folder


def spec_of(readings: Path, context: int = 6, **split: Any) -> Spec:
    return Spec.model_validate(
        {
            "readings": {
                "path": str(readings / "early.csv"),
                "timestamp": "time",
                "series": "sensor",
                "values": "a",
                "bad_rows": "quarantine",
            },
            "split": {"train": 40, "validation": 10, "test": 10, **split},
            "windows": {"context": context, "horizon": 2},
        }
    )


TYPED = """
[readings]
path = "{readings}/early.csv"
timestamp = "time"
series = "sensor"
values = "a"
bad_rows = "quarantine"
[split]
train = 40
validation = 10
test = 10
[windows]
context = 6
horizon = 2
"""


@pytest.fixture(scope="module")
def on_disk(spark: SparkSession, readings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets at paths: as it was prepared, and after readings were appended."""
    folder = tmp_path_factory.mktemp("on-disk")
    prepare(spark, spec_of(readings), folder / "first")
    shutil.copytree(folder / "first", folder / "both")
    append(spark, folder / "both", str(readings / "late.csv"))
    return folder / "first", folder / "both"


@pytest.fixture
def first(on_disk: tuple[Path, Path], tmp_path: Path) -> SequenceDataset:
    """A copy in memory of what was prepared at a path."""
    dataset = SequenceDataset.open(on_disk[0])
    for name in named(dataset):
        storage.upload(dataset.path / name, f"memory://{tmp_path.name}/set/{name}")
    return SequenceDataset.open(f"memory://{tmp_path.name}/set")


def named(dataset: SequenceDataset) -> set[str]:
    manifest = dataset.manifest
    return {MANIFEST, PETASTORM, *(part.path for part in manifest.parts), *manifest.tail, *manifest.quarantine}


def rows_by_petastorm(dataset: SequenceDataset, to: Path) -> int:
    """Of a copy of everything that lies there: Petastorm's own way to S3 is not what is tested."""
    for name in storage.objects(dataset.location):
        storage.download(storage.join(dataset.location, name), to / name)
    with make_reader(to.as_uri(), reader_pool_type="dummy") as reader:
        return sum(1 for _ in reader)


def windows_of(dataset: SequenceDataset, split: str) -> list[tuple[Any, ...]]:
    """Sorted; there is at least one."""
    windows = dataset.windows(split)
    batch = windows.batch(np.arange(len(windows)))
    fields = (batch.context, batch.target, batch.context_observed)
    rows = [(batch.series[i], str(batch.start[i]), *(field[i].tobytes() for field in fields)) for i in range(len(windows))]
    assert rows
    return sorted(rows)


def test_a_dataset_under_a_uri_is_what_it_is_at_a_path(
    spark: SparkSession,
    run: Run,
    base: str,
    readings: Path,
    on_disk: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether functions are called, with a URI of memory, or commands are typed, with one of S3."""
    typed = base.startswith("s3:")
    first, both = (SequenceDataset.open(path) for path in on_disk)
    uri = f"{base}/set"
    if typed:
        (tmp_path / "spec.toml").write_text(TYPED.format(readings=readings))
        status, printed = run("prep", tmp_path / "spec.toml", uri)
        assert (status, uri in printed) == (0, True), printed
        status, printed = run("prep", tmp_path / "spec.toml", uri)
        assert (status, f"{uri}: is there already; --overwrite replaces it" in printed) == (2, True), printed
    made = SequenceDataset.open(uri) if typed else prepare(spark, spec_of(readings), uri)
    assert (made.location, made.digest) == (uri, first.digest)
    assert set(storage.objects(uri)) == named(made)
    assert len(made.manifest.quarantine) == len(made.manifest.tail) == 1
    with pytest.raises(InputError, match=f"^{uri}: is there already; --overwrite replaces it"):
        prepare(NO_SPARK, spec_of(readings), uri)

    uploaded: list[str] = []
    upload = storage.upload
    monkeypatch.setattr(storage, "upload", lambda file, to: (uploaded.append(to.removeprefix(f"{uri}/")), upload(file, to)))
    if typed:
        status, printed = run("append", uri, readings / "late.csv")
        assert (status, uri in printed) == (0, True), printed
        status, printed = run("inspect", uri, "--verify")
        assert (status, uri in printed) == (0, True), printed
    grown = SequenceDataset.open(uri) if typed else append(spark, uri, str(readings / "late.csv"))
    assert grown.digest == both.digest
    assert set(storage.objects(uri)) == named(grown)
    kept = {part.path for part in made.manifest.parts} | {*made.manifest.quarantine}
    assert kept < named(grown)
    assert sorted(uploaded) == sorted(named(grown) - kept)
    assert named(made) - named(grown) == {*made.manifest.tail}
    assert len(grown.manifest.quarantine) == 2
    for split in SPLITS:
        assert windows_of(grown, split) == windows_of(both, split)
    assert rows_by_petastorm(grown, tmp_path / "copy") == sum(sum(part.rows) for part in grown.manifest.parts)

    other = prepare(spark, spec_of(readings, context=5), uri, overwrite=True)
    assert other.digest not in (first.digest, both.digest)
    assert set(storage.objects(uri)) == named(other)
    assert not named(other) & (named(grown) - {MANIFEST, PETASTORM})


def test_appending_nothing_new_keeps_what_petastorm_reads(
    spark: SparkSession, first: SequenceDataset, readings: Path, tmp_path: Path
) -> None:
    grown = append(spark, first.location, str(readings / "early.csv"))
    assert grown.digest == first.digest
    assert grown.manifest.count("readings_late") == first.manifest.count("readings") > 0
    assert set(storage.objects(grown.location)) == named(grown)
    assert rows_by_petastorm(grown, tmp_path / "copy") == sum(sum(part.rows) for part in grown.manifest.parts)


@pytest.mark.parametrize("what", ["prepare", "append"])
def test_a_store_that_fails_half_way_keeps_the_old_dataset(
    spark: SparkSession, first: SequenceDataset, readings: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = first.location
    before = {name: storage.read_bytes(f"{uri}/{name}") for name in storage.objects(uri)}
    files = type(fsspec.filesystem("memory"))
    put = files.put_file

    def refuse(self: Any, file: str, name: str, **options: Any) -> None:
        if "split=test" in name or "_tail" in name:
            raise PermissionError("no room in this bucket")
        put(self, file, name, **options)

    writers: dict[str, Callable[[], object]] = {
        "prepare": lambda: prepare(spark, spec_of(readings, context=5), uri, overwrite=True),
        "append": lambda: append(spark, uri, str(readings / "late.csv")),
    }
    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", refuse)
        with pytest.raises(InputError, match=f"^{uri}/.*access is refused .*What was under {uri} before is as it was$"):
            writers[what]()
    assert {name: storage.read_bytes(f"{uri}/{name}") for name in storage.objects(uri)} == before
    assert windows_of(SequenceDataset.open(uri), "train") == windows_of(first, "train")


def test_others_are_not_written_over(
    spark: SparkSession, readings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"memory://{tmp_path.name}/set"
    storage.put(f"{uri}/thesis.txt", b"x")
    with pytest.raises(InputError, match="not a Hindcast dataset"):
        prepare(NO_SPARK, spec_of(readings), uri, overwrite=True)
    storage.remove(f"{uri}/thesis.txt")
    with pytest.raises(InputError, match=f"^{uri}: no such dataset"):
        append(NO_SPARK, uri, str(readings / "late.csv"))
    marker = {"process": 4711, "host": "elsewhere", "time": 0, "token": "x"}
    monkeypatch.setattr(locks, "STALE_SECONDS", float("inf"))
    storage.put(f"{uri}/{MARKER}", json.dumps(marker).encode())
    with pytest.raises(InputError, match="is being written by process 4711 on elsewhere"):
        prepare(NO_SPARK, spec_of(readings), uri)


def test_a_dataset_that_does_not_name_its_tail_is_not_appended_to(first: SequenceDataset) -> None:
    older = first.manifest.model_dump_json(exclude={"tail", "quarantine"})
    storage.put(f"{first.location}/{MANIFEST}", older.encode())
    assert SequenceDataset.open(first.location).digest == first.digest
    with pytest.raises(InputError, match=r"set: was written by an earlier Hindcast.*Prepare it again"):
        append(NO_SPARK, first.location, "late.csv")


def test_executors_that_write_where_the_driver_sees_nothing_are_noticed(
    spark: SparkSession, readings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "files_of", lambda folder, pattern: ())
    with pytest.raises(InputError, match=r"directory that all machines share; HINDCAST_STAGING"):
        prepare(spark, spec_of(readings), f"memory://{tmp_path.name}/set")
    assert storage.objects(f"memory://{tmp_path.name}/set") == {}


@pytest.mark.parametrize("where", ["memory", "path"])
def test_what_another_writer_appended_meanwhile_is_not_lost(
    spark: SparkSession, first: SequenceDataset, on_disk: tuple[Path, Path], readings: Path, tmp_path: Path, where: str
) -> None:
    location = first.location if where == "memory" else str(shutil.copytree(on_disk[0], tmp_path / "set"))

    def meanwhile(stage: str) -> None:
        if stage == "writing rows":
            file = storage.join(location, MANIFEST)
            changed = json.dumps(json.loads(storage.read_text(file)) | {"readings": ["early", "of another"]})
            if where == "memory":
                storage.put(file, changed.encode())
            else:
                Path(file).write_text(changed)

    with pytest.raises(InputError, match=r"set: was changed by another writer meanwhile\. Append the readings again"):
        append(spark, location, str(readings / "late.csv"), on_stage=meanwhile)
    assert SequenceDataset.open(location).manifest.readings == ("early", "of another")


def test_origins_are_there_when_all_are(
    spark: SparkSession, s3: str, readings: Path, on_disk: tuple[Path, Path], tmp_path: Path
) -> None:
    spec = spec_of(readings, origins=2, every=5)
    uri = f"{s3}/{tmp_path.name}/rolling"
    datasets = prepare_origins(spark, spec, uri)
    assert [dataset.location for dataset in datasets] == [f"{uri}/origin-0", f"{uri}/origin-1"]
    assert datasets[1].digest == SequenceDataset.open(on_disk[0]).digest != datasets[0].digest
    of_datasets = {f"origin-{number}/{name}" for number, dataset in enumerate(datasets) for name in named(dataset)}
    assert set(storage.objects(uri)) == {ORIGINS, *of_datasets}
    with pytest.raises(InputError, match="rolling: is there already"):
        prepare_origins(NO_SPARK, spec, uri)
    with pytest.raises(InputError, match="not a Hindcast dataset"):
        prepare(NO_SPARK, spec_of(readings), uri, overwrite=True)
