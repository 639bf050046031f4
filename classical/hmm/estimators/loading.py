"""Estimators that were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from classical import hmm
from classical.hmm.estimators.base import FORMAT, Estimator
from classical.hmm.monitor import Monitor
from classical.hmm.stored import model_of
from classical.persistence import decoded
from prep.errors import InputError


def load(file: str | Path) -> Estimator:
    """What `save` of an estimator wrote. Raises InputError, naming the file, where it is missing or damaged."""
    file = Path(file)
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ValueError(f"expected an object of format {FORMAT!r}")
        if stored["version"] != 1:
            raise ValueError(f"found version {stored['version']!r}, and this one reads version 1")
        return _estimator(stored)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file: the `save` of an estimator writes one") from None
    except KeyError as error:
        raise InputError(f"{file}: not an estimator, or damaged: {error} is missing") from None
    except (OSError, ValueError, TypeError, AttributeError, IndexError, InputError) as error:
        raise InputError(f"{file}: not an estimator, or damaged: {error}") from None


def _estimator(stored: dict[str, Any]) -> Estimator:
    name = stored["estimator"]
    if name not in hmm.ESTIMATORS:
        raise ValueError(f"found estimator {name!r}, expected one of {', '.join(hmm.ESTIMATORS)}")
    estimator: Estimator = getattr(hmm, name)(**stored["arguments"])
    estimator.adopt(model_of(stored["parameters"]))
    _ = estimator.parameters_  # the model may be right, and not be this estimator's
    if stored["monitor"] is not None:
        estimator.monitor_ = decoded(stored["monitor"], {"Monitor": Monitor})
        if not isinstance(estimator.monitor_, Monitor):
            raise ValueError(f"monitor: found {stored['monitor']!r}")
    return estimator
