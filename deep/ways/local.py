"""Training in this process alone, or as one of the processes that horovodrun started."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hindcast.deep.forecaster import LstmForecaster, forecaster_of
from hindcast.deep.inputs import inputs_of
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import TrainingFile
from hindcast.deep.training.collective import Collective, HorovodRanks, OneProcess
from hindcast.deep.training.trained import Trained
from hindcast.deep.training.training import OnEpoch, train
from hindcast.deep.ways.ranks.watchdog import Watchdog
from hindcast.deep.ways.started import started_by_horovod
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError


def fit(
    dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None, checkpoint: TrainingFile | None = None
) -> LstmForecaster | None:
    """`fit_rank` under horovodrun, otherwise `fit_local`: for scripts that may be started either way."""
    return (fit_rank if started_by_horovod() else fit_local)(dataset, settings, on_epoch, checkpoint)


def fit_local(
    dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None, checkpoint: TrainingFile | None = None
) -> LstmForecaster:
    """Fits in this process. Raises InputError where a channel is a category or the checkpoint of no use, and as `train` does."""
    return forecaster_of(train_on(dataset, settings, OneProcess(), on_epoch=on_epoch, **_saved(checkpoint)), dataset)


def fit_rank(
    dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None, checkpoint: TrainingFile | None = None
) -> LstmForecaster | None:
    """Fits together with the other processes, which must all call this with the same arguments.

    Only rank 0 calls `on_epoch` and gets the forecaster, to print and write with; the others get None. A rank that takes no step
    for `settings.silence_seconds` ends its process, and so the run. Every rank reads the checkpoint that it goes on from. Where
    its host has GPUs, it takes the one of its local rank.
    """
    began = time.perf_counter()
    must_be_numbers(dataset)
    saved = _saved(checkpoint)
    collective = HorovodRanks()
    _see_own_gpu()
    watchdog = Watchdog(collective.rank, settings.silence_seconds)
    try:
        trained = train_on(dataset, settings, collective, watchdog.reads, on_epoch=on_epoch, on_step=watchdog.step, **saved)
    finally:
        watchdog.stop()
    return forecaster_of(trained, dataset, time.perf_counter() - began) if collective.rank == 0 else None


def _see_own_gpu() -> None:
    """Of the GPUs that all ranks of this host see, each takes its own. Raises InputError where there are fewer than ranks."""
    gpus, number = tf.config.list_physical_devices("GPU"), int(os.environ.get("HOROVOD_LOCAL_RANK", "0"))
    if not gpus:
        return
    if len(gpus) == 1 and "CUDA_VISIBLE_DEVICES" in os.environ:  # whoever started this rank has chosen already
        return
    if number >= len(gpus):
        raise InputError(
            f"rank {number} of those on {socket.gethostname()} finds {len(gpus)} GPUs: start no more ranks a host than it has "
            "GPUs, or hide them all from TensorFlow (CUDA_VISIBLE_DEVICES=-1)"
        )
    tf.config.set_visible_devices(gpus[number], "GPU")


def train_on(
    dataset: SequenceDataset,
    settings: LstmSettings,
    collective: Collective,
    on_block: Callable[[], None] = lambda: None,
    **progress: Any,
) -> Trained:
    """`train` on the windows of a dataset. `on_block` is called after each row group that is read.

    Raises InputError where a channel is a category, and as `train` does.
    """
    must_be_numbers(dataset)
    training, validation = (dataset.windows(split, on_block=on_block) for split in ("train", "validation"))
    inputs = inputs_of(dataset, training, settings)
    return train(training, validation, inputs, settings, collective, **progress)


def _saved(checkpoint: TrainingFile | None) -> dict[str, Any]:
    return {} if checkpoint is None else {"on_checkpoint": checkpoint.save, "resume": checkpoint.restore()}
