"""Fits the two families of models on what a run was given: Spark, the ranks of horovodrun, or this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from classical.hmm.fitting import fit_hmm as fit_by_em
from classical.hmm.forecast import HmmForecaster
from classical.hmm.saving import forecaster_of
from forecasting.inputs import left_aside, must_be_numbers
from launch.cluster import must_train_on, ranks_on, session_on
from launch.models import load
from launch.progress import Progress, console
from launch.runs import run
from launch.settings import Settings
from prep.dataset import SequenceDataset
from prep.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from deep.forecaster import LstmForecaster

Maybe = TypeVar("Maybe", bound="LstmForecaster | None")


def open_to_fit(location: str) -> SequenceDataset:
    """The dataset, for models to be fitted on; prints what of it they leave aside.

    Raises InputError where it cannot be opened, or a channel is a category.
    """
    from deep.started import first_rank

    dataset = SequenceDataset.open(location)
    run().note(dataset={"location": dataset.location, "digest": dataset.digest})
    must_be_numbers(dataset)
    if first_rank() and left_aside(dataset):
        console.print(left_aside(dataset), highlight=False, markup=False)
    return dataset


def fit_hmm(
    spark: SparkSession,
    dataset: SequenceDataset,
    settings: Settings,
    progress: Progress,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> HmmForecaster:
    """An HMM of the training split, by EM on Spark, on GPUs where the settings have them. See `classical.hmm.fitting.fit_hmm` for
    checkpoints."""
    hmm, gpus = settings.hmm, settings.cluster.gpus_per_worker is not None

    def on_iteration(iteration: int, likelihood: float) -> None:
        numbers = {"iteration": iteration, "log_likelihood": likelihood}
        progress.step("EM iteration", iteration, numbers, f"iteration {iteration}, log-likelihood {likelihood:,.1f}")

    with progress.stage("HMM", spark, f"EM on Spark{', on GPUs' if gpus else ''}, {hmm.states} states"):
        fitted = fit_by_em(dataset, hmm, spark=spark, checkpoint=checkpoint, resume=resume, on_iteration=on_iteration, gpus=gpus)
    run().note(settings={"hmm": fitted.settings.model_dump(mode="json")}, notes=list(fitted.notes))
    return forecaster_of(fitted, dataset)


def fit_lstm(
    dataset: SequenceDataset,
    settings: Settings,
    progress: Progress,
    spark: SparkSession | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    told: Callable[[dict[str, float]], None] = lambda record: None,
) -> LstmForecaster | None:
    """An LSTM, trained where the settings say; under horovodrun this process is a rank, and only the first rank gets the model.

    spark       a session that is there already; without it, one is started if it is needed and stopped again
    checkpoint  a file that the training is saved in; it stays there until somebody removes it
    resume      goes on from that file
    told        is given the record of each epoch
    """
    from deep.checkpoints import TrainingFile, identity
    from deep.started import started_by_horovod

    least_ranks = settings.cluster.least_ranks
    if least_ranks is not None and (started_by_horovod() or settings.cluster.on != "horovod"):
        raise InputError("cluster.least_ranks: a training outlives its ranks with Horovod on Spark alone: leave it out here")
    if settings.cluster.gpus_per_worker is not None and (started_by_horovod() or settings.cluster.on != "horovod"):
        raise InputError(
            "cluster.gpus_per_worker: Spark gives out GPUs to ranks of Horovod on Spark alone: leave it out here, and say by "
            "CUDA_VISIBLE_DEVICES what a process sees"
        )
    file = None if checkpoint is None else TrainingFile(checkpoint, identity(dataset, settings.lstm), resume)
    on_epoch = _on_epoch(progress, settings, told)
    if started_by_horovod() or settings.cluster.on == "local":
        from deep.local import fit

        with progress.stage("LSTM"):
            return acted(fit(dataset, settings.lstm, on_epoch, file))
    if spark is None:
        with session_on(settings.cluster, "hindcast fit lstm") as session:
            return fit_lstm(dataset, settings, progress, session, checkpoint, resume, told)
    if settings.cluster.on == "partitions":
        if resume:
            raise InputError("--resume: a fit in partitions leaves no checkpoint to go on from: fit anew, without it")
        from deep.partitions.fitting import fit_in_partitions

        def on_models(done: int, of: int) -> None:
            run().gauge("models", done)
            progress.update(f"{done:,} of {of:,} models")

        with progress.stage("LSTM", spark, "in Spark's partitions"):
            return acted(fit_in_partitions(spark, dataset.location, settings.lstm, settings.partitions, on_epoch, on_models))
    from deep.spark import fit_on_spark

    must_train_on(spark, settings.cluster)
    ranks, gpu_each = ranks_on(spark, settings.cluster), settings.cluster.gpus_per_worker is not None
    with progress.stage("LSTM", spark, f"Horovod on Spark, {ranks} ranks" + (" with a GPU each" if gpu_each else "")):
        return acted(fit_on_spark(spark, dataset.location, settings.lstm, ranks, on_epoch, file, least_ranks, gpu_each))


def acted(model: Maybe) -> Maybe:
    """The model; the run is told the settings that acted, what was left open decided."""
    if model is not None:
        run().note(settings={"lstm": model.card.part.settings.model_dump(mode="json")})
    return model


def fit_missing(
    dataset: SequenceDataset, settings: Settings, progress: Progress, hmm: Path | None, lstm: Path | None
) -> tuple[HmmForecaster, LstmForecaster]:
    """The models in these folders; those without a folder are fitted, on one Spark session."""
    loaded = [None if folder is None else load(folder, dataset, kind) for folder, kind in ((hmm, "hmm"), (lstm, "lstm"))]
    if None in loaded:
        with session_on(settings.cluster, "hindcast compare") as spark:
            if loaded[1] is None:
                must_train_on(spark, settings.cluster)
            fits = (lambda: fit_hmm(spark, dataset, settings, progress), lambda: fit_lstm(dataset, settings, progress, spark))
            loaded = [model or fit() for model, fit in zip(loaded, fits, strict=True)]
    first, second = loaded
    return cast("HmmForecaster", first), cast("LstmForecaster", second)


def _on_epoch(
    progress: Progress, settings: Settings, told: Callable[[dict[str, float]], None]
) -> Callable[[dict[str, float]], None]:
    def show(record: dict[str, float]) -> None:
        told(record)
        epoch, validation = int(record["epoch"]), record.get("validation_loss")
        detail = f"epoch {epoch} of {settings.lstm.epochs}, loss {record['loss']:.4f}"
        detail += "" if validation is None else f", validation {validation:.4f}"
        numbers = {name: number for name, number in record.items() if name not in ("epoch", "seconds")}
        progress.step("epoch", epoch, {"epoch": epoch, **numbers}, detail, record["seconds"])

    return show
