"""Estimators that were saved, by themselves or by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hindcast.classical import em, hmm
from hindcast.classical.hmm.estimators.base import Estimator
from hindcast.classical.hmm.monitor import Monitor
from hindcast.classical.hmm.part import HmmPart
from hindcast.classical.hmm.saving import PARAMETERS, read
from hindcast.classical.hmm.stored import model_of, read_model
from hindcast.classical.persistence import decoded
from hindcast.forecasting.card import CARD, Card
from hindcast.prep.errors import InputError

# A file in place of a folder, as version 0.2 wrote estimators.
FORMAT = "hindcast-hmm"


def load(folder: str | Path) -> Estimator:
    """The estimator in a folder that `save` of an estimator wrote, or `hindcast fit hmm`.

    Raises InputError, naming the file, where it is missing or damaged.
    """
    folder = Path(folder)
    if folder.is_file():
        return _of_file(folder)
    card = read(folder)
    model, part = read_model(folder / PARAMETERS), card.part
    try:
        estimator = _new_estimator(part.estimator, part.arguments).adopt(model)
        _ = estimator.parameters_  # the model may be right, and not be this estimator's
    except (ValueError, TypeError, AttributeError, IndexError, InputError) as error:
        raise InputError(f"{folder / CARD}: not that of the {PARAMETERS} beside it ({error}): fit the model again") from None
    estimator.fitted_on_ = card.data
    if part.stopped_by is not None:
        estimator.history_ = _history(card, part.stopped_by)
        estimator.monitor_ = _monitor(card, estimator)
    return estimator


def _new_estimator(name: str, arguments: Any) -> Estimator:
    if name not in hmm.ESTIMATORS:
        raise ValueError(f"found estimator {name!r}, expected one of {', '.join(hmm.ESTIMATORS)}")
    estimator: Estimator = getattr(hmm, name)(**arguments)
    return estimator


def _history(card: Card[HmmPart], stopped_by: em.StoppedBy) -> em.History:
    """Cards of version 0.2 do not tell of priors, as there were none."""
    columns = {name: tuple(row.get(name, 0.0) for row in card.history) for name in ("log_likelihood", "log_prior")}
    seconds = {name: tuple(row.get(name, 0.0) for row in card.history) for name in ("seconds", "cpu_seconds")}
    return em.History(**columns, **seconds, count=card.part.steps, stopped_by=stopped_by)


def _monitor(card: Card[HmmPart], estimator: Estimator) -> Monitor:
    history, repairs = estimator.history_, card.part.repairs
    notes = card.notes[: len(card.notes) - len(repairs)]
    how_long = card.fit_seconds, card.fit_cpu_seconds
    return Monitor(history.log_likelihood, estimator.tol, estimator.n_iter, history.stopped_by, repairs, notes, *how_long)


def _of_file(file: Path) -> Estimator:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ValueError(f"expected an object of format {FORMAT!r}")
        if stored["version"] != 1:
            raise ValueError(f"found version {stored['version']!r}, and this one reads version 1")
        estimator = _new_estimator(stored["estimator"], stored["arguments"]).adopt(model_of(stored["parameters"]))
        _ = estimator.parameters_
        if stored["monitor"] is not None:
            later = {"notes": [], "seconds": 0.0, "cpu_seconds": 0.0}
            estimator.monitor_ = decoded(stored["monitor"] | later, {"Monitor": Monitor})
            if not isinstance(estimator.monitor_, Monitor):
                raise ValueError(f"monitor: found {stored['monitor']!r}")
        return estimator
    except KeyError as error:
        raise InputError(f"{file}: not an estimator, or damaged: {error} is missing") from None
    except (OSError, ValueError, TypeError, AttributeError, IndexError, InputError) as error:
        raise InputError(f"{file}: not an estimator, or damaged: {error}") from None
