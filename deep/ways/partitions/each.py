"""One model a series, or a group of series: each is trained by one task, one after the other, on one traced network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import SparkSession

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings, PartitionSettings
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.partitions.groups import must_have_groups
from hindcast.deep.ways.partitions.row_groups import Survey
from hindcast.deep.ways.partitions.tasks import prepare_worker, watched, windows_at
from hindcast.prep.dataset.blocks import Address
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described

# Small tasks end together, and say more often how far they are; a worker keeps its network from one to the next.
TASKS_A_SLOT = 8

OnModels = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """The data of one model: series, the row groups that hold them, and the number of their training `windows`."""

    key: str
    series: tuple[str, ...]
    windows: int
    training: tuple[Address, ...]
    validation: tuple[Address, ...]


@dataclass(frozen=True)
class Outcome:
    """The result for a key: a training, or the reason why there is none."""

    key: str
    windows: int
    trained: Trained | None
    why_not: str = ""


@dataclass(frozen=True)
class Plan:
    """The models to train.

    works       one for each key with enough training windows
    key_of      series → key, for the series of all splits
    without     key, or a series without a key → the reason why there is no model
    """

    works: tuple[Work, ...]
    key_of: dict[str, str]
    without: dict[str, str]


def plan(dataset: SequenceDataset, survey: Survey, settings: PartitionSettings) -> Plan:
    """The plan for a dataset whose row groups are in `survey`.

    Raises InputError where the attribute to group by does not exist, or no key has enough windows.
    """
    key_of, without = _keys(dataset, survey, settings)
    series: dict[str, set[str]] = defaultdict(set)
    windows: dict[str, int] = defaultdict(int)
    addresses: dict[tuple[str, str], dict[Address, None]] = defaultdict(dict)
    for group in survey.row_groups:
        for name in np.unique(group.series).tolist():
            count = int(group.windows[group.series == name].sum())
            if name in key_of and count:
                key = key_of[name]
                series[key].add(name)
                addresses[group.split, key][group.address] = None
                windows[key] += count if group.split == "train" else 0
    works = []
    for key in sorted(set(key_of.values())):
        if windows[key] < settings.least_windows:
            without[key] = f"{windows[key]} training windows, and at least {settings.least_windows} were asked for"
            continue
        mine = [tuple(addresses[split, key]) for split in ("train", "validation")]
        works.append(Work(key, tuple(sorted(series[key])), windows[key], *mine))
    if not works:
        raise InputError(
            f"{dataset.location}: no series has {settings.least_windows} training windows or more: each is too short, or broken "
            "by gaps. Prepare it with shorter windows or a longer training split, or lower partitions.least_windows"
        )
    return Plan(tuple(works), key_of, without)


def _keys(dataset: SequenceDataset, survey: Survey, settings: PartitionSettings) -> tuple[dict[str, str], dict[str, str]]:
    """Of each series the key of its model; of those without one, why."""
    names = [column.name for column in dataset.manifest.attributes]
    by = settings.group_by
    must_have_groups(dataset, settings)
    key_of, without = {}, {}
    for group in survey.row_groups:
        for name, row in zip(*np.unique(group.series, return_index=True), strict=True):
            if by is None:
                key_of[str(name)] = str(name)
                continue
            column, value = dataset.manifest.attributes[names.index(by)], float(group.attributes[row, names.index(by)])
            if not np.isfinite(value):
                without[str(name)] = f"its attribute {by!r} is missing"
            else:
                key_of[str(name)] = column.vocabulary.words[int(value)] if column.vocabulary else f"{value:g}"
    return key_of, without


def train_each(
    spark: SparkSession,
    dataset: SequenceDataset,
    works: Sequence[Work],
    inputs: Inputs,
    settings: LstmSettings,
    on_models: OnModels | None = None,
) -> Iterator[Outcome]:
    """An outcome for each of `works`. `on_models(trained, total)` is called meanwhile.

    Outcomes wait on the disks of Spark's executors until all are there, and then come here a task at a time.
    """
    context = spark.sparkContext
    tasks = min(len(works), TASKS_A_SLOT * context.defaultParallelism)
    # The longest first, and each task some long and some short ones.
    by_size = sorted(works, key=lambda work: (-work.windows, work.key))
    shares = [by_size[task::tasks] for task in range(tasks)]
    trained, location, digest = context.accumulator(0), dataset.location, dataset.digest

    def train_share(share: Sequence[Work]) -> Iterator[Outcome]:
        prepare_worker()
        for outcome in train_works(location, digest, share, inputs, settings):
            trained.add(1)
            yield outcome

    outcomes = context.parallelize(shares, tasks).flatMap(train_share).persist(StorageLevel.DISK_ONLY)
    try:
        with described(context, f"training {len(works):,} models"):
            watched(outcomes.count, lambda: on_models(min(trained.value, len(works)), len(works)) if on_models else None)
        with described(context, "fetching models"):
            yield from outcomes.toLocalIterator()
    finally:
        outcomes.unpersist()


def train_works(location: str, digest: str, works: Iterable[Work], inputs: Inputs, settings: LstmSettings) -> Iterator[Outcome]:
    """Trains `works` in this process, one after the other. An InputError about the data of a series becomes its outcome.

    Raises RuntimeError, with the key, for any other exception.
    """
    from hindcast.deep.training.collective import OneProcess
    from hindcast.deep.training.training import train
    from hindcast.deep.ways.partitions.reused_learner import reused_learner

    for work in works:
        try:
            training, validation = (
                windows_at(location, digest, split, addresses).of_series(work.series)
                for split, addresses in (("train", work.training), ("validation", work.validation))
            )
            trained = train(training, validation, inputs, settings, OneProcess(), make=reused_learner)
        except InputError as error:
            yield Outcome(work.key, work.windows, None, str(error))
        except Exception as error:
            raise RuntimeError(f"the model of {work.key!r}: {type(error).__name__}: {error}") from error
        else:
            yield Outcome(work.key, work.windows, trained)
