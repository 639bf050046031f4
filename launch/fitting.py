"""Fits models of any kind, on Spark, on the ranks of horovodrun, or in this process."""

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
    """Opens a dataset for a fit, and prints which of its columns only some kinds use. Raises InputError where there is none."""
    dataset = SequenceDataset.open(location)
    run().note(dataset={"location": dataset.location, "digest": dataset.digest})
    if first_rank() and (words := covariates_in_words(dataset)):
        console.print(words, highlight=False, markup=False)
    return dataset


def covariates_in_words(dataset: SequenceDataset) -> str:
    """A sentence about the columns that only some kinds of models use; empty where there are none."""
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
    """Fits a model of the kind. Returns None on every rank of horovodrun but the first. See `hindcast.forecasting.kind.Job`.

    Raises InputError before any work is done, where the dataset, the settings or the machines do not suit the fit.
    """
    kind.takes(settings).refuse(dataset, f"`fit {kind.name}` with these settings")
    with where_on(cluster, f"hindcast fit {kind.name}", spark) as where:
        job = Job(dataset, settings, where, watch, name, checkpoint, resume, options or {})
        kind.check(job)
        return kind.fit(job)


def defaults(kind: Kind) -> Tables:
    return {name: table() for name, table in kind.tables.items()}
