"""Where a series is cut into chunks is nobody's business: neither windows nor counts nor statistics know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import WindowBatch
from hindcast.prep.pipeline import prepare
from hindcast.prep.sequences import chunks
from hindcast.prep.spec import Spec

START = pd.Timestamp("2025-03-01")
SPECS: dict[str, dict[str, Any]] = {
    "filled from before": {"grid": {"step": "1h", "fill": "previous", "max_gap": "4h", "duplicates": "mean"}},
    "filled by lines, some windows left out": {
        "grid": {"step": "1h", "fill": "linear", "max_gap": "5h", "duplicates": "last"},
        "windows": {"stride": 3, "min_observed": 0.7},
    },
    "aggregated": {"grid": {"step": "2h", "aggregate": "mean", "fill": "previous", "max_gap": "4h"}},
}


def readings(folder: Path) -> Path:
    """Two weeks of two sensors with holes, a gap, moved and double readings."""
    rng = np.random.default_rng(5)
    tables = []
    for sensor in ("x", "y"):
        hours = np.sort(rng.choice(400, 330, replace=False)).astype(float)
        hours = hours[(hours < 190) | (hours > 201)]
        hours[::9] += 0.2
        hours = np.concatenate([hours, hours[::40] + 0.1])
        values = pd.DataFrame({"time": START + pd.to_timedelta(hours, "h"), "sensor": sensor, "a": rng.normal(size=len(hours))})
        values["b"] = np.where(rng.random(len(values)) < 0.1, np.nan, rng.normal(size=len(values)))
        tables.append(values)
    pd.concat(tables).to_csv(folder / "readings.csv", index=False)
    # Further apart than what a chunk must know of its neighbours for the windows' sake.
    weather = pd.DataFrame({"time": START + pd.to_timedelta(np.arange(0, 400, 26), "h"), "wind": rng.normal(size=16)})
    weather.to_csv(folder / "weather.csv", index=False)
    return folder


def spec_of(folder: Path, given: dict[str, Any]) -> Spec:
    base: dict[str, Any] = {
        "readings": {"path": str(folder / "readings.csv"), "timestamp": "time", "series": "sensor"},
        "joins": [{"path": str(folder / "weather.csv"), "timestamp": "time", "values": ["wind"], "tolerance": "30h"}],
        "windows": {"context": 5, "horizon": 2, "lead": 1},
    }
    return Spec.model_validate(
        {name: base.get(name, {}) | given.get(name, {}) if name != "joins" else base[name] for name in base | given}
    )


def windows(dataset: SequenceDataset, split: str) -> tuple[WindowBatch, np.ndarray]:
    """All of a split, and the order of series and time."""
    found = dataset.windows(split)
    batch = found.batch(np.arange(len(found)))
    return batch, np.lexsort([batch.start, batch.series])


@pytest.mark.parametrize("what", SPECS)
def test_chunks_of_any_length_give_the_same_dataset(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spec = spec_of(readings(tmp_path), SPECS[what])
    whole = prepare(spark, spec, tmp_path / "whole")
    monkeypatch.setattr(chunks, "CHUNK_STEPS", 7)
    monkeypatch.setattr(chunks, "HALOS_IN_CHUNK", 0)
    many = prepare(spark, spec, tmp_path / "many")
    uncounted = {"segments": 0}
    counts = ({split: found | uncounted for split, found in each.manifest.counts.items()} for each in (whole, many))
    assert next(counts) == next(counts)
    for split in ("train", "validation", "test"):
        (one, order), (other, theirs) = windows(whole, split), windows(many, split)
        assert len(order)
        for name in ("series", "start"):
            np.testing.assert_array_equal(getattr(one, name)[order], getattr(other, name)[theirs])
        for name in ("context", "context_observed", "target", "target_observed", "covariates"):
            np.testing.assert_allclose(getattr(one, name)[order], getattr(other, name)[theirs], atol=1e-6)
