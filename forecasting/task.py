"""Tasks of models. A task owns what is the same for every kind that can do it: protocol, baselines, scores, rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hindcast.forecasting.inputs import NUMBERS
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from hindcast.forecasting.card import Gives
    from hindcast.forecasting.entrant import Entrant
    from hindcast.forecasting.report.parts import Parts


@dataclass(frozen=True)
class Measure:
    """A number that entrants are compared by. `key` names it in scores.json; where `gauge` says what it is, it is a metric of
    the run too, test_KEY."""

    key: str
    label: str
    decimals: int
    gauge: str = ""


@dataclass(frozen=True)
class Result:
    """The result of a comparison.

    rows    of each entrant, its numbers by the keys of `measures`, and more
    parts   of the page
    """

    rows: dict[str, dict[str, Any]]
    parts: Parts


@dataclass(frozen=True)
class Task:
    """A task of models.

    name            the word for it
    verb            the method that a model answers with: `forecast(given) -> Forecast`
    channels        kinds of channels that it can be about
    baselines       names of those that are in every comparison
    enter_baselines (dataset, season) -> those that can be had, fitted where there is something to fit, and notes on the others
    try_out         (entrant, dataset): asks for a few windows of the validation or training split; raises InputError where what
                    comes is no answer
    compare         (entrants, dataset, season, examples to draw, on_progress) -> Result
    measures        the first decides the order
    columns         of the rows that `hindcast forecast` writes: (what the model gives) -> names and types
    """

    name: str
    verb: str
    channels: frozenset[str]
    baselines: tuple[str, ...]
    enter_baselines: Callable[[SequenceDataset, int], tuple[list[Entrant], list[str]]]
    try_out: Callable[[Entrant, SequenceDataset], None]
    compare: Callable[[Sequence[Entrant], SequenceDataset, int, int, Callable[[str], None]], Result]
    measures: tuple[Measure, ...]
    columns: Callable[[Gives | None], tuple[tuple[str, pa.DataType], ...]]

    def must_answer(self, model: Any, where: str) -> None:
        """Raises InputError for a model without the method `verb`."""
        if not callable(getattr(model, self.verb, None)):
            raise InputError(
                f"{where}: found {type(model).__name__}, which has no method {self.verb}(given): it is what a comparison asks for"
            )


def _enter_baselines(dataset: SequenceDataset, season: int) -> tuple[list[Entrant], list[str]]:
    from hindcast.forecasting.baselines.baselines import enter

    return enter(dataset, season)


def _try_out(entrant: Entrant, dataset: SequenceDataset) -> None:
    from hindcast.forecasting.scoring import try_out

    try_out(entrant, dataset)


def _compare(
    entrants: Sequence[Entrant], dataset: SequenceDataset, season: int, example_count: int, on_progress: Callable[[str], None]
) -> Result:
    from hindcast.forecasting.report.forecasts import compare

    return compare(entrants, dataset, season, example_count, on_progress)


def _columns(gives: Gives | None) -> tuple[tuple[str, pa.DataType], ...]:
    from hindcast.forecasting.rows import fields_of

    return fields_of(() if gives is None else gives.levels)


FORECAST = Task(
    name="forecast",
    verb="forecast",
    channels=NUMBERS,
    baselines=("repeat-last", "seasonal-naive", "linear"),
    enter_baselines=_enter_baselines,
    try_out=_try_out,
    compare=_compare,
    measures=(
        Measure("mse", "MSE", 4, gauge="Mean squared error on the test split, scaled."),
        Measure("mae", "MAE", 4, gauge="Mean absolute error on the test split, scaled."),
        Measure("mase", "MASE", 3),
    ),
    columns=_columns,
)
