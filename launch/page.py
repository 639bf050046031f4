"""What a comparison found, as the contents of its page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePath

import numpy as np
import psutil

from classical.hmm.forecast import HmmForecaster
from classical.hmm.part import HmmPart
from classical.hmm.states import decode_stretch, describe_states
from deep.part import LstmPart
from deep.settings import LstmSettings
from forecasting.card import Card
from forecasting.forecast import target_times
from forecasting.inputs import left_aside
from forecasting.report import contents
from launch.inspection import counted, how_many_series, how_many_windows, uncommon_scaling
from launch.regimes import Truth, with_truth
from launch.scoring import Entrant, Example, Score
from launch.settings import Settings
from prep.dataset import SequenceDataset
from prep.splits import SPLITS

# A forecast is easier to judge beside some of what came before it.
PAST_HORIZONS = 3
# What is drawn of a training, by its head, or of the point head by its loss.
LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber's loss",
    "gaussian": "negative log density",
    "student": "negative log density",
    "quantiles": "pinball loss, doubled",
}


def page_contents(
    dataset: SequenceDataset,
    rows: tuple[contents.Model, ...],
    drawn: Sequence[Example],
    hmm: HmmForecaster,
    hmm_card: Card[HmmPart],
    lstm_card: Card[LstmPart],
    season: int,
    settings: Settings,
    command: str,
    truth: Truth | None,
) -> contents.Contents:
    """Everything that the page shows."""
    stretch = decode_stretch(hmm.model, dataset)
    if truth is not None:
        stretch = with_truth(stretch, hmm.model, dataset, truth)
    return contents.Contents(
        title=f"Which model forecasts {PurePath(dataset.location).stem} best?",
        created=datetime.now(UTC),
        setup=_setup(dataset, season, command, settings),
        models=rows,
        examples=tuple(_example(example, dataset) for example in drawn),
        learning=(_learning(lstm_card),),
        likelihood=(_likelihood(hmm_card),),
        states=describe_states(hmm.model, dataset, stretch),
        notes=(*hmm_card.notes, *filter(None, [left_aside(dataset)])),
    )


def model_row(entrant: Entrant, found: Score, naive: np.ndarray) -> contents.Model:
    """One line of the table; `naive` (channels,) as `naive_error` gives it."""
    return contents.Model(
        name=entrant.name,
        kind=entrant.kind,
        description=entrant.description,
        mse=found.scaled.mse,
        mae=found.scaled.mae,
        mase=found.scaled.mase(naive),
        channel_mae=found.in_units.mae_by_channel(),
        step_mse=found.scaled.mse_by_step(),
        parameters=entrant.forecaster.parameters,
        bytes=entrant.bytes,
        fit_seconds=entrant.fit_seconds,
        fit_cpu_seconds=entrant.fit_cpu_seconds,
        forecast_seconds=found.forecast_seconds,
    )


def _setup(dataset: SequenceDataset, season: int, command: str, settings: Settings) -> contents.Setup:
    manifest, layout = dataset.manifest, dataset.layout
    scaling = f"{manifest.scaling.method}, {manifest.spec.scaling.per}, from the training split alone"
    return contents.Setup(
        dataset=dataset.location,
        windows=how_many_windows(manifest, "test"),
        context=layout.context,
        horizon=layout.horizon,
        lead=layout.lead,
        step_seconds=dataset.step_micros / 1e6,
        season=season,
        channels=dataset.channels,
        series=how_many_series(manifest),
        splits=tuple(_split(dataset, split) for split in SPLITS if _steps(dataset, split)),
        whole_series=manifest.series is not None,
        scaling="; ".join(filter(None, [scaling, uncommon_scaling(manifest)])),
        counts=counted(manifest),
        command=command,
        seeds={"hmm": settings.hmm.seed, "lstm": settings.lstm.seed},
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


def _example(example: Example, dataset: SequenceDataset) -> contents.Example:
    layout, batch = dataset.layout, example.batch
    steps = batch.start[0] + np.arange(layout.context) * np.timedelta64(dataset.step_micros, "us")
    past = slice(max(0, layout.context - PAST_HORIZONS * layout.horizon), layout.context)
    return contents.Example(
        series=str(batch.series[0]),
        why=f"window {example.number + 1:,} of {how_many_windows(dataset.manifest, 'test'):,}, evenly spaced",
        past_times=steps[past],
        past=example.context[past],
        times=target_times(batch.start, layout, dataset.step_micros)[0],
        actual=example.target,
        observed=batch.target_observed[0],
        lines=tuple(
            contents.Line(name, forecast.mean[0], None if forecast.deviation is None else forecast.deviation[0])
            for name, forecast in example.forecasts.items()
        ),
    )


def _learning(card: Card[LstmPart]) -> contents.Learning:
    epoch, loss = (np.array([record[field] for record in card.history]) for field in ("epoch", "loss"))
    validation = np.array([record.get("validation_loss", np.nan) for record in card.history])
    return contents.Learning(card.kind, epoch, loss, validation, f"{LOSSES[loss_of(card.part.settings)]}, scaled")


def loss_of(settings: LstmSettings) -> str:
    """A key of LOSSES."""
    return settings.loss if settings.head == "point" else settings.head


def _likelihood(card: Card[HmmPart]) -> contents.Likelihood:
    iteration, total = (np.array([record[field] for record in card.history]) for field in ("iteration", "log_likelihood"))
    return contents.Likelihood(card.kind, iteration, total / card.part.steps)
