"""Training in Spark's partitions: one model a series or a group of series, or one whose weights are averaged.

Plain Spark jobs of tasks that are functions of dataset and settings alone: what Spark repeats comes out the same. TensorFlow is
not imported here before the tasks are done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import SparkSession

from hindcast.deep.inputs import Inputs, inputs_of
from hindcast.deep.part import Partitioned
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.partitions.averaged import train_averaged
from hindcast.deep.ways.partitions.each import OnModels, Outcome, Plan, plan, train_each
from hindcast.deep.ways.partitions.row_groups import survey
from hindcast.deep.weights_files import Entry, Index, Models
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from hindcast.deep.forecaster import LstmForecaster, SeriesForecaster

# Of keys without a model, so many are named in a warning.
MOST_NAMES = 5


def fit_in_partitions(
    spark: SparkSession,
    dataset: str | Path,
    settings: LstmSettings,
    partitions: PartitionSettings,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_models: OnModels | None = None,
) -> LstmForecaster:
    """Fits in Spark's tasks, which must all see the dataset at this path or URI.

    `on_epoch(record)` is called after each round of "averaged", `on_models(trained, total)` while there are models to train. A
    series that cannot be trained on is named in a warning and in the model's index, and the others are fitted. Raises InputError
    where that leaves none, and where a channel is a category or there is no such attribute to group by.
    """
    began = time.perf_counter()
    opened = SequenceDataset.open(dataset)
    must_be_numbers(opened)
    settings = settings.for_windows(opened.layout.context, opened.layout.horizon)
    row_groups = survey(spark, opened)
    inputs = inputs_of(opened, row_groups, settings) if row_groups.blocks else None
    if inputs is None:
        raise InputError(f"{opened.location}: the training split holds no rows")
    if partitions.models == "averaged":
        count = partitions.count or spark.sparkContext.defaultParallelism
        trained = train_averaged(spark, opened, inputs, settings, count, on_epoch)
        from hindcast.deep.forecaster import forecaster_of

        return forecaster_of(trained, opened, time.perf_counter() - began)
    work_plan = plan(opened, row_groups, partitions)
    outcomes = list(train_each(spark, opened, work_plan.works, inputs, settings, on_models))
    return _forecaster(opened, partitions, inputs, work_plan, outcomes, began)


def _forecaster(
    dataset: SequenceDataset,
    partitions: PartitionSettings,
    inputs: Inputs,
    work_plan: Plan,
    outcomes: list[Outcome],
    began: float,
) -> SeriesForecaster:
    from hindcast.deep.forecaster import SeriesForecaster, forecaster_of

    fitted = {
        outcome.key: (outcome.windows, outcome.trained)
        for outcome in sorted(outcomes, key=lambda outcome: outcome.key)
        if outcome.trained is not None
    }
    without = work_plan.without | {outcome.key: outcome.why_not for outcome in outcomes if outcome.trained is None}
    _warn(without, len(fitted))
    if not fitted:
        key, why = min(without.items())
        raise InputError(f"no model could be fitted, not one of {len(without)}; of {key!r}: {why}")
    entries = {
        key: Entry(
            file=f"weights-{number:06d}.npz", sha256=trained.weights_digest, windows=windows, epochs=len(trained.history),
            best_epoch=trained.best_epoch, validation_loss=trained.history[trained.best_epoch - 1].get("validation_loss"),
        )
        for number, (key, (windows, trained)) in enumerate(fitted.items())
    }  # fmt: skip
    index = Index(models=entries, key_of=work_plan.key_of, without=without)
    seconds = time.perf_counter() - began
    single = forecaster_of(_summary(inputs, list(fitted.values()), seconds), dataset)
    options = partitions.model_dump(include={"models", "group_by", "least_windows"})
    partitioned = Partitioned(**options, fitted=len(fitted), without_model=len(without))
    card = single.card.model_copy(
        update={
            "parameters": single.card.parameters * len(fitted),
            "bytes": single.card.bytes * len(fitted),
            "part": single.card.part.model_copy(update={"partitioned": partitioned}),
        }
    )
    return SeriesForecaster(single.network, card, Models(index, {key: trained.weights for key, (_, trained) in fitted.items()}))


def _summary(inputs: Inputs, trainings: Sequence[tuple[int, Trained]], seconds: float) -> Trained:
    """Of many trainings: each epoch's losses are means over the models that were still being trained, weighted by windows."""
    first = trainings[0][1]
    history = []
    for epoch in range(max(len(trained.history) for _, trained in trainings)):
        of_epoch = [(windows, trained.history[epoch]) for windows, trained in trainings if len(trained.history) > epoch]
        names = ("epoch", "loss", "validation_loss", "learning_rate")
        record = {}
        for name in names:
            values = [(windows, past[name]) for windows, past in of_epoch if name in past]
            if values:
                record[name] = float(np.average([value for _, value in values], weights=[windows for windows, _ in values]))
        history.append({**record, "seconds": sum(past["seconds"] for _, past in of_epoch), "models": float(len(of_epoch))})
    best_epoch = int(np.median([trained.best_epoch for _, trained in trainings]))
    cpu_seconds = sum(trained.cpu_seconds for _, trained in trainings)
    return Trained(
        first.settings, inputs, first.weights, tuple(history), best_epoch, first.weights_digest, 1, seconds, cpu_seconds
    )


def _warn(without: dict[str, str], fitted: int) -> None:
    if without:
        names = "; ".join(f"{key!r}: {why}" for key, why in sorted(without.items())[:MOST_NAMES])
        more = f"; and {len(without) - MOST_NAMES} more, which models.json names" if len(without) > MOST_NAMES else ""
        logging.getLogger(__name__).warning("%d of %d have no model: %s%s", len(without), fitted + len(without), names, more)
