"""Two of the three ways to run: in this process alone, or as one of the processes that horovodrun started."""

from __future__ import annotations

import time

from deep.collective import HorovodRanks, OneProcess
from deep.forecaster import LstmForecaster, forecaster_of
from deep.settings import LstmSettings
from deep.started import started_by_horovod
from deep.training import OnEpoch, train
from deep.watchdog import Watchdog
from forecasting.inputs import must_be_numbers
from prep.dataset import SequenceDataset


def fit(dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None) -> LstmForecaster | None:
    """Under horovodrun `fit_rank`, otherwise `fit_local`: what a script calls that may be started either way."""
    return fit_rank(dataset, settings, on_epoch) if started_by_horovod() else fit_local(dataset, settings, on_epoch)


def fit_local(dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None) -> LstmForecaster:
    """Fits in this process. Raises InputError where a channel is a category, and as `train` does."""
    must_be_numbers(dataset)
    trained = train(dataset.windows("train"), dataset.windows("validation"), settings, OneProcess(), on_epoch)
    return forecaster_of(trained, dataset)


def fit_rank(dataset: SequenceDataset, settings: LstmSettings, on_epoch: OnEpoch | None = None) -> LstmForecaster | None:
    """Fits together with the other processes, which must all call this with the same arguments.

    Only rank 0 calls `on_epoch` and gets the forecaster, to print and write with; the others get None. A rank that takes no step
    for `settings.silence_seconds` ends its process, and so the run.
    """
    began = time.perf_counter()
    must_be_numbers(dataset)
    collective = HorovodRanks()
    watchdog = Watchdog(collective.rank, settings.silence_seconds)
    try:
        trained = train(dataset.windows("train"), dataset.windows("validation"), settings, collective, on_epoch, watchdog.step)
    finally:
        watchdog.stop()
    return forecaster_of(trained, dataset, time.perf_counter() - began) if collective.rank == 0 else None
