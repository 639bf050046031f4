"""Two of the three ways to run: in this process alone, or as one of the processes that horovodrun started."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from deep.checkpoints import TrainingFile
from deep.collective import Collective, HorovodRanks, OneProcess
from deep.forecaster import LstmForecaster, forecaster_of
from deep.inputs import inputs_of
from deep.ranks.watchdog import Watchdog
from deep.settings import LstmSettings
from deep.started import started_by_horovod
from deep.trained import Trained
from deep.training import OnEpoch, train
from forecasting.inputs import must_be_numbers
from prep.dataset import SequenceDataset


def fit(
    dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None, checkpoint: TrainingFile | None = None
) -> LstmForecaster | None:
    """Under horovodrun `fit_rank`, otherwise `fit_local`: what a script calls that may be started either way."""
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
    for `settings.silence_seconds` ends its process, and so the run. Every rank reads the checkpoint that it goes on from.
    """
    began = time.perf_counter()
    must_be_numbers(dataset)
    saved = _saved(checkpoint)
    collective = HorovodRanks()
    watchdog = Watchdog(collective.rank, settings.silence_seconds)
    try:
        trained = train_on(dataset, settings, collective, watchdog.reads, on_epoch=on_epoch, on_step=watchdog.step, **saved)
    finally:
        watchdog.stop()
    return forecaster_of(trained, dataset, time.perf_counter() - began) if collective.rank == 0 else None


def train_on(
    dataset: SequenceDataset,
    settings: LstmSettings,
    collective: Collective,
    on_block: Callable[[], None] = lambda: None,
    **progress: Any,
) -> Trained:
    """`train` on a dataset's windows; `on_block` is called after each row group that was read.

    Raises InputError where a channel is a category, and as `train` does.
    """
    must_be_numbers(dataset)
    training, validation = (dataset.windows(split, on_block=on_block) for split in ("train", "validation"))
    inputs = inputs_of(dataset, training, settings)
    return train(training, validation, inputs, settings, collective, **progress)


def _saved(checkpoint: TrainingFile | None) -> dict[str, Any]:
    return {} if checkpoint is None else {"on_checkpoint": checkpoint.save, "resume": checkpoint.restore()}
