"""What `hindcast inspect` says of a dataset, from its manifest alone."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hindcast.forecasting.forecast import Forecast
from hindcast.forecasting.inputs import exclusive_inputs, must_be_numbers
from hindcast.launch.forecasts.of_windows import forecast_table
from hindcast.launch.inspection import counts_in_words, series_count, show
from hindcast.launch.watching.progress import console
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.manifest import Column, Manifest, Part
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import WindowBatch
from hindcast.prep.errors import InputError
from hindcast.prep.grid.splits import Border, SeriesSplit
from hindcast.prep.readings.vocabulary import Vocabulary
from hindcast.prep.scaling.affine import Affine, Scaling
from hindcast.prep.spec import Spec

HOUR = 3_600_000_000
WORDS = Vocabulary(by_split={"train": ("off", "on"), "validation": (), "test": ("broken",)})
COUNTS = {
    "train": {
        "readings": 1000, "readings_kept": 900, "readings_duplicate": 40, "readings_empty": 10, "readings_unfilled": 50,
        "values_filled": 7, "segments": 3, "stretches": 2, "steps": 905, "windows": 800, "series": 3, "rows_quarantined": 1,
    },
    "validation": {"series": 0},
    "test": {"readings": 200, "readings_kept": 200, "segments": 1, "steps": 200, "windows": 150, "series": 2},
    "outside": {"readings": 30, "readings_duplicate": 5, "readings_late": 11},
}  # fmt: skip


def manifest_of(**changes: Any) -> Manifest:
    """Three channels, one of each kind, and everything else that a dataset can have."""
    border = {"start_time": "2025-01-01 00:00:00", "stop_time": "2025-02-01 00:00:00"}
    spec = {
        "readings": {"path": "a.csv"},
        "split": {"embargo": "2d", "validation": 0.0},
        "windows": {"context": 24, "horizon": 8, "lead": 3, "min_observed": 0.75},
        "scaling": {"method": "robust"},
    }
    part = {"bytes": 1_500_000, "sha256": "0" * 64, "digest": "0" * 32, "content": "0" * 64}
    fields: dict[str, Any] = {
        "format": "hindcast-sequences",
        "version": 2,
        "spec": Spec.model_validate(spec),
        "channels": (
            Column(name="heat"),
            Column(name="people", kind="count"),
            Column(name="m[o]de", kind="category", vocabulary=WORDS),
        ),
        "covariates": (Column(name="wind"), Column(name="hour_sin", known=True)),
        "labels": (Column(name="fault", kind="category", vocabulary=WORDS),),
        "attributes": (Column(name="age"),),
        "step_micros": HOUR,
        "origin_micros": 0,
        "span": 1200,
        "borders": {split: Border(start=0, stop=1200, **border) for split in ("train", "validation", "test")},
        "series": None,
        "layout": Layout(context=24, horizon=8, lead=3, stride=1, windows_per_row=10),
        "scaling": Scaling(method="robust", overall=Affine(centre=(20.5, 0, 0), scale=(3.25, 1, 1))),
        "covariate_scaling": Scaling(method="robust", overall=Affine(centre=(4.5,), scale=(2.5,))),
        "readings": ("a.csv", "b.csv"),
        "parts": (
            Part(path="1", split="train", rows=(50, 40), windows=(500, 300), steps=(500, 405), **part),
            Part(path="2", split="test", rows=(20,), windows=(150,), steps=(200,), **part),
        ),
        "counts": COUNTS,
        "digests": {},
        "versions": {},
    }
    return Manifest(**fields | changes)


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, manifest: Manifest) -> list[str]:
    monkeypatch.setattr(console, "_width", 200)
    show(SequenceDataset("/data/x.seq", manifest))
    return [re.sub(r" {2,}", "  ", line.strip()) for line in capsys.readouterr().out.splitlines()]


def test_every_reading_has_one_fate_in_every_column() -> None:
    rows = counts_in_words(manifest_of())
    fates = [found for words, found in rows.items() if words.startswith("  ")]
    for place, readings in rows["readings"].items():
        assert sum(fate[place] for fate in fates) == readings
    assert rows["  dropped: outside of all splits"] == {"train": 0, "validation": 0, "test": 0, "outside": 25}


def test_the_table_says_what_was_kept_and_dropped_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, manifest_of())
    table = lines[lines.index("what  train  validation  test  outside  all") + 1 :]
    assert table == [
        "readings  1,000  0  200  30  1,230",
        "kept  900  0  200  0  1,100",
        "duplicates, dropped or merged  40  0  0  5  45",
        "dropped: empty in every channel  10  0  0  0  10",
        "dropped: gap too long in a channel  50  0  0  0  50",
        "dropped: outside of all splits  0  0  0  25  25",
        "readings appended too late, left out  0  0  0  11  11",
        "bad rows set aside in _quarantine  1  0  0  0  1",
        "missing values filled  7  0  0  0  7",
        "series  3  0  2  0  3",
        "stretches between longer gaps  2  0  0  0  2",
        "segments without a gap  3  0  1  0  4",
        "steps  905  0  200  0  1,105",
        "windows  800  0  150  0  950",
    ]


def test_where_nothing_lies_outside_there_is_no_column_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, manifest_of(counts={**COUNTS, "outside": {}}))
    assert "what  train  validation  test  all" in lines
    assert not any("outside of all splits" in line for line in lines)


def test_columns_windows_and_sources_are_described(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(capsys, monkeypatch, manifest_of())
    for expected in (
        "/data/x.seq  3.0 MB  digest 000000000000",
        "made from a.csv",
        "appended: b.csv",
        "step 3600 s, context 24, lead 3, horizon 8, stride 1, 10 windows a row of 44 steps, at least 0.75 of a window measured",
        "scaling: robust (median and interquartile range), for all series together; not scaled: people, m[o]de",
        "validation  2025-01-01 00:00:00  2025-02-01 00:00:00  0  0  0",
        "after each border, an embargo of 2d belongs to no split",
        "heat  channel  real  20.5  3.25",
        "people  channel  count",
        "m[o]de  channel  category, 3 words",
        "wind  covariate, known until now  real  4.5  2.5",
        "hour_sin  covariate, known in advance  real",
        "fault  label  category, 3 words",
        "age  attribute  real",
    ):
        assert expected in lines


def test_whole_series_are_counted_once_in_their_split() -> None:
    assert series_count(manifest_of()) == 3
    assert series_count(manifest_of(series=SeriesSplit(seed=1, named={"a": "train"}))) == 5


def test_categories_are_refused_and_named_and_the_rest_is_said_to_be_left_aside() -> None:
    dataset = SequenceDataset("/data/x.seq", manifest_of())
    with pytest.raises(
        InputError, match=r"^/data/x.seq: channel 'm\[o\]de' is a category.*\(heat, people\) with readings\.values"
    ):
        must_be_numbers(dataset)
    assert exclusive_inputs(dataset, ["LSTMs"]) == "Inputs of LSTMs alone: covariates (wind, hour_sin) and attributes (age)."
    plain = SequenceDataset("/data/x.seq", manifest_of(channels=manifest_of().channels[:2], covariates=(), attributes=()))
    must_be_numbers(plain)
    assert exclusive_inputs(plain, ["LSTMs"]) == ""


def test_forecasts_are_of_the_times_after_the_lead() -> None:
    layout = Layout(context=4, horizon=2, lead=3, stride=1, windows_per_row=1)
    dataset: Any = SimpleNamespace(
        layout=layout,
        step_micros=HOUR,
        channels=("a",),
        scaling=Scaling(method="none", overall=Affine(centre=(0.0,), scale=(1.0,))),
    )
    context, target = np.arange(4.0)[None, :, None], np.array([7.0, 8.0])[None, :, None]
    start = np.array(["2025-01-01T00"], "datetime64[us]")
    fields: dict[str, Any] = dict.fromkeys(WindowBatch.__dataclass_fields__)
    batch = WindowBatch(**fields | {
        "context": context, "target": target, "context_observed": np.ones_like(context), "target_observed": np.ones_like(target),
        "series": np.array(["s"]), "start": start,
    })  # fmt: skip
    model: Any = SimpleNamespace(forecast=lambda given: Forecast(target))
    rows = forecast_table(model, dataset, batch).to_pydict()
    assert [str(time) for time in rows["issued"]] == ["2025-01-01 03:00:00"] * 2
    assert [str(time) for time in rows["time"]] == ["2025-01-01 07:00:00", "2025-01-01 08:00:00"]
    assert rows["step"] == [4, 5]
    assert rows["actual"] == [7.0, 8.0]


def test_a_dataset_elsewhere_is_not_asked_for_a_local_path(capsys: pytest.CaptureFixture[str]) -> None:
    show(SequenceDataset("s3://bucket/x.seq", manifest_of()))
    assert "s3://bucket/x.seq" in capsys.readouterr().out
