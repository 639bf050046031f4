"""What a model is, the training split decides: whatever lies in the others, networks, lines and statistics are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.deep.inputs import inputs_of
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.ways.local import fit_local
from hindcast.deep.ways.partitions.each import plan
from hindcast.deep.ways.partitions.row_groups import survey
from hindcast.forecasting.baselines.baselines import naive_error
from hindcast.forecasting.baselines.linear import fit_linear
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.later import changed_from

START = pd.Timestamp("2025-03-01")
HOURS = 120
# A single epoch, so that validation has nothing to choose.
QUICK = LstmSettings(units=6, batch=64, epochs=1, series_embedding=2)


def readings() -> pd.DataFrame:
    frames = []
    for number, (name, site) in enumerate((("a", "north"), ("b", "south"), ("c", "north"))):
        rng, hours = np.random.default_rng(number), np.arange(HOURS)
        x, y = np.sin(2 * np.pi * hours / 24 + number) + 0.3 * rng.normal(size=(2, HOURS))
        time = START + pd.to_timedelta(hours, "h")
        frames.append(pd.DataFrame({"time": time, "id": name, "site": site, "floor": str(number), "x": x, "y": y}))
    return pd.concat(frames, ignore_index=True)


def weather(border: pd.Timestamp | None) -> pd.DataFrame:
    """For all series, and for twice as long as there are readings; from `border` on sparser, and another."""
    time = START + pd.to_timedelta(np.arange(2 * HOURS), "h")
    table = pd.DataFrame({"time": time, "wind": np.cos(np.arange(2 * HOURS) / 5)})
    if border is None:
        return table
    return table[(time < border) | (time.hour % 3 == 0)].assign(wind=table.wind.where(time < border, 9.0))


def spec_of(folder: Path, test: int) -> Spec:
    wind = {"path": str(folder / "weather.csv"), "timestamp": "time", "values": "wind", "tolerance": "1h", "known": True}
    tables: dict[str, Any] = {
        "readings": {"path": str(folder / "readings.csv"), "timestamp": "time", "series": "id", "values": ["x", "y"]},
        "attributes": {"values": ["site", "floor"]},
        "joins": [wind],
        "split": {"train": 80, "validation": 20, "test": test},
        "windows": {"context": 12, "horizon": 4},
    }
    return Spec.model_validate(tables)


@pytest.fixture(scope="module")
def datasets(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SequenceDataset]:
    """The same training split, and after it the same, another test split, or another validation and test split."""
    found = {}
    for name, hour in {"same": None, "test": 100, "validation": 80}.items():
        folder, table, border = tmp_path_factory.mktemp(name), readings(), None
        if hour is not None:
            border = START + pd.Timedelta(hour, "h")
            # A word where training has numbers, and one that comes before those that it has.
            table = changed_from(table, border, ["x", "y"], site="east", floor="cellar")
            table.loc[(table.id == "a") & (table.time >= border), "site"] = ""
        table.to_csv(folder / "readings.csv", index=False)
        weather(border).to_csv(folder / "weather.csv", index=False)
        found[name] = prepare(spark, spec_of(folder, 20 if hour is None else 140 - hour), folder / "d.seq")
    return found


def test_the_splits_are_others_and_training_is_the_same(datasets: dict[str, SequenceDataset]) -> None:
    digests = {name: dataset.manifest.digests for name, dataset in datasets.items()}
    assert {of["train"] for of in digests.values()} == {digests["same"]["train"]}
    assert len({of["test"] for of in digests.values()}) == 3
    assert digests["same"]["validation"] == digests["test"]["validation"] != digests["validation"]["validation"]
    filled = {name: dataset.manifest.count("values_filled", "train") for name, dataset in datasets.items()}
    assert set(filled.values()) == {0}
    assert all(datasets[name].manifest.count("values_filled") for name in ("test", "validation"))


@pytest.mark.parametrize("changed", ["test", "validation"])
def test_inputs_and_weights_are_the_same(datasets: dict[str, SequenceDataset], changed: str) -> None:
    ours, theirs = (fit_local(datasets[name], QUICK) for name in ("same", changed))
    assert theirs.inputs == ours.inputs
    assert theirs.card.parameters == ours.card.parameters
    assert theirs.card.part.weights_sha256 == ours.card.part.weights_sha256
    assert theirs.card.history[0]["loss"] == ours.card.history[0]["loss"]
    assert ours.inputs.attributes[0].words == 2
    assert not ours.inputs.attributes[1].words


def test_the_best_epoch_of_several_is_the_same_whatever_the_test_split(datasets: dict[str, SequenceDataset]) -> None:
    chosen = QUICK.model_copy(update={"epochs": 3, "patience": 1})
    ours, theirs = (fit_local(datasets[name], chosen).card for name in ("same", "test"))
    assert theirs.part == ours.part
    kept = [[{**record, "seconds": 0} for record in card.history] for card in (ours, theirs)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("changed", ["test", "validation"])
def test_lines_and_the_naive_error_are_the_same(datasets: dict[str, SequenceDataset], changed: str) -> None:
    ours, theirs = datasets["same"], datasets[changed]
    np.testing.assert_array_equal(fit_linear(theirs).weights, fit_linear(ours).weights)
    np.testing.assert_array_equal(naive_error(theirs, 12), naive_error(ours, 12))


@pytest.mark.parametrize("changed", ["test", "validation"])
def test_what_is_trained_in_partitions_is_the_same(
    spark: SparkSession, datasets: dict[str, SequenceDataset], changed: str
) -> None:
    ours, theirs = ((dataset, survey(spark, dataset)) for dataset in (datasets["same"], datasets[changed]))
    assert inputs_of(*theirs, QUICK) == inputs_of(*ours, QUICK)
    for grouped in (PartitionSettings(), PartitionSettings(models="group", group_by="site")):
        works = [[(work.key, work.windows) for work in plan(*one, grouped).works] for one in (ours, theirs)]
        assert works[0] == works[1]


def test_who_must_not_see_a_split_is_not_told_what_was_counted_in_it(datasets: dict[str, SequenceDataset]) -> None:
    assert set(datasets["test"].without("test").manifest.counts) == {"train", "validation", "outside"}
