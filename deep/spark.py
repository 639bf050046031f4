"""The third way to run: ranks by Horovod on Spark. Spark is handed in; TensorFlow is not imported before the ranks are done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from deep.launcher import OnRecord, run_on_ranks
from deep.settings import LstmSettings
from deep.trained import Trained
from deep.watch import Line
from forecasting.inputs import must_be_numbers
from prep.dataset import SequenceDataset

if TYPE_CHECKING:
    from deep.forecaster import LstmForecaster


def fit_on_spark(
    spark: SparkSession, dataset: str | Path, settings: LstmSettings, ranks: int, on_epoch: OnRecord | None = None
) -> LstmForecaster:
    """Fits on `ranks` Spark tasks, which must all see the dataset at this path or URI.

    `on_epoch(record)` is called here after each epoch. Raises InputError for what the user can mend (a channel of categories, too
    few task slots, a dataset that a rank cannot read, a loss that is no number), RankError where a rank raised, died or fell
    silent for longer than `settings.silence_seconds`.
    """
    began = time.perf_counter()
    opened = SequenceDataset.open(dataset)
    must_be_numbers(opened)
    settings = settings.for_windows(opened.layout.context, opened.layout.horizon)
    results = run_on_ranks(
        spark, _fit_rank, (opened.location, settings), ranks=ranks, silence_seconds=settings.silence_seconds, on_record=on_epoch
    )
    trained, _ = results[0]
    # TensorFlow takes seconds and hundreds of megabytes, which the ranks had more use for until now.
    from deep.forecaster import forecaster_of

    return forecaster_of(trained, opened, time.perf_counter() - began, sum(cpu_seconds for _, cpu_seconds in results))


def _fit_rank(line: Line, location: str, settings: LstmSettings) -> tuple[Trained | None, float]:
    """On a rank: what was trained (from rank 0 alone, it is the same on all), and this process's CPU seconds."""
    from deep.collective import HorovodRanks
    from deep.training import train

    dataset: Any = SequenceDataset.open(location)
    collective = HorovodRanks()
    trained = train(dataset.windows("train"), dataset.windows("validation"), settings, collective, line.record, line.step)
    return trained if collective.rank == 0 else None, time.process_time()
