"""The ways to train, one table, and the way that a job takes. TensorFlow is not imported before a model is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hindcast.deep.training.checkpoints import TrainingFile
from hindcast.deep.ways.partitions.groups import must_have_groups
from hindcast.deep.ways.started import started_by_horovod
from hindcast.forecasting.kind import Job
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from hindcast.deep.forecaster import LstmForecaster

OnEpoch = Callable[[dict[str, float]], None]
# The words of the settings and of the record of a run.
TABLE, STAGE = "lstm", "LSTM"


@dataclass(frozen=True)
class Way:
    """check  (job): raises InputError for what this way cannot do, before any work
    fit    (job, on_epoch, checkpoint) -> the model; None on a rank that is not the first
    """

    check: Callable[[Job], None]
    fit: Callable[[Job, OnEpoch, TrainingFile | None], LstmForecaster | None]


def way_of(job: Job) -> Way:
    """The way that a job takes. Where horovodrun started this process it is "horovodrun", whatever the settings say."""
    return WAYS["horovodrun" if started_by_horovod() else job.where.on]


def _check_processes(job: Job) -> None:
    if job.where.least_ranks is not None:
        raise InputError("cluster.least_ranks: a training outlives its ranks with Horovod on Spark alone: leave it out here")
    if job.where.gpus_per_worker is not None:
        raise InputError(
            "cluster.gpus_per_worker: Spark gives out GPUs to ranks of Horovod on Spark alone: leave it out here, and say by "
            "CUDA_VISIBLE_DEVICES what a process sees"
        )


def _check_partitions(job: Job) -> None:
    _check_processes(job)
    if job.resume:
        raise InputError("--resume: a fit in partitions leaves no checkpoint to go on from: fit anew, without it")
    must_have_groups(job.dataset, job.settings["partitions"])


def _check_on_spark(job: Job) -> None:
    job.where.ranks(job.where.session())


def _in_processes(job: Job, on_epoch: OnEpoch, checkpoint: TrainingFile | None) -> LstmForecaster | None:
    from hindcast.deep.ways.local import fit

    with job.watch.stage(STAGE):
        return fit(job.dataset, job.settings[TABLE], on_epoch, checkpoint)


def _in_partitions(job: Job, on_epoch: OnEpoch, checkpoint: TrainingFile | None) -> LstmForecaster:
    from hindcast.deep.ways.partitions.in_partitions import fit_in_partitions

    def on_models(trained: int, total: int) -> None:
        job.watch.gauge("models", trained)
        job.watch.update(f"{trained:,} of {total:,} models")

    spark = job.where.session()
    with job.watch.stage(STAGE, spark, "in Spark's partitions"):
        settings, partitions = job.settings[TABLE], job.settings["partitions"]
        return fit_in_partitions(spark, job.dataset.location, settings, partitions, on_epoch, on_models)


def _on_spark(job: Job, on_epoch: OnEpoch, checkpoint: TrainingFile | None) -> LstmForecaster:
    from hindcast.deep.ways.spark import fit_on_spark

    where, spark = job.where, job.where.session()
    ranks, gpu_each = where.ranks(spark), where.gpus_per_worker is not None
    with job.watch.stage(STAGE, spark, f"Horovod on Spark, {ranks} ranks" + (" with a GPU each" if gpu_each else "")):
        return fit_on_spark(
            spark, job.dataset.location, job.settings[TABLE], ranks, on_epoch, checkpoint, where.least_ranks, gpu_each
        )


WAYS = {
    "local": Way(_check_processes, _in_processes),
    "horovodrun": Way(_check_processes, _in_processes),
    "partitions": Way(_check_partitions, _in_partitions),
    "horovod": Way(_check_on_spark, _on_spark),
}
