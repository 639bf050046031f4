"""The contents of the page of a comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePath

import psutil

from hindcast.forecasting.report import contents
from hindcast.forecasting.report.parts import Parts
from hindcast.launch.inspection import counts_in_words, series_count, unscaled_channels
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.grid.splits import SPLITS


def page_contents(
    dataset: SequenceDataset, parts: Parts, season: int, seeds: Mapping[str, int], command: str
) -> contents.Contents:
    """Everything that the page shows.

    seeds    entrant → seed, of those whose fit drew random numbers
    command  the command that repeats the comparison
    """
    return contents.Contents(
        title=f"Which model forecasts {PurePath(dataset.location).stem} best?",
        created=datetime.now(UTC),
        setup=_setup(dataset, season, seeds, command),
        models=parts.models,
        examples=parts.examples,
        learning=parts.learning,
        likelihood=parts.likelihood,
        states=parts.states,
        notes=parts.notes,
    )


def _setup(dataset: SequenceDataset, season: int, seeds: Mapping[str, int], command: str) -> contents.Setup:
    manifest, layout = dataset.manifest, dataset.layout
    scaling = f"{manifest.scaling.method}, {manifest.spec.scaling.per}, from the training split alone"
    return contents.Setup(
        dataset=dataset.location,
        windows=manifest.windows("test"),
        context=layout.context,
        horizon=layout.horizon,
        lead=layout.lead,
        step_seconds=dataset.step_micros / 1e6,
        season=season,
        channels=dataset.channels,
        series=series_count(manifest),
        splits=tuple(_split(dataset, split) for split in SPLITS if _steps(dataset, split)),
        whole_series=manifest.series is not None,
        scaling="; ".join(filter(None, [scaling, unscaled_channels(manifest)])),
        counts=counts_in_words(manifest),
        command=command,
        seeds=seeds,
        versions=manifest.versions,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
    )


def _split(dataset: SequenceDataset, split: str) -> contents.Split:
    border = dataset.manifest.borders[split]
    last = datetime.fromisoformat(border.stop_time) - timedelta(microseconds=dataset.step_micros)
    return contents.Split(split, datetime.fromisoformat(border.start_time), last, _steps(dataset, split))


def _steps(dataset: SequenceDataset, split: str) -> int:
    return sum(sum(part.steps) for part in dataset.manifest.parts if part.split == split)
