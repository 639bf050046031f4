"""LSTMs as a kind of models. TensorFlow is not imported before it is needed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hindcast.deep.inputs import must_mix
from hindcast.deep.needed import must_have_horovod, must_have_keras
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.training.checkpoints import TrainingFile, identity
from hindcast.deep.ways.started import first_rank, started_by_horovod
from hindcast.deep.ways.ways import TABLE, OnEpoch, way_of
from hindcast.forecasting.inputs import NUMBERS
from hindcast.forecasting.kind import Job, Kind, Option, Probe, Tables, Takes, Tuning
from hindcast.forecasting.task import FORECAST
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from hindcast.deep.forecaster import LstmForecaster
    from hindcast.deep.part import LstmPart
    from hindcast.forecasting.card import Card
    from hindcast.forecasting.entrant import Entrant
    from hindcast.forecasting.report.parts import Parts
    from hindcast.forecasting.truth import Truth
    from hindcast.prep.dataset.sequence_dataset import SequenceDataset

NAME = TABLE
# What is drawn of a training, by its head, or of the point head by its loss.
LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber's loss",
    "gaussian": "negative log density",
    "student": "negative log density",
    "quantiles": "pinball loss, doubled",
}


def _takes(tables: Tables) -> Takes:
    return Takes(NUMBERS, covariates=tables[NAME].covariates)


def _installed(on: str) -> None:
    must_have_keras()
    if on == "horovod" and not started_by_horovod():
        must_have_horovod()


def _check(job: Job) -> None:
    _installed(job.where.on)
    settings = job.settings[NAME]
    must_mix(job.dataset, settings)
    if settings.segment is not None:
        settings.for_windows(job.dataset.layout.context, job.dataset.layout.horizon)
    if job.checkpoint is not None and job.resume:
        TrainingFile(job.checkpoint, identity(job.dataset, settings), True).read()
    way_of(job).check(job)


def _fit(job: Job) -> LstmForecaster | None:
    """Trains in the way that the settings say. Of several ranks only the first gets the model."""
    from hindcast.deep.training.journal import journal

    settings: LstmSettings = job.settings[NAME]
    about = {"dataset": job.dataset.location, **settings.model_dump(mode="json")}
    journals = (
        journal(job.name, about, job.options.get("tensorboard")) if job.name and first_rank() else nullcontext(lambda _: None)
    )
    checkpoint = None if job.checkpoint is None else TrainingFile(job.checkpoint, identity(job.dataset, settings), job.resume)
    with journals as tell:
        model = way_of(job).fit(job, _on_epoch(job, settings, tell), checkpoint)
    if model is not None:
        job.watch.note(settings={NAME: model.settings.model_dump(mode="json")})
    return model


def _on_epoch(job: Job, settings: LstmSettings, tell: OnEpoch) -> OnEpoch:
    def show(record: dict[str, float]) -> None:
        tell(record)
        epoch, validation = int(record["epoch"]), record.get("validation_loss")
        detail = f"epoch {epoch} of {settings.epochs}, loss {record['loss']:.4f}"
        detail += "" if validation is None else f", validation {validation:.4f}"
        numbers = {name: number for name, number in record.items() if name not in ("epoch", "seconds")}
        job.watch.step("epoch", epoch, {"epoch": epoch, **numbers}, detail, record["seconds"])

    return show


def _save(model: LstmForecaster, folder: Path, overwrite: bool) -> None:
    model.save(folder, overwrite=overwrite)


def _load(folder: Path) -> LstmForecaster:
    must_have_keras()
    from hindcast.deep.forecaster import load

    return load(folder)


def _sound(folder: Path, card: Card[Any]) -> None:
    """Without TensorFlow, whose import takes seconds: whoever forecasts reads the network anyway."""
    networks = sorted(file for file in folder.iterdir() if file.suffix == ".keras")
    if not networks:
        raise InputError(f"{folder}: has a model.json and no network (.keras): the model is damaged; fit it again")
    for network in networks:
        try:
            with zipfile.ZipFile(network) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            damaged = str(error)
        if damaged is not None:
            raise InputError(f"{network}: not a Keras model of Hindcast, or damaged ({damaged}): fit the model again")


def _part() -> type[LstmPart]:
    from hindcast.deep.part import LstmPart

    return LstmPart


def _describe(card: Card[LstmPart]) -> str:
    part, settings = card.part, card.part.settings
    what = f"{settings.network} network, {settings.units} units, {len(card.history)} epochs (best: {part.best_epoch}), "
    what += f"{part.ranks} ranks"
    what += f"; {settings.members} of them together" if settings.members > 1 else ""
    return what + (f"; {settings.line_share:.0%} of its forecast is a closed-form line's" if settings.line_share else "")


def _sections(entrants: Sequence[Entrant], dataset: SequenceDataset, truth: Truth | None) -> Parts:
    import numpy as np

    from hindcast.forecasting.report.contents import Learning
    from hindcast.forecasting.report.parts import Parts

    curves = []
    for entrant in entrants:
        assert entrant.card is not None, "an entrant of a kind has a card"
        history, settings = entrant.card.history, entrant.card.part.settings
        epoch, loss = (np.array([record[field] for record in history]) for field in ("epoch", "loss"))
        validation = np.array([record.get("validation_loss", np.nan) for record in history])
        unit = LOSSES[settings.loss if settings.head == "point" else settings.head]
        curves.append(Learning(entrant.name, epoch, loss, validation, f"{unit}, scaled"))
    return Parts(learning=tuple(curves))


def _must_suit(dataset: SequenceDataset, trials: Sequence[Any]) -> None:
    from hindcast.deep.search.trials import must_be_searchable

    must_have_keras()
    must_be_searchable(dataset, trials)


def _search(
    spark: Any, dataset: SequenceDataset, trials: Sequence[Any], grace: int, on_report: Callable[[int, Sequence[float]], None]
) -> Sequence[Any]:
    from hindcast.deep.search.trials import search

    return search(spark, dataset, trials, grace, on_report)


def _quick(regimes: int | None) -> Mapping[str, dict[str, Any]]:
    return {NAME: {"max_seconds": 120}}


def _probe(tables: Tables) -> Sequence[Probe]:
    from hindcast.deep.training.cudnn import why_no_cudnn
    from hindcast.deep.training.precision import why_float32

    settings = tables[NAME]
    return (
        Probe("Mixed precision", why_float32(settings.precision), "LSTMs compute in bfloat16", "LSTMs compute in float32"),
        Probe("cuDNN", why_no_cudnn(settings), "LSTMs run in its kernel", "LSTMs run in TensorFlow's loop"),
    )


LSTM = Kind(
    name=NAME,
    title="LSTM",
    plural="LSTMs",
    summary="An LSTM: with Horovod on Spark, in one process (--cluster.on local), in Spark's partitions, or as a rank where "
    "horovodrun started this.\n\nIts way is saved in OUT.checkpoint, until OUT is there. Where MLFLOW_TRACKING_URI is set, "
    "MLflow is told of every epoch.",
    tables={NAME: LstmSettings, "partitions": PartitionSettings},
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
    tuning=Tuning(
        # Of other losses, the smaller is not the better one.
        incomparable=frozenset({"head", "loss", "delta", "levels", "spectrum"}),
        # Of several ranks, or of their checkpoints.
        without_effect=frozenset({"batch_of", "checkpoint_steps", "silence_seconds"}),
        must_suit=_must_suit,
        search=_search,
        most_epochs=lambda settings: int(settings.epochs),
        # A process for each trial: TensorFlow keeps its memory and the GPUs that it once saw.
        spark={"spark.python.worker.reuse": "false"},
    ),
    quick=_quick,
    options=(
        Option("tensorboard", "A folder for TensorBoard's event files.", path=True),
        Option("allow-cleartext", "Let Horovod's ranks talk unencrypted where Spark's traffic is encrypted."),
    ),
    gauges={
        "epoch": "Epochs that are over.",
        "loss": "Training loss of the latest epoch, scaled.",
        "validation_loss": "Validation loss of the latest epoch, scaled.",
        "learning_rate": "At the end of the latest epoch.",
        "models": "Models that are trained, where each series has one.",
    },
    on_ranks=True,
    packages=("tensorflow", "tensorflow-cpu", "keras", "horovod"),
    installed=_installed,
    probe=_probe,
)
