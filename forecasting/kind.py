"""A kind of models as a record of its properties and verbs, which the package of the kind owns.

Code that fits, loads, compares or describes models reads these records, and knows no kind by its name. Their callables import
what they need when they are called, so that a list of kinds costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

from hindcast.forecasting.inputs import HOLDS, NUMBERS, must_be_numbers, must_hold
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

if TYPE_CHECKING:
    from hindcast.forecasting.card import Card, Part
    from hindcast.forecasting.entrant import Entrant
    from hindcast.forecasting.report.parts import Parts
    from hindcast.forecasting.task import Task
    from hindcast.forecasting.truth import Truth

Tables = Mapping[str, Any]


class Watch(Protocol):
    """Receives the progress of a fit."""

    def stage(self, name: str, spark: Any = None, about: str = "") -> AbstractContextManager[None]:
        """A part of the work, as long as a `with` lasts."""
        ...

    def update(self, detail: str) -> None:
        """How far the current stage is, in words."""
        ...

    def step(self, name: str, number: int, numbers: Mapping[str, float], detail: str = "", seconds: float | None = None) -> None:
        """An iteration or an epoch is over."""
        ...

    def gauge(self, name: str, number: float) -> None:
        """The latest of a number that changes."""
        ...

    def note(self, **facts: Any) -> None:
        """Facts for the record of the run."""
        ...


@dataclass(frozen=True)
class Where:
    """The machines to fit on.

    session          a Spark session: started when it is first asked for, and the same from then on
    on               of trainings by ranks: "horovod" on Spark, Spark's "partitions", or "local", this process
    ranks            (session) -> ranks that Horovod trains on; raises InputError where they cannot be had
    least_ranks      where ranks are lost, a training goes on on as many as these; None: it ends
    gpus_per_worker  None: no GPU
    """

    session: Callable[[], Any]
    on: Literal["horovod", "partitions", "local"]
    ranks: Callable[[Any], int]
    least_ranks: int | None = None
    gpus_per_worker: int | None = None


@dataclass(frozen=True)
class Job:
    """One fit.

    settings    the kind's tables, by name
    name        what the model is to be called, for trackers of experiments; "": they are not told
    checkpoint  a file that the fit is saved in; it stays there until somebody removes it
    resume      goes on from that file
    options     of the command line, by name: see `Kind.options`
    """

    dataset: SequenceDataset
    settings: Tables
    where: Where
    watch: Watch
    name: str = ""
    checkpoint: Path | None = None
    resume: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Takes:
    """The inputs that models of a kind take, with these settings.

    channels     kinds of channels: of "real", "count", "category"
    covariates   whether they look at covariates and attributes, where there are any
    forecasts    whether they forecast numbers: a model of categories does not
    """

    channels: frozenset[str]
    covariates: bool = False
    forecasts: bool = True

    def refuse(self, dataset: SequenceDataset, who: str) -> None:
        """Raises InputError, naming the channel, where one is of another kind. `who`: the model, for the message."""
        if self.channels == NUMBERS:
            must_be_numbers(dataset)
        contents = " or ".join(plural for kind, (_, plural) in HOLDS.items() if kind in self.channels)
        must_hold(dataset, self.channels, f"{who} takes {contents}")


@dataclass(frozen=True)
class Option:
    """An option of `hindcast fit KIND` that this kind alone has: `--name VALUE` where it is a path, `--name` where it is not."""

    name: str
    help: str
    path: bool = False


class Outcome(Protocol):
    """The result of a trial of a search, as `hindcast.deep.search.trials.Outcome`."""

    trial: int
    losses: tuple[float, ...]
    epochs: int
    seconds: float
    ended: str
    error: str

    @property
    def loss(self) -> float: ...


@dataclass(frozen=True)
class Tuning:
    """How settings of a kind are searched.

    incomparable    fields whose values make losses of another meaning
    without_effect  fields that change nothing in a trial
    must_suit       (dataset, settings of each trial): raises InputError where trials cannot be made or judged
    search          (session, dataset, settings of each trial, grace, on_report) -> an Outcome each, in the same order
    most_epochs     (settings) -> how many epochs a trial takes at most
    spark           options that the session needs
    """

    incomparable: frozenset[str]
    without_effect: frozenset[str]
    must_suit: Callable[[SequenceDataset, Sequence[Any]], None]
    search: Callable[[Any, SequenceDataset, Sequence[Any], int, Callable[[int, Sequence[float]], None]], Sequence[Outcome]]
    most_epochs: Callable[[Any], int]
    spark: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """A feature of a machine that trainings may use. `why_not`: why they do not use it here; None where they do."""

    what: str
    why_not: str | None
    with_it: str
    without: str


@dataclass(frozen=True)
class Kind:
    """A kind of models.

    name        the word after `hindcast fit`, the table in the settings, the word in `model.json`
    title       in words, singular: "LSTM"; `plural` likewise
    summary     for `hindcast fit --help`
    tables      of settings, by name; the first, of the kind's own name, is its own
    tasks       that models of it can do
    takes       (settings) -> Takes
    installed   (where trainings by ranks go, see `Where.on`): raises InputError where packages that a fit needs are missing
    check       (job): raises InputError for what a fit would refuse, before any work is done
    fit         (job) -> a model with a card, or None on a rank that only helps to fit it
    save        (model, folder, overwrite)
    load        (folder) -> the model. Raises InputError, naming the file, where it is missing or damaged
    sound       (folder, card): raises InputError for damage, as far as it can be found without heavy imports
    part        () -> the class of the kind's part of the card
    describe    (card) -> a line on the model
    sections    (entrants of the kind, dataset, what is known of simulated data) -> what the page shows of them
    tuning      None: its settings cannot be searched
    quick       (hidden regimes that the data are known to have, or None) -> tables of settings for a fit of a minute or two
    options     of its own on the command line
    gauges      numbers that a fit tells its watch, as metrics of the run: name -> what it is
    on_ranks    whether it trains on ranks of Horovod, and may be one where horovodrun started the command
    packages    whose versions the record of a run of it holds
    probe       (settings) -> what trainings of these would run on here; None: nothing to find out
    """

    name: str
    title: str
    plural: str
    summary: str
    tables: Mapping[str, type[BaseModel]]
    tasks: tuple[Task, ...]
    takes: Callable[[Tables], Takes]
    check: Callable[[Job], None]
    fit: Callable[[Job], Any]
    save: Callable[[Any, Path, bool], None]
    load: Callable[[Path], Any]
    sound: Callable[[Path, Card[Any]], None]
    part: Callable[[], type[Part]]
    describe: Callable[[Card[Any]], str]
    sections: Callable[[Sequence[Entrant], SequenceDataset, Truth | None], Parts]
    tuning: Tuning | None = None
    quick: Callable[[int | None], Mapping[str, dict[str, Any]]] = lambda regimes: {}
    options: tuple[Option, ...] = ()
    gauges: Mapping[str, str] = field(default_factory=dict)
    on_ranks: bool = False
    packages: tuple[str, ...] = ()
    installed: Callable[[str], None] = lambda on: None
    probe: Callable[[Tables], Sequence[Probe]] | None = None
