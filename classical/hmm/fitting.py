"""A hidden Markov model of a dataset: settings in, fitted model and the record of its fit out."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from classical import em
from classical.checkpoints import FileCheckpoint
from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.emissions.mixture import Mixture
from classical.hmm.emissions.student import Student
from classical.hmm.initial import Begin, initialise, sample
from classical.hmm.model import HiddenMarkov
from classical.hmm.settings import HmmSettings
from classical.hmm.stored import CLASSES
from classical.passing import Reader
from forecasting.inputs import must_be_numbers
from prep.blocks import Address, Block, read
from prep.dataset import SequenceDataset
from prep.errors import InputError


@dataclass(frozen=True)
class FittedHmm:
    """A fitted model. `settings` are those that acted (the order may have been lowered: `notes` say so); times in seconds, of the
    whole fit, initialisation included; processor time is the driver's and the tasks' together."""

    model: HiddenMarkov[Any]
    settings: HmmSettings
    history: em.History
    seconds: float
    cpu_seconds: float
    notes: tuple[str, ...]


def fit_hmm(
    dataset: SequenceDataset,
    settings: HmmSettings,
    *,
    spark: Any = None,
    partitions: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_iteration: em.OnIteration | None = None,
    gpus: bool = False,
) -> FittedHmm:
    """Fits the training split by EM; on Spark where a session is given. States are numbered by share of time, largest first.

    checkpoint      a file that the fit is saved in every few iterations; it stays there until somebody removes it
    resume          goes on from that file
    on_iteration    is told the iteration and the log-likelihood, of the likeliest restart that still goes on
    gpus            GPUs take the E-steps, of Spark's executors or of this machine, if there are kernels for the model

    Raises InputError where a channel is a category, the training split has no sequence to fit, the checkpoint cannot be used, or
    no GPU is found where they were asked for.
    """
    must_be_numbers(dataset)
    wall, cpu = time.perf_counter(), time.process_time()
    asked, settings, notes = settings, settings.for_context(dataset.layout.context), []
    if settings.order < asked.order:
        notes.append(f"order {asked.order} was lowered to {settings.order}, half of the context: the rest is left to the filter")
    reader = reader_for(dataset)
    if reader is read_whole_rows:
        notes.append("plain layout: each stored row is one sequence, so steps in several rows count several times")
    pieces = 1 if spark is None else partitions or spark.sparkContext.defaultParallelism
    addresses = dataset.addresses("train", pieces)
    if not addresses:
        raise InputError(f"{dataset.location}: the training split has no rows: there is nothing to fit")
    order = settings.order if settings.emission == "autoregressive" else 0
    some, begin = sample(addresses, reader, spark=spark), beginning(settings, filled=dataset.manifest.spec.grid.fill != "none")
    begins = [
        initialise(begin, some, settings.states, order=order, seed=[settings.seed, number] if number else settings.seed)
        for number in range(settings.restarts)
    ]
    driver_wall, driver_cpu = time.perf_counter(), time.process_time()
    placing: AbstractContextManager[Any] = nullcontext((addresses, {"spark": spark, "partitions": partitions, "reader": reader}))
    if gpus:
        placing = _on_gpus(begins[0], dataset, reader, spark, notes) or placing
    with placing as (data, how):
        fits = em.fit_several(
            begins, data, iterations=settings.iterations, tolerance=settings.tolerance, **how,
            checkpoint=checkpoint_of(checkpoint, dataset, settings, resume) if checkpoint else None,
            on_iteration=on_iteration and (lambda iteration, likelihoods: on_iteration(iteration, max(likelihoods.values()))),
        )  # fmt: skip
    model, history = max(fits, key=lambda fit: fit[1].log_likelihood[-1])
    # With those of the iterations from before a fit was resumed.
    longest = max((history for _, history in fits), key=lambda history: len(history.seconds))
    seconds, cpu_seconds = driver_wall - wall + sum(longest.seconds), driver_cpu - cpu + sum(longest.cpu_seconds)
    if len(fits) > 1:
        last = sorted(round(fit[1].log_likelihood[-1], 1) for fit in fits)
        notes.append(f"the likeliest of {len(fits)} restarts, whose log-likelihoods were {', '.join(map(str, last))}")
    model = model.ordered("share")
    return FittedHmm(model, settings, history, seconds, cpu_seconds, (*notes, *repairs(model)))


def _on_gpus(
    model: HiddenMarkov[Any], dataset: SequenceDataset, reader: Reader, spark: Any, notes: list[str]
) -> AbstractContextManager[Any] | None:
    """See `gpu.placing.on_gpus`; None, and a note, where there are no kernels for the model."""
    from classical.hmm.gpu import e_step
    from classical.hmm.gpu.placing import on_gpus

    if fault := e_step.fault(model):
        notes.append(f"E-steps were taken by processors: {fault}")
        return None
    return on_gpus(dataset, reader, model.emission.order, spark)


def checkpoint_of(file: Path, dataset: SequenceDataset, settings: HmmSettings, resume: bool) -> FileCheckpoint:
    """Of this fit: of the same rows with the same settings, but for when to stop."""
    chosen = settings.model_dump(exclude={"iterations", "tolerance"})
    return FileCheckpoint(file, {"dataset": dataset.digest, **chosen}, CLASSES, resume)


def beginning(settings: HmmSettings, filled: bool = False) -> Begin:
    """Of the family that was chosen. `filled`: gaps of the data were filled, so regressions may be on what stands there."""
    floor = settings.variance_floor
    match settings.emission:
        case "autoregressive":
            return partial(Autoregressive.begin, variance_floor=floor, order=settings.order, filled=filled)
        case "mixture":
            return partial(Mixture.begin, variance_floor=floor, components=settings.components)
        case "student":
            return partial(Student.begin, variance_floor=floor)
        case "diagonal":
            return partial(Gaussian.begin, variance_floor=floor, covariance="diag")
        case kind:
            return partial(Gaussian.begin, variance_floor=floor, covariance=kind)


def repairs(model: HiddenMarkov[Any]) -> list[str]:
    """What the last M-step did beyond maximum likelihood, in words."""
    notes = list(model.emission.repairs)
    if model.empty:
        notes.append(f"nothing was assigned to states {', '.join(map(str, model.empty))}: they keep the parameters they had")
    return notes


def reader_for(dataset: SequenceDataset) -> Reader:
    """What makes sequences of a dataset's rows. In the plain layout a row owns next to nothing, so there it is taken whole."""
    return read_whole_rows if dataset.layout.windows_per_row == 1 else read


def read_whole_rows(address: Address) -> Block:
    """The rows at an address, each owning all its steps."""
    block = read(address)
    return replace(block, own_start=np.zeros_like(block.own_start))
