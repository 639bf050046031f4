"""A small search as a user starts it: four trials on two slots."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from hindcast.deep.search.trials import must_be_searchable, search
from hindcast.deep.settings import LstmSettings
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.running import Run

BASE = {"units": 8, "segment": 12, "batch": 64, "epochs": 3, "dropout": 0.2}
SETTINGS = "[lstm]\n" + "\n".join(f"{name} = {value}" for name, value in BASE.items())
# Good, no number, good, and one that learns nothing.
RATES = (0.01, 1e30, 0.005, 1e-7)


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two channels of period 12 (context 24, horizon 12), and settings."""
    folder = tmp_path_factory.mktemp("tune")
    hours = np.arange(500)
    values = np.sin(2 * np.pi * (hours[:, None] / 12 + np.array([0, 0.3]))) + np.random.default_rng(0).normal(0, 0.1, (500, 2))
    times = np.datetime_as_string(np.datetime64("2020-01-01T00:00:00") + hours * np.timedelta64(1, "h"))
    lines = [f"{when.replace('T', ' ')},{left},{right}" for when, (left, right) in zip(times, values, strict=True)]
    (folder / "waves.csv").write_text("\n".join(["time,left,right", *lines]) + "\n")
    spec = {
        "readings": {"path": str(folder / "waves.csv"), "timestamp": "time"},
        "split": {"train": 300, "validation": 100, "test": 100},
        "windows": {"context": 24, "horizon": 12},
    }
    prepare(spark, Spec.model_validate(spec), folder / "waves.seq")
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


@pytest.fixture
def tuned(run: Run, folder: Path) -> tuple[Path, str]:
    """The folder that the search wrote, once, and what it printed."""
    out, said = folder / "found", folder / "said.txt"
    if not out.exists():
        tries = ("--try", "lstm.learning_rate=" + ",".join(map(str, RATES)))
        given = (folder / "waves.seq", "--out", out, "--settings", folder / "settings.toml")
        status, printed = run("tune", *given, *tries)
        assert status == 0, printed
        said.write_text(printed)
    return out, said.read_text()


def trials_of(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "trials.json").read_text())["trials"]


def test_a_search_reports_what_failed_and_what_was_stopped_and_writes_the_best_settings(tuned: tuple[Path, str]) -> None:
    out, printed = tuned
    trials = trials_of(out)
    assert [one["ended"] for one in trials] == ["epochs", "failed", "epochs", "median"]
    assert [one["epochs"] for one in trials] == [3, 0, 3, 1]
    assert "the loss is" in trials[1]["error"]
    best = min((0, 2), key=lambda number: min(trials[number]["losses"]))
    assert trials[best]["validation_loss"] == min(trials[best]["losses"])
    assert json.loads((out / "trials.json").read_text())["best"] == best
    found = tomllib.loads((out / "best.toml").read_text())
    assert found.keys() == {"lstm"}
    assert LstmSettings(**found["lstm"]) == LstmSettings(**BASE, learning_rate=RATES[best])
    rows = list(csv.DictReader((out / "trials.csv").open()))
    assert [float(row["lstm.learning_rate"]) for row in rows] == list(RATES)
    assert [row["ended"] for row in rows] == [one["ended"] for one in trials]
    lines = [line.split() for line in printed.splitlines()]
    assert next(line for line in lines if line[:2] == ["trial", "learning_rate"])
    assert lines[1][0] == str(best), "the best stands first"
    assert "failed: epoch 1, step" in printed
    assert "The test split was given to no trial." in printed


def test_fit_takes_the_settings_that_a_search_wrote(run: Run, tuned: tuple[Path, str], folder: Path) -> None:
    out, _ = tuned
    given = (folder / "waves.seq", "--out", folder / "model", "--settings", out / "best.toml", "--cluster.on", "local")
    status, printed = run("fit", "lstm", *given)
    assert status == 0, printed
    history = json.loads((folder / "model" / "model.json").read_text())["history"]
    best = json.loads((out / "trials.json").read_text())["best"]
    np.testing.assert_allclose([one["validation_loss"] for one in history], trials_of(out)[best]["losses"], rtol=1e-4)


def test_a_search_repeats_without_a_test_split_on_the_disk(spark: SparkSession, tuned: tuple[Path, str], folder: Path) -> None:
    copy = folder / "copy.seq"
    shutil.copytree(folder / "waves.seq", copy)
    opened = SequenceDataset.open(copy)
    shutil.rmtree(copy / "split=test")
    again = search(spark, opened, [LstmSettings(**BASE, learning_rate=rate) for rate in RATES])
    for one, other in zip(again, trials_of(tuned[0]), strict=True):
        assert (one.trial, list(one.losses), one.ended, one.error) == tuple(
            other[name] for name in ("trial", "losses", "ended", "error")
        )


def test_trials_know_no_file_of_the_test_split(folder: Path) -> None:
    opened = SequenceDataset.open(folder / "waves.seq")
    assert len(opened.windows("test"))
    seen = opened.without("test")
    assert {part.split for part in seen.manifest.parts} == {"train", "validation"}
    assert len(seen.windows("test")) == 0


def test_without_validation_windows_nothing_is_searched(folder: Path) -> None:
    opened = SequenceDataset.open(folder / "waves.seq")
    for split in ("validation", "train"):
        parts = tuple(part for part in opened.manifest.parts if part.split != split)
        without = replace(opened, manifest=opened.manifest.model_copy(update={"parts": parts}))
        with pytest.raises(InputError, match=rf"waves\.seq: the {split} split has no windows: .*\(split\.{split}\)"):
            must_be_searchable(without, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--try", "lstm.unit=3"), "--try lstm.unit: no setting that can be tuned"),
        (("--try", "lstm.units=3..9"), "--try lstm.units: a range has no end of values"),
        (("--try", "lstm.segment=7"), "segment 7: must divide both the context (24 steps) and the horizon (12 steps)"),
        (("--try", "lstm.units=3,4", "--lstm.units", "5"), "--lstm.units: is given to all trials, and tried with --try too"),
    ],
)
def test_mistakes_are_refused_before_spark_is_asked(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr("hindcast.launch.spark.session.spark_session", started)
    status, printed = run("tune", folder / "waves.seq", "--out", folder / "other", *arguments)
    assert (status, message in printed) == (2, True), printed
    assert not (folder / "other").exists()


def test_where_every_trial_fails_it_says_so_and_writes_no_settings(run: Run, folder: Path) -> None:
    given = (folder / "waves.seq", "--out", folder / "failed", "--settings", folder / "settings.toml")
    status, printed = run("tune", *given, "--try", "lstm.learning_rate=1e30")
    assert status == 2, printed
    assert "all 1 trials failed" in printed
    assert sorted(file.name for file in (folder / "failed").iterdir()) == ["trials.csv", "trials.json"]
