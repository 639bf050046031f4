"""Hidden Markov models: fitted by EM, on arrays, prepared datasets or Spark DataFrames; forecast by filtering.

from hindcast import hmm
model = hmm.GaussianHMM(3, "full").fit(X, lengths)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Compiled code is not loaded before an estimator is asked for: the command line reads the settings beside it.
ESTIMATORS = {
    "AutoregressiveHMM": "real_valued",
    "CategoricalHMM": "counts",
    "GMMHMM": "gaussian",
    "GaussianHMM": "gaussian",
    "MultinomialHMM": "counts",
    "PoissonHMM": "counts",
    "ProductHMM": "product",
    "StudentHMM": "real_valued",
}
_HOMES = {name: f"estimators.{home}" for name, home in ESTIMATORS.items()} | {
    "HmmSettings": "settings",
    "channel_kinds": "settings",
    "estimator_of": "from_settings",
    "fit_hmm": "from_settings",
    "load": "estimators.loading",
    "search_states": "search",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
