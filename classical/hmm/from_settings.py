"""Hidden Markov models of settings: the estimators that the command line fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hindcast.classical import hmm
from hindcast.classical.hmm.estimator_arguments import arguments_of
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.prep.dataset.sequence_dataset import SequenceDataset


def fit_hmm(dataset: SequenceDataset, settings: HmmSettings, **how: Any) -> Estimator:
    """The estimator of these settings, fitted to the training split; the order is at most half of the context, and
    `monitor_.notes` say where it was lowered to that.

    how     as `Estimator.fit` takes it: a Spark session, a checkpoint, GPUs, ...

    Raises InputError as that does.
    """
    acting = settings.for_context(dataset.layout.context)
    fitted = estimator_of(acting).fit(dataset, **how)
    if acting.order < settings.order:
        half = f"order {settings.order} was lowered to {acting.order}, half of the context: the rest is left to the filter"
        fitted.monitor_ = replace(fitted.monitor_, notes=(half, *fitted.monitor_.notes))
    return fitted


def estimator_of(settings: HmmSettings, **more: Any) -> Estimator:
    """The estimator of these settings. `more`: other arguments of it, such as `n_jobs`."""
    name, arguments = arguments_of(settings)
    estimator: Estimator = getattr(hmm, name)(**arguments, **more)
    return estimator
