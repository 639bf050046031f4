"""Every kind of models that is listed keeps its promises; one that breaks a promise is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.forecasting.card import CARD
from hindcast.forecasting.forecast import Forecast
from hindcast.launch.fitting import defaults
from hindcast.launch.kinds import KINDS
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.kinds import battery
from tests.spark.kinds.battery import CHECKS, Bench
from tests.spark.kinds.mean import kind as mean
from tests.spark.later import changed_from

# By kind: settings that make a fit quick, and a step that follows a checkpoint.
SMALL: dict[str, tuple[dict[str, Any], int]] = {
    "hmm": ({"states": 2, "order": 3, "iterations": 9, "tolerance": 0.0}, 7),
    "lstm": ({"units": 4, "epochs": 3, "batch": 64, "patience": 3}, 2),
}
LISTED = (*KINDS.values(), mean.MEAN)


@pytest.fixture(scope="module")
def datasets(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[SequenceDataset, ...]:
    """Three sensors with holes in them, the same with a channel of categories, with another test split, and in another order."""
    folder, hours = tmp_path_factory.mktemp("kinds"), np.arange(240)
    frames = []
    for number, name in enumerate("abc"):
        rng = np.random.default_rng(number)
        wave = np.sin(2 * np.pi * hours / 24 + number) + 0.3 * rng.normal(size=240)
        frame = pd.DataFrame({"time": np.datetime64("2025-01-01T00") + hours, "id": name, "x": wave, "y": 20 + 3 * wave**2})
        frames.append(frame.assign(mode=np.where(wave > 0, "up", "down")).drop(index=[30, 31, 77, 150, 210]))
    table = pd.concat(frames)
    table.to_csv(folder / "readings.csv", index=False)
    (folder / "shuffled").mkdir()
    mixed = table.sample(frac=1, random_state=0)
    for part in range(3):
        mixed[part::3].to_csv(folder / "shuffled" / f"{part}.csv", index=False)
    border = table.time.min() + pd.Timedelta(192, "h")
    changed_from(table, border, ["x", "y"]).to_csv(folder / "retested.csv", index=False)

    def dataset(name: str, file: str = "readings.csv", test: int = 48, **readings: Any) -> SequenceDataset:
        tables = {
            "readings": {"path": str(folder / file), "timestamp": "time", "series": ["id"], **readings},
            "split": {"train": 168, "validation": 24, "test": test},
            "windows": {"context": 24, "horizon": 6},
        }
        return prepare(spark, Spec.model_validate(tables), str(folder / name))

    return (
        dataset("numbers", values=["x", "y"]),
        dataset("words", values=["x", "mode"], categories=["mode"]),
        dataset("retested", "retested.csv", 96, values=["x", "y"]),
        dataset("mixed", "shuffled", values=["x", "y"]),
    )


@pytest.fixture(scope="module")
def benches(
    datasets: tuple[SequenceDataset, ...], spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bench]:
    made = {}
    for kind in LISTED:
        small, cut = SMALL.get(kind.name, ({}, 2))
        tables = {**defaults(kind), kind.name: kind.tables[kind.name].model_validate(small)}
        made[kind.name] = Bench(kind, tables, *datasets, spark, tmp_path_factory.mktemp(kind.name), cut)
    return made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [kind.name for kind in LISTED])
def test_every_kind(name: str, check: Callable[[Bench], None], benches: dict[str, Bench]) -> None:
    check(benches[name])


@dataclass(frozen=True)
class LooksAhead:
    """Reads what lies in memory behind the context that it is given."""

    inner: Any

    def forecast(self, given: Given) -> Forecast:
        base = given.context.base
        asked = self.inner.forecast(given)
        if base is None or base.shape[1:2] <= given.context.shape[1:2]:
            return asked
        return replace(asked, mean=asked.mean + base[:, -1:])


def broken(bench: Bench, folder: Path, **changed: Any) -> Bench:
    """The same bench with another kind's callables, and a folder of its own."""
    return replace(bench, kind=replace(bench.kind, **changed), folder=folder)


def test_a_kind_that_looks_ahead_is_found_out(benches: dict[str, Bench], tmp_path: Path) -> None:
    bench = benches["mean"]
    wrong = broken(bench, tmp_path, fit=lambda job: LooksAhead(bench.kind.fit(job)))
    with pytest.raises(AssertionError):
        battery.does_not_look_ahead(wrong)


def test_a_kind_that_loses_a_field_of_its_file_is_found_out(benches: dict[str, Bench], tmp_path: Path) -> None:
    bench = benches["mean"]

    def save(model: Any, folder: Path, overwrite: bool) -> None:
        bench.kind.save(model, folder, overwrite)
        card = json.loads((folder / CARD).read_text())
        del card["part"]["shrink"]
        (folder / CARD).write_text(json.dumps(card))

    with pytest.raises(InputError, match=r"part\.shrink"):
        battery.saves_and_loads_the_same(broken(bench, tmp_path, save=save))


def test_a_kind_that_calls_all_entrants_alike_is_found_out(benches: dict[str, Bench], tmp_path: Path) -> None:
    bench = benches["hmm"]
    wrong = broken(
        bench,
        tmp_path,
        fit=lambda job: bench.model,
        sections=lambda entrants, *more: bench.kind.sections([entrants[0]] * len(entrants), *more),
    )
    with pytest.raises(AssertionError):
        battery.calls_each_entrant_by_its_own_name(wrong)
