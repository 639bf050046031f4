"""The card of an estimator, and the forecaster that it makes."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from hindcast.classical import em
from hindcast.classical.hmm.forecast import HmmForecaster, gives_deviation
from hindcast.classical.hmm.part import HmmPart
from hindcast.classical.hmm.saving import KIND
from hindcast.forecasting.card import Card, Gives, Sequences
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from hindcast.classical.hmm.estimators.base import Estimator
    from hindcast.prep.dataset.sequence_dataset import SequenceDataset

BYTES_A_PARAMETER = 8
PACKAGES = ("hindcast", "numpy", "numba")


def forecaster_of(estimator: Estimator, dataset: SequenceDataset, scaled: bool) -> HmmForecaster:
    """See `Estimator.forecaster`."""
    model, name = estimator.parameters_, type(estimator).__name__
    if estimator.cannot_forecast:
        raise InputError(f"{name}: {estimator.cannot_forecast}")
    estimator.must_emit(dataset.manifest.channels, dataset.location)
    if model.emission.order > dataset.layout.context:
        raise InputError(
            f"{name}: goes on from the last {model.emission.order} steps, and the context of {dataset.location} has "
            f"{dataset.layout.context}: fit it with a lower order, or prepare the dataset with a longer windows.context"
        )
    data, notes = _scaled_as(estimator, dataset, scaled)
    card = card_of(estimator, data, notes)
    return HmmForecaster(model, data.horizon, card, data.lead)


def card_of(estimator: Estimator, data: Sequences | None, notes: tuple[str, ...] = ()) -> Card[HmmPart]:
    """The card of an estimator. `data`: the sequences whose scaling its readings have."""
    model, monitor = estimator.parameters_, getattr(estimator, "monitor_", None)
    history, online = getattr(estimator, "history_", None), getattr(estimator, "online_history_", None)
    deviation = gives_deviation(model.emission, 1 if data is None else data.horizon)
    arguments = estimator.arguments()
    return Card[HmmPart](
        kind=KIND,
        data=data,
        gives=None if estimator.cannot_forecast else Gives(deviation=deviation),
        parameters=model.parameters,
        bytes=BYTES_A_PARAMETER * model.parameters,
        fit_seconds=0.0 if monitor is None else monitor.seconds,
        fit_cpu_seconds=0.0 if monitor is None else monitor.cpu_seconds,
        seed=arguments["random_state"],
        history=() if history is None else _rows(history),
        notes=notes if monitor is None else (*notes, *monitor.notes, *monitor.repairs),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        part=HmmPart(
            estimator=type(estimator).__name__,
            arguments=arguments,
            stopped_by=None if history is None else history.stopped_by,
            steps=history.count if history is not None else 0.0 if online is None else online.count,
            repairs=() if monitor is None else monitor.repairs,
        ),
    )


def _rows(history: em.History) -> tuple[dict[str, float], ...]:
    columns = history.log_likelihood, history.log_prior, history.seconds, history.cpu_seconds
    return tuple(
        {"iteration": iteration, "log_likelihood": likelihood, "log_prior": prior, "seconds": wall, "cpu_seconds": cpu}
        for iteration, (likelihood, prior, wall, cpu) in enumerate(zip(*columns, strict=True), 1)
    )


def _scaled_as(estimator: Estimator, dataset: SequenceDataset, scaled: bool) -> tuple[Sequences, tuple[str, ...]]:
    """What it was fitted on, with the windows of a dataset, and notes on how that is known."""
    name, own, theirs = type(estimator).__name__, getattr(estimator, "fitted_on_", None), Sequences.of(dataset)
    if own is not None:
        windows = {field: getattr(theirs, field) for field in ("context", "horizon", "lead")}
        data: Sequences = own.model_copy(update=windows)
        if not scaled:
            data.check(dataset, name)
            return data, ()
    elif not scaled:
        raise InputError(
            f"{name}: was not fitted on a dataset, and does not know the scale of {dataset.location}: fit it on that, or, where "
            "its readings were scaled as those of the dataset are, say so with scaled=True"
        )
    channels = estimator.parameters_.emission.channels
    if channels != len(dataset.channels):
        raise InputError(f"{name}: has {channels} channels, and {dataset.location} has {len(dataset.channels)}")
    return theirs, (f"fitted on readings that are scaled as those of {dataset.location}, as its user says",)
