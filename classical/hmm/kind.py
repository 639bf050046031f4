"""Hidden Markov models as a kind of models. Nothing is compiled before it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hindcast.classical.hmm.settings import HmmSettings, channel_kinds, forecasts
from hindcast.forecasting.kind import Job, Kind, Probe, Tables, Takes
from hindcast.forecasting.task import FORECAST

if TYPE_CHECKING:
    from hindcast.classical.hmm.estimators.base import Estimator
    from hindcast.classical.hmm.forecast import HmmForecaster
    from hindcast.classical.hmm.part import HmmPart
    from hindcast.forecasting.card import Card
    from hindcast.forecasting.entrant import Entrant
    from hindcast.forecasting.report.parts import Parts
    from hindcast.forecasting.truth import Truth
    from hindcast.prep.dataset.sequence_dataset import SequenceDataset

NAME = "hmm"


def _takes(tables: Tables) -> Takes:
    settings = tables[NAME]
    return Takes(channel_kinds(settings), forecasts=forecasts(settings))


def _check(job: Job) -> None:
    """What its settings take, `takes` says; the rest is found where the fit begins."""


def _fit(job: Job) -> HmmForecaster | Estimator:
    """By EM on Spark, on GPUs where executors have them. An estimator where no numbers can be forecast."""
    from hindcast.classical.hmm.from_settings import fit_hmm

    settings, gpus, watch = job.settings[NAME], job.where.gpus_per_worker is not None, job.watch

    def on_iteration(iteration: int, likelihood: float) -> None:
        numbers = {"iteration": iteration, "log_likelihood": likelihood}
        watch.step("EM iteration", iteration, numbers, f"iteration {iteration}, log-likelihood {likelihood:,.1f}")

    spark = job.where.session()
    with watch.stage("HMM", spark, f"EM on Spark{', on GPUs' if gpus else ''}, {settings.states} states"):
        fitted = fit_hmm(
            job.dataset, settings, spark=spark, checkpoint=job.checkpoint, resume=job.resume, on_iteration=on_iteration, gpus=gpus
        )
    acting = settings.for_context(job.dataset.layout.context)
    watch.note(settings={NAME: acting.model_dump(mode="json")}, notes=list(fitted.card.notes))
    return fitted if fitted.cannot_forecast else fitted.forecaster(job.dataset)


def _save(model: HmmForecaster | Estimator, folder: Path, overwrite: bool) -> None:
    from hindcast.classical.hmm.saving import save

    save(model, folder, overwrite=overwrite)


def _load(folder: Path) -> HmmForecaster:
    from hindcast.classical.hmm.saving import load

    return load(folder)


def _sound(folder: Path, card: Card[Any]) -> None:
    _load(folder)


def _part() -> type[HmmPart]:
    from hindcast.classical.hmm.part import HmmPart

    return HmmPart


def _describe(card: Card[HmmPart]) -> str:
    return f"{card.part.in_words}, {len(card.history)} EM iterations"


def _sections(entrants: Sequence[Entrant], dataset: SequenceDataset, truth: Truth | None) -> Parts:
    from hindcast.classical.hmm.states.report import sections

    return sections(entrants, dataset, truth)


def _quick(regimes: int | None) -> Mapping[str, dict[str, Any]]:
    return {NAME: {"iterations": 60, **({} if regimes is None else {"states": regimes, "order": 48})}}


def _probe(tables: Tables) -> Sequence[Probe]:
    from hindcast.classical.hmm.gpu.placing import why_no_gpu

    return (Probe("GPUs for E-steps", why_no_gpu(), "numba sees them", "processors take them"),)


HMM = Kind(
    name=NAME,
    title="HMM",
    plural="HMMs",
    summary="A hidden Markov model, by EM on Spark. Every few iterations the fit is saved in OUT.checkpoint, until OUT is there.",
    tables={NAME: HmmSettings},
    tasks=(FORECAST,),
    takes=_takes,
    check=_check,
    fit=_fit,
    save=_save,
    load=_load,
    sound=_sound,
    part=_part,
    describe=_describe,
    sections=_sections,
    quick=_quick,
    gauges={
        "iteration": "EM iterations that are over.",
        "log_likelihood": "Of the training split, in the latest EM iteration.",
    },
    probe=_probe,
)
