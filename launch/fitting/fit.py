"""Fits models of any kind on what a run was given: Spark, the ranks of horovodrun, or this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hindcast.deep.ways.started import first_rank
from hindcast.forecasting.inputs import exclusive_inputs
from hindcast.forecasting.kind import Job, Kind, Tables, Watch
from hindcast.launch.kinds import KINDS
from hindcast.launch.settings import ClusterSettings
from hindcast.launch.spark.cluster import where_on
from hindcast.launch.watching.progress import console
from hindcast.launch.watching.runs import run
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_to_fit(location: str) -> SequenceDataset:
    """The dataset, for models to be fitted on; prints what of it not all kinds look at. Raises InputError where there is none."""
    dataset = SequenceDataset.open(location)
    run().note(dataset={"location": dataset.location, "digest": dataset.digest})
    if first_rank() and (words := covariates_in_words(dataset)):
        console.print(words, highlight=False, markup=False)
    return dataset


def covariates_in_words(dataset: SequenceDataset) -> str:
    """What of the dataset some kinds of models alone look at; empty where there is nothing."""
    takers = [kind.plural for kind in KINDS.values() if kind.takes(defaults(kind)).covariates]
    return exclusive_inputs(dataset, takers)


def fit(
    kind: Kind,
    dataset: SequenceDataset,
    settings: Tables,
    cluster: ClusterSettings,
    watch: Watch,
    *,
    name: str = "",
    checkpoint: Path | None = None,
    resume: bool = False,
    options: Mapping[str, Any] | None = None,
    spark: SparkSession | Callable[[], SparkSession] | None = None,
) -> Any:
    """A model of the kind; None on a rank of horovodrun that only helped to fit it. See `hindcast.forecasting.kind.Job`.

    Raises InputError where the dataset, the settings or the machines are not such as the fit needs, before any work is done.
    """
    kind.takes(settings).refuse(dataset, f"`fit {kind.name}` with these settings")
    with where_on(cluster, f"hindcast fit {kind.name}", spark) as where:
        job = Job(dataset, settings, where, watch, name, checkpoint, resume, options or {})
        kind.check(job)
        return kind.fit(job)


def defaults(kind: Kind) -> Tables:
    return {name: table() for name, table in kind.tables.items()}
