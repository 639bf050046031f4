"""Training on ranks by Horovod on Spark. Spark is handed in; TensorFlow is not imported before the ranks are done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State, TrainingFile, identity
from hindcast.deep.training.trained import Trained
from hindcast.deep.ways.ranks.elastic import must_spare_ranks, run_elastic
from hindcast.deep.ways.ranks.launcher import OnRecord, run_on_ranks
from hindcast.deep.ways.ranks.watch import Line
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

if TYPE_CHECKING:
    from hindcast.deep.forecaster import LstmForecaster


def fit_on_spark(
    spark: SparkSession,
    dataset: str | Path,
    settings: LstmSettings,
    ranks: int,
    on_epoch: OnRecord | None = None,
    checkpoint: TrainingFile | None = None,
    least_ranks: int | None = None,
    gpu_each: bool = False,
) -> LstmForecaster:
    """Fits on `ranks` Spark tasks, which must all see the dataset at this path or URI.

    `on_epoch(record)` is called here after each epoch. The checkpoint is a file of this machine: rank 0 sends what is written to
    it. With `least_ranks` the training goes on by itself where a rank is lost, from its last checkpoint, on as many ranks as are
    left, and no fewer than those: deep/ways/ranks/elastic.py. With `gpu_each` each rank has a GPU: prep/spark/gpus.py.

    Raises InputError for what the user can mend (a channel of categories, too few task slots or GPUs, a dataset that a rank
    cannot read, a checkpoint of another training, a loss that is no number), RankError where a rank raised, died or fell silent
    for longer than `settings.silence_seconds`.
    """
    began = time.perf_counter()
    opened = SequenceDataset.open(dataset)
    must_be_numbers(opened)
    settings = settings.for_windows(opened.layout.context, opened.layout.horizon)
    of = saved = write = None
    if checkpoint is not None:
        of, saved, write = checkpoint.of, checkpoint.read(), checkpoint.write
    elif least_ranks is not None:
        of = identity(opened, settings)
    options: dict[str, Any] = {
        "on_record": on_epoch, "on_checkpoint": write, "silence_seconds": settings.silence_seconds, "gpu_each": gpu_each,
    }  # fmt: skip
    if least_ranks is None:
        results = run_on_ranks(spark, _fit_rank, (saved, opened.location, settings, of), ranks=ranks, **options)
    else:
        must_spare_ranks(ranks, least_ranks, settings.batch_of)
        results = run_elastic(
            spark, _fit_rank, (opened.location, settings, of), ranks=ranks, least_ranks=least_ranks, checkpoint=saved, **options
        )
    trained, _ = results[0]
    # TensorFlow takes seconds and hundreds of megabytes, which the ranks had more use for until now.
    from hindcast.deep.forecaster import forecaster_of

    return forecaster_of(trained, opened, time.perf_counter() - began, sum(cpu_seconds for _, cpu_seconds in results))


def _fit_rank(
    line: Line, saved: bytes | None, location: str, settings: LstmSettings, of: dict[str, Any] | None
) -> tuple[Trained | None, float]:
    """On a rank: what was trained (from rank 0 alone, it is the same on all), and this process's CPU seconds.

    `of`: what checkpoints are of; without it none are taken.
    """
    from hindcast.deep.training.collective import HorovodRanks
    from hindcast.deep.ways.local import train_on

    dataset, collective, checkpoints = SequenceDataset.open(location), HorovodRanks(), {}
    if of is not None:
        resume = None if saved is None else State.from_bytes(saved, of, "the checkpoint")
        checkpoints = {"on_checkpoint": lambda state: line.checkpoint(state.to_bytes(of)), "resume": resume}
    trained = train_on(dataset, settings, collective, line.reads, on_epoch=line.record, on_step=line.step, **checkpoints)
    return trained if collective.rank == 0 else None, time.process_time()
