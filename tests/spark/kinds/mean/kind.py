"""A kind of models as small as one can be: the mean of the context, drawn towards the mean of the training split.

Tests put this folder into the project, and its line into the table of kinds, to see that nothing else is needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hindcast.forecasting.card import Card, Gives, Part, Sequences, must_be_model, read_card, typed
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.forecast import Forecast
from hindcast.forecasting.inputs import NUMBERS
from hindcast.forecasting.kind import Job, Kind, Tables, Takes
from hindcast.forecasting.report.parts import Parts
from hindcast.forecasting.task import FORECAST
from hindcast.forecasting.truth import Truth
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_folder

NAME = "mean"


class MeanSettings(BaseModel):
    """shrink: how far forecasts are drawn from the context's mean towards that of the training split."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shrink: float = Field(default=0.0, ge=0, le=1)


class MeanPart(Part):
    """centre: the mean of each channel, scaled."""

    centre: tuple[float, ...]
    shrink: float


@dataclass(frozen=True)
class MeanForecaster:
    card: Card[MeanPart]

    def forecast(self, given: Given) -> Forecast:
        part, data = self.card.part, self.card.sequences("the model")
        mean = (1 - part.shrink) * given.context.mean(axis=1) + part.shrink * np.array(part.centre, np.float32)
        return Forecast(np.repeat(mean[:, None], data.horizon, axis=1))


def _takes(tables: Tables) -> Takes:
    return Takes(NUMBERS)


def _check(job: Job) -> None:
    if job.resume:
        raise InputError("--resume: a mean is taken at once: fit without it")


def _fit(job: Job) -> MeanForecaster:
    began, cpu = time.perf_counter(), time.process_time()
    total, steps = np.zeros(len(job.dataset.channels)), 0
    with job.watch.stage("mean"):
        for block in job.dataset.blocks("train"):
            for values, start, stop in zip(block.values, block.own_start, block.own_stop, strict=True):
                total, steps = total + values[start:stop].sum(axis=0), steps + int(stop - start)
        job.watch.step("pass", 1, {"steps": steps})
    part = MeanPart(centre=tuple((total / max(steps, 1)).tolist()), shrink=job.settings[NAME].shrink)
    return MeanForecaster(
        Card[MeanPart](
            kind=NAME,
            data=Sequences.of(job.dataset),
            gives=Gives(deviation=False),
            parameters=len(total),
            bytes=8 * len(total),
            fit_seconds=time.perf_counter() - began,
            fit_cpu_seconds=time.process_time() - cpu,
            seed=None,
            history=(),
            notes=(),
            versions={},
            part=part,
        )
    )


def _save(model: MeanForecaster, folder: Path, overwrite: bool) -> None:
    with placed_folder(folder, overwrite, must_be_model) as staging:
        model.card.write(staging)


def _load(folder: Path) -> MeanForecaster:
    return MeanForecaster(typed(read_card(folder), NAME, MeanPart, folder))


def _sound(folder: Path, card: Card[Any]) -> None:
    _load(folder)


def _sections(entrants: Sequence[Entrant], dataset: SequenceDataset, truth: Truth | None) -> Parts:
    return Parts(notes=tuple(f"{one.name} is as simple as a model can be" for one in entrants))


def _quick(regimes: int | None) -> Mapping[str, dict[str, Any]]:
    return {NAME: {"shrink": 0.1}}


MEAN = Kind(
    name=NAME,
    title="mean",
    plural="means",
    summary="The mean of the context.",
    tables={NAME: MeanSettings},
    tasks=(FORECAST,),
    takes=_takes,
    check=_check,
    fit=_fit,
    save=_save,
    load=_load,
    sound=_sound,
    part=lambda: MeanPart,
    describe=lambda card: f"the mean of the context, drawn by {card.part.shrink:g} towards that of the training split",
    sections=_sections,
    quick=_quick,
)
