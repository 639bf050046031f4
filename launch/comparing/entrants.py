"""The entrants of a comparison: models in folders, models of the user's own, and models that are fitted for it."""

from __future__ import annotations

import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hindcast.forecasting.card import must_forecast, read_card
from hindcast.forecasting.entrant import Entrant, must_be_names
from hindcast.forecasting.kind import Job, Kind, Tables
from hindcast.forecasting.scoring import in_a_line
from hindcast.forecasting.task import FORECAST, Task
from hindcast.launch.kinds import KINDS, kind_named
from hindcast.launch.models import kind_of, load
from hindcast.launch.settings import Settings
from hindcast.launch.spark.cluster import where_on
from hindcast.launch.watching.progress import EntrantWatch, Progress
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class EntrantRequest:
    """An entrant before it exists. It has a `folder` with a model, or a `factory` (package.module:name), or the `kind` and the
    settings `tables` of a model to fit."""

    name: str
    folder: Path | None = None
    factory: str = ""
    kind: Kind | None = None
    tables: Tables | None = None


def entrant_requests(
    models: Sequence[str], fits: Sequence[str], settings: Settings, task: Task = FORECAST
) -> list[EntrantRequest]:
    """The requests of `--model NAME=FOLDER`, `--model NAME=package.module:factory` and `--fit [NAME=]KIND`, in this order.

    Without `--fit`, every entrant of the settings is fitted. Without entrants in the settings and without `--model`, a model of
    each kind is. Raises InputError for a name that is there twice or is a baseline's, for an unknown kind, and for a `--model`
    that is neither a folder nor a factory.
    """
    requests = [_model(text) for text in models]
    if fits:
        requests += [_fit(text, settings) for text in fits]
    elif settings.entrants:
        requests += [EntrantRequest(name, None, "", *settings.entrant(name)) for name in settings.entrants]
    elif not models:
        requests = [_fit(kind.name, settings) for kind in KINDS.values() if task in kind.tasks]
    must_be_names([request.name for request in requests], task.baselines)
    return requests


def must_suit(requests: Sequence[EntrantRequest], dataset: SequenceDataset, task: Task = FORECAST) -> None:
    """Raises InputError for a model that cannot be fitted on this dataset, or that cannot do the task after its fit."""
    for request in requests:
        if request.kind is None or request.tables is None:
            continue
        takes = request.kind.takes(request.tables)
        if task not in request.kind.tasks or not takes.forecasts:
            raise InputError(
                f"{request.name}: {request.kind.plural} with these settings cannot {task.verb}: leave it out of the comparison, "
                "or choose other settings"
            )
        takes.refuse(dataset, f"{request.name}, one of the {request.kind.plural},")


def enter(
    requests: Sequence[EntrantRequest],
    dataset: SequenceDataset,
    settings: Settings,
    progress: Progress,
    spark: SparkSession | None = None,
    task: Task = FORECAST,
) -> list[Entrant]:
    """Loads models, calls factories and fits models, in this order; returns the entrants in the order of the requests.

    Everything that can be checked without a factory or a fit is checked before them.

    spark   a session that exists already; without it, one is started when a fit first needs it

    Raises InputError for a model that cannot forecast this dataset, that does not answer as the task asks, or that cannot be
    fitted.
    """
    by_name: dict[str, Entrant] = {}
    for request in requests:
        if request.folder is not None:
            by_name[request.name] = entrant_of(
                request.name, load(request.folder, dataset), kind_of(read_card(request.folder), request.folder)
            )
    factories = {request.name: (request, _imported(request)) for request in requests if request.factory}
    with where_on(settings.cluster, "hindcast compare", spark) as where:
        jobs: dict[str, tuple[Kind, Job]] = {}
        for request in requests:
            if request.kind is not None and request.tables is not None:
                jobs[request.name] = (
                    request.kind,
                    Job(dataset, request.tables, where, EntrantWatch(progress, request.name, request.kind.name)),
                )
        for kind, job in jobs.values():
            kind.check(job)
        for name, (request, factory) in factories.items():
            with progress.stage(name, about=request.factory):
                by_name[name] = _from_factory(request, factory, dataset, task)
        for name, (kind, job) in jobs.items():
            by_name[name] = entrant_of(name, kind.fit(job), kind)
    return [by_name[request.name] for request in requests]


def entrant_of(name: str, model: Any, kind: Kind) -> Entrant:
    """A fitted model of a kind under a name, described by its card.

    Raises ValueError for one that has none, InputError for one that forecasts nothing.
    """
    card = model.card
    if card is None:
        raise ValueError(f"{name}: only a model that was fitted on a dataset, or loaded, can be compared")
    must_forecast(card, name)
    return Entrant(
        name, model, "model", kind.describe(card), card.fit_seconds, card.fit_cpu_seconds, card.parameters, card.bytes, card
    )


def _model(text: str) -> EntrantRequest:
    name, equals, where = text.partition("=")
    if not equals or not where:
        raise InputError(f"--model {text}: expected NAME=FOLDER, or NAME=package.module:factory")
    if Path(where).exists() or not FACTORY.fullmatch(where):
        return EntrantRequest(name, folder=Path(where))
    return EntrantRequest(name, factory=where)


def _fit(text: str, settings: Settings) -> EntrantRequest:
    name, equals, word = text.partition("=")
    if name in settings.entrants:
        kind, tables = settings.entrant(name)
        if equals and word != kind.name:
            raise InputError(f"--fit {text}: the settings have entrants.{name}.kind = {kind.name!r}: say the one or the other")
        return EntrantRequest(name, kind=kind, tables=tables)
    more = f" and the entrants {', '.join(settings.entrants)}" if settings.entrants and not equals else ""
    kind = kind_named(word if equals else name, f"--fit {text}", more)
    return EntrantRequest(name, kind=kind, tables=settings.of(kind))


def _from_factory(request: EntrantRequest, factory: Callable[..., Any], dataset: SequenceDataset, task: Task) -> Entrant:
    """Calls a factory with the dataset, of which it gets no file of the test split, and tries what it makes."""
    where = f"--model {request.name}={request.factory}"
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        model = factory(dataset.without("test")) if _takes_the_dataset(factory) else factory()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: the factory raised {in_a_line(error)}") from error
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    task.must_answer(model, where)
    lines = (getattr(model, "__doc__", None) or "").strip().splitlines()
    description = f"a model of your own, {request.factory}" + (f": {lines[0]}" if lines else "")
    size = getattr(model, "parameters", None)  # of other libraries' models often a method
    parameters = int(size) if isinstance(size, int | np.integer) and size >= 0 else None
    entrant = Entrant(request.name, model, "model", description, wall, cpu, parameters)
    task.try_out(entrant, dataset)
    return entrant


def _takes_the_dataset(factory: Callable[..., Any]) -> bool:
    """Whether it cannot be called with nothing."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # of compiled code
        return True
    return any(
        parameter.default is parameter.empty and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


def _imported(request: EntrantRequest) -> Callable[..., Any]:
    """`package.module:factory`; what lies in the working folder can be imported too, after everything that is installed."""
    where, (module, _, name) = f"--model {request.name}={request.factory}", request.factory.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        target: Any = import_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: {module} cannot be imported: {in_a_line(error)}") from error
    for part in name.split("."):
        if not hasattr(target, part):
            raise InputError(f"{where}: {module} has no {name!r}; expected a callable that returns a model")
        target = getattr(target, part)
    if not callable(target):
        raise InputError(f"{where}: found {type(target).__name__}, expected a callable that returns a model")
    return target
