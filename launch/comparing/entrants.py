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
class Wanted:
    """An entrant that is asked for: a model in a folder, what a factory makes, or the kind and tables of one that is fitted."""

    name: str
    folder: Path | None = None
    factory: str = ""
    kind: Kind | None = None
    tables: Tables | None = None


def wanted(models: Sequence[str], fits: Sequence[str], settings: Settings, task: Task = FORECAST) -> list[Wanted]:
    """What `--model NAME=FOLDER`, `--model NAME=package.module:factory` and `--fit [NAME=]KIND` ask for.

    Without `--fit`, every entrant of the settings is fitted; without any of all three, one of each kind. Raises InputError for
    a name that is given twice or belongs to a baseline, an unknown kind, and what is neither a folder nor a factory.
    """
    found = [_model(text) for text in models]
    if fits:
        found += [_fit(text, settings) for text in fits]
    elif settings.entrants:
        found += [Wanted(name, None, "", *settings.entrant(name)) for name in settings.entrants]
    elif not models:
        found = [_fit(kind.name, settings) for kind in KINDS.values() if task in kind.tasks]
    must_be_names([one.name for one in found], task.baselines)
    return found


def must_suit(entrants: Sequence[Wanted], dataset: SequenceDataset, task: Task = FORECAST) -> None:
    """Raises InputError for a model that could not be fitted on this dataset, or could not do the task then."""
    for one in entrants:
        if one.kind is None or one.tables is None:
            continue
        takes = one.kind.takes(one.tables)
        if task not in one.kind.tasks or not takes.forecasts:
            raise InputError(
                f"{one.name}: {one.kind.plural} with these settings cannot {task.verb}: leave it out of the comparison, or "
                "choose other settings"
            )
        takes.refuse(dataset, f"{one.name}, one of the {one.kind.plural},")


def enter(
    entrants: Sequence[Wanted],
    dataset: SequenceDataset,
    settings: Settings,
    progress: Progress,
    spark: SparkSession | None = None,
    task: Task = FORECAST,
) -> list[Entrant]:
    """Loads, makes and fits them, in this order; the result is in the order that they were asked for. What can be refused without
    calling a factory or fitting is refused before that.

    spark   a session that is there already; without it, one is started where something asks for it

    Raises InputError where a model cannot forecast this dataset, does not answer as the task asks, or cannot be fitted.
    """
    entered: dict[str, Entrant] = {}
    for one in entrants:
        if one.folder is not None:
            entered[one.name] = entrant_of(one.name, load(one.folder, dataset), kind_of(read_card(one.folder), one.folder))
    factories = {one.name: (one, _imported(one)) for one in entrants if one.factory}
    with where_on(settings.cluster, "hindcast compare", spark) as where:
        jobs: dict[str, tuple[Kind, Job]] = {}
        for one in entrants:
            if one.kind is not None and one.tables is not None:
                jobs[one.name] = one.kind, Job(dataset, one.tables, where, EntrantWatch(progress, one.name, one.kind.name))
        for kind, job in jobs.values():
            kind.check(job)
        for name, (one, factory) in factories.items():
            with progress.stage(name, about=one.factory):
                entered[name] = _made(one, factory, dataset, task)
        for name, (kind, job) in jobs.items():
            entered[name] = entrant_of(name, kind.fit(job), kind)
    return [entered[one.name] for one in entrants]


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


def _model(text: str) -> Wanted:
    name, equals, where = text.partition("=")
    if not equals or not where:
        raise InputError(f"--model {text}: expected NAME=FOLDER, or NAME=package.module:factory")
    if Path(where).exists() or not FACTORY.fullmatch(where):
        return Wanted(name, folder=Path(where))
    return Wanted(name, factory=where)


def _fit(text: str, settings: Settings) -> Wanted:
    name, equals, word = text.partition("=")
    if name in settings.entrants:
        kind, tables = settings.entrant(name)
        if equals and word != kind.name:
            raise InputError(f"--fit {text}: the settings have entrants.{name}.kind = {kind.name!r}: say the one or the other")
        return Wanted(name, kind=kind, tables=tables)
    known = f" and the entrants {', '.join(settings.entrants)}" if settings.entrants and not equals else ""
    kind = kind_named(word if equals else name, f"--fit {text}", known)
    return Wanted(name, kind=kind, tables=settings.of(kind))


def _made(one: Wanted, factory: Callable[..., Any], dataset: SequenceDataset, task: Task) -> Entrant:
    """Calls a factory with the dataset, of which it gets no file of the test split, and tries what it makes."""
    where = f"--model {one.name}={one.factory}"
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        model = factory(dataset.without("test")) if _asks_for_something(factory) else factory()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: the factory raised {in_a_line(error)}") from error
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    task.must_answer(model, where)
    told = (getattr(model, "__doc__", None) or "").strip().splitlines()
    description = f"a model of your own, {one.factory}" + (f": {told[0]}" if told else "")
    counted = getattr(model, "parameters", None)  # of other libraries' models often a method
    parameters = int(counted) if isinstance(counted, int | np.integer) and counted >= 0 else None
    entrant = Entrant(one.name, model, "model", description, wall, cpu, parameters)
    task.try_out(entrant, dataset)
    return entrant


def _asks_for_something(factory: Callable[..., Any]) -> bool:
    """Whether it cannot be called with nothing."""
    try:
        given = inspect.signature(factory).parameters.values()
    except ValueError:  # of compiled code
        return True
    return any(one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in given)


def _imported(one: Wanted) -> Callable[..., Any]:
    """`package.module:factory`; what lies in the working folder can be imported too, after everything that is installed."""
    where, (module, _, name) = f"--model {one.name}={one.factory}", one.factory.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: {module} cannot be imported: {in_a_line(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{where}: {module} has no {name!r}; expected a callable that returns a model")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{where}: found {type(found).__name__}, expected a callable that returns a model")
    return found
