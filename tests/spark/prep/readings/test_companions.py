"""What goes along with the channels: categories, counts, labels, attributes, joined tables and the calendar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import WindowBatch
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

STEPS = 60
HOURS = pd.Timestamp("2025-03-01") + pd.to_timedelta(np.arange(STEPS), "h")


def readings() -> pd.DataFrame:
    """Two sensors of two sites: heat rises, visits are counted, the state changes, and the last five hours have a state of their
    own.
    """
    tables = []
    for number, sensor in enumerate(("x", "y")):
        state = np.where(np.arange(STEPS) % 3 == 0, "on", "off")
        state[55:] = "melting"
        tables.append(
            pd.DataFrame(
                {
                    "time": HOURS,
                    "site": f"site-{sensor}",
                    "sensor": sensor,
                    "heat": np.arange(STEPS) + 100.0 * number,
                    "visits": np.arange(STEPS) % 5,
                    "state": state,
                    "fault": (np.arange(STEPS) % 7 == 0).astype(int),
                    "floor": number + 1,
                    "maker": f"maker-{sensor}",
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def weather() -> pd.DataFrame:
    """Of the site of x alone: every 90 minutes, from the second hour on, but for half a day."""
    times = pd.Timestamp("2025-03-01T01:00") + pd.to_timedelta(np.arange(40) * 90, "min")
    table = pd.DataFrame({"at": times, "site": "site-x", "wind": np.arange(40.0)})
    return table[(table["at"] < "2025-03-01T12") | (table["at"] >= "2025-03-02T00")]


def spec_of(folder: Path, **tables: Any) -> Spec:
    base: dict[str, Any] = {
        "readings": {
            "path": str(folder / "readings.csv"),
            "timestamp": "time",
            "series": ["site", "sensor"],
            "values": ["heat", "visits", "state"],
            "counts": "visits",
            "categories": "state",
            "labels": "fault",
        },
        "attributes": {"values": ["floor", "maker"]},
        "joins": [
            {
                "path": str(folder / "weather.csv"),
                "timestamp": "at",
                "series": "site",
                "values": "wind",
                "tolerance": "2h",
                "known": True,
            }
        ],
        "calendar": {"features": ["hour"], "time_zone": "Europe/Berlin"},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2, "lead": 1},
    }
    return Spec.model_validate({**base, **tables})


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder = tmp_path_factory.mktemp("companions")
    readings().to_csv(folder / "readings.csv", index=False)
    weather().to_csv(folder / "weather.csv", index=False)
    return prepare(spark, spec_of(folder), folder / "dataset")


def batch_of(dataset: SequenceDataset, split: str = "train") -> WindowBatch:
    windows = dataset.windows(split)
    return windows.batch(np.arange(len(windows)))


def hours_of(batch: WindowBatch, first: int, count: int) -> np.ndarray:
    start = (batch.start - np.datetime64("2025-03-01")).astype("timedelta64[h]").astype(int)
    return start[:, None] + first + np.arange(count)


def test_the_target_comes_after_the_lead(dataset: SequenceDataset) -> None:
    batch = batch_of(dataset)
    centre, scale = dataset.scaling.of(batch.series)
    heat = batch.target[..., 0] * scale[:, :1] + centre[:, :1]
    np.testing.assert_allclose(heat % 100, hours_of(batch, 7, 2), atol=1e-3)


def test_counts_are_not_scaled_and_words_have_the_codes_of_training(dataset: SequenceDataset) -> None:
    kinds = {channel.name: channel.kind for channel in dataset.manifest.channels}
    assert kinds == {"heat": "real", "visits": "count", "state": "category"}
    state = dataset.manifest.channels[2].vocabulary
    assert state is not None
    assert state.words == ("off", "on")
    batch = batch_of(dataset)
    np.testing.assert_array_equal(batch.context[..., 1], hours_of(batch, 0, 6) % 5)
    np.testing.assert_array_equal(batch.context[..., 2], hours_of(batch, 0, 6) % 3 == 0)


def test_a_word_that_training_does_not_know_is_missing_and_counted(dataset: SequenceDataset) -> None:
    counts = dataset.manifest.counts
    assert (counts["validation"]["values_of_unknown_category"], counts["test"]["values_of_unknown_category"]) == (0, 10)
    assert counts["test"]["readings_unfilled"] == 10


def test_labels_come_with_the_target_and_attributes_with_the_series(dataset: SequenceDataset) -> None:
    batch = batch_of(dataset)
    np.testing.assert_array_equal(batch.labels[..., 0], hours_of(batch, 7, 2) % 7 == 0)
    maker = dataset.manifest.attributes[1].vocabulary
    assert maker is not None
    assert maker.words == ("maker-x", "maker-y")
    second = np.array([series.endswith("y") for series in batch.series])
    np.testing.assert_array_equal(batch.attributes, np.stack([second + 1, second], axis=1))


def test_a_joined_table_is_taken_as_of_each_step_and_no_older_than_allowed(dataset: SequenceDataset) -> None:
    batch = batch_of(dataset)
    expected = pd.merge_asof(
        pd.DataFrame({"time": HOURS}), weather(), left_on="time", right_on="at", tolerance=pd.Timedelta("2h")
    )["wind"].to_numpy()[hours_of(batch, 0, 6)]
    of_x = np.array([series.startswith("site-x") for series in batch.series])
    seen = batch.covariates_observed[..., 0].astype(bool)
    np.testing.assert_array_equal(seen[of_x], ~np.isnan(expected[of_x]))
    assert not seen[~of_x].any()
    assert (batch.covariates[..., 0][~seen] == 0).all()
    scaling = dataset.manifest.covariate_scaling.overall
    wind = batch.covariates[..., 0] * scaling.scale[0] + scaling.centre[0]
    np.testing.assert_allclose(wind[seen & of_x[:, None]], expected[seen & of_x[:, None]], atol=1e-4)


def test_what_is_known_in_advance_reaches_over_the_horizon(dataset: SequenceDataset) -> None:
    assert [(column.name, column.known) for column in dataset.manifest.covariates] == [
        ("wind", True),
        ("hour_sin", True),
        ("hour_cos", True),
    ]
    batch = batch_of(dataset)
    assert batch.known.shape == (len(batch.start), 9, 3)
    local = (hours_of(batch, 0, 9) + 1) % 24
    np.testing.assert_allclose(batch.known[..., 1], np.sin(2 * np.pi * local / 24), atol=1e-6)
    np.testing.assert_array_equal(batch.known[:, :6], batch.covariates)


def test_a_covariate_that_is_not_known_in_advance_is_not_shown_in_advance(spark: SparkSession, dataset: SequenceDataset) -> None:
    folder = dataset.path.parent
    join = spec_of(folder).joins[0].model_copy(update={"known": False})
    spec = spec_of(folder).model_copy(update={"joins": (join,)})
    windows = prepare(spark, spec, folder / "other").windows("train")
    batch = windows.batch(np.arange(3))
    assert (batch.covariates.shape[2], batch.known.shape[2]) == (3, 2)


def test_two_columns_of_one_name_are_refused(spark: SparkSession, dataset: SequenceDataset) -> None:
    folder = dataset.path.parent
    weather().rename(columns={"wind": "heat"}).to_csv(folder / "clash.csv", index=False)
    join = spec_of(folder).joins[0].model_copy(update={"path": (str(folder / "clash.csv"),), "values": ("heat",)})
    with pytest.raises(InputError, match="two columns are named 'heat'"):
        prepare(spark, spec_of(folder).model_copy(update={"joins": (join,)}), folder / "clash")


def test_a_bad_row_of_a_joined_table_is_named(spark: SparkSession, dataset: SequenceDataset) -> None:
    folder = dataset.path.parent
    (folder / "bad.csv").write_text("at,site,wind\n2025-03-01T01:00,site-x,calm\n")
    join = spec_of(folder).joins[0].model_copy(update={"path": (str(folder / "bad.csv"),)})
    with pytest.raises(InputError, match=r"bad\.csv, row 2: column 'wind': expected a finite number, found 'calm'\. Mend it$"):
        prepare(spark, spec_of(folder).model_copy(update={"joins": (join,)}), folder / "bad")
