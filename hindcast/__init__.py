"""Sequence modelling on Spark: one dataset of fixed-length sequences for models of many kinds, and an honest comparison.

import hindcast as hc

dataset = hc.prepare("readings.csv", time="time", series="sensor", context=96, horizon=24)
model = hc.fit("hmm", dataset, states=4)
hc.compare(dataset, {"four": model}).show()

What is listed here is public, and kept from version to version; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hindcast.classical import hmm as hmm
    from hindcast.forecasting.baselines.baselines import RepeatLast as RepeatLast
    from hindcast.forecasting.baselines.baselines import SeasonalNaive as SeasonalNaive
    from hindcast.forecasting.baselines.linear import fit_linear as fit_linear
    from hindcast.forecasting.forecast import Forecast as Forecast
    from hindcast.forecasting.forecast import Quantiles as Quantiles
    from hindcast.forecasting.metrics import errors as errors
    from hindcast.forecasting.values import forecast_values as forecast_values
    from hindcast.launch.api import append as append
    from hindcast.launch.api import compare as compare
    from hindcast.launch.api import fit as fit
    from hindcast.launch.api import forecast as forecast
    from hindcast.launch.api import load as load
    from hindcast.launch.api import prepare as prepare
    from hindcast.launch.api import save as save
    from hindcast.launch.comparing.compare import Comparison as Comparison
    from hindcast.launch.spark.session import spark_session as spark_session
    from hindcast.prep.dataset.sequence_dataset import SequenceDataset as SequenceDataset
    from hindcast.prep.errors import InputError as InputError
    from hindcast.prep.errors import RunError as RunError

__version__ = "0.3.0"

# A name, and where it is defined; a module where it is the module itself.
_HOMES = {
    "Comparison": "launch.comparing.compare",
    "Forecast": "forecasting.forecast",
    "InputError": "prep.errors",
    "Quantiles": "forecasting.forecast",
    "RepeatLast": "forecasting.baselines.baselines",
    "RunError": "prep.errors",
    "SeasonalNaive": "forecasting.baselines.baselines",
    "SequenceDataset": "prep.dataset.sequence_dataset",
    "append": "launch.api",
    "compare": "launch.api",
    "errors": "forecasting.metrics",
    "fit": "launch.api",
    "fit_linear": "forecasting.baselines.linear",
    "forecast": "launch.api",
    "forecast_values": "forecasting.values",
    "hmm": "classical",
    "load": "launch.api",
    "prepare": "launch.api",
    "save": "launch.api",
    "spark_session": "launch.spark.session",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "hmm":
        return import_module("hindcast.classical.hmm")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
