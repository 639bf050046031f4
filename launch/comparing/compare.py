"""The comparison: every entrant on the same test windows, in one page and one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Column, Table

from hindcast.forecasting.baselines.baselines import season_of
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.inputs import exclusive_inputs
from hindcast.forecasting.report.page import write as write_page
from hindcast.forecasting.report.parts import Parts
from hindcast.forecasting.task import FORECAST, Task
from hindcast.forecasting.truth import Truth
from hindcast.launch.comparing.page_contents import page_contents
from hindcast.launch.kinds import KINDS
from hindcast.launch.settings import CompareSettings
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.runs import run
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import must_be_file, placed_file, refuse_taken

if TYPE_CHECKING:
    import pandas as pd

COST = {"fit_seconds": "fit, s", "fit_cpu_seconds": "CPU, s", "forecast_seconds": "forecast, s"}
SCORES = "scores.json"


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    rows      name of an entrant or baseline → its errors on the test split, scaled unless they say otherwise, and its costs
    entrants  the models that were compared, without the baselines
    season    steps that seasonal-naive looks back
    command   the command that repeats the comparison
    """

    dataset: SequenceDataset
    task: Task
    entrants: tuple[Entrant, ...]
    rows: Mapping[str, Mapping[str, Any]]
    parts: Parts
    season: int
    command: str

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame with the names as index, the best first."""
        import pandas as pd

        numbers = {
            name: {key: value for key, value in row.items() if not isinstance(value, dict | list)} for name, row in self._ranked()
        }
        return pd.DataFrame.from_dict(numbers, orient="index").rename_axis("model")

    def show(self) -> None:
        """Prints the table, best first; baselines are dim."""
        table = Table(Column("model", no_wrap=True), box=None, header_style="bold")
        for label in (*(measure.label for measure in self.task.measures), *COST.values(), "parameters"):
            table.add_column(label, justify="right")
        models = {entrant.name for entrant in self.entrants}
        for name, row in self._ranked():
            cells = [f"{row[measure.key]:.{measure.decimals}f}" for measure in self.task.measures]
            cells += [f"{row[key] or 0:.1f}" for key in COST]
            parameters = "" if row["parameters"] is None else f"{row['parameters']:,}"
            table.add_row(escape(name), *cells, parameters, style="" if name in models else "dim")
        console.print(table)

    def write(self, out: str | Path) -> Path:
        """Writes the page and, beside it, scores.json; returns the page's path: `out` where it is called *.html, else
        report.html in that folder, which is made. Raises InputError where it cannot be written."""
        page = report_path(Path(out))
        seeds = {
            entrant.name: entrant.card.seed
            for entrant in self.entrants
            if entrant.card is not None and entrant.card.seed is not None
        }
        write_page(page_contents(self.dataset, self.parts, self.season, seeds, self.command), page)
        run().wrote("report", page)
        write_scores(self.rows, self.dataset, self.season, seeds, self.command, page.with_name(SCORES))
        run().wrote("scores", page.with_name(SCORES))
        return page

    def _repr_html_(self) -> str:
        columns = [*(measure.key for measure in self.task.measures), *COST, "parameters"]
        return str(self.table[columns].to_html())

    def _ranked(self) -> list[tuple[str, Mapping[str, Any]]]:
        return sorted(self.rows.items(), key=lambda named: named[1][self.task.measures[0].key])


def compare_models(
    dataset: SequenceDataset,
    entrants: Sequence[Entrant],
    settings: CompareSettings,
    command: str,
    progress: Progress,
    truth: Truth | None = None,
    task: Task = FORECAST,
) -> Comparison:
    """Scores the entrants and the baselines on every test window.

    command  the command that repeats the comparison, for the page
    truth    the regimes of simulated data, which the page compares with hidden states

    Raises InputError where a model does not answer as the task asks, or the dataset has no test windows.
    """
    season = season_to_compare(dataset, settings)
    with progress.stage("baselines"):
        baselines, notes = task.enter_baselines(dataset, season)
    for note in notes:
        console.print(note, highlight=False, markup=False)
    everyone = [*baselines, *entrants]
    with progress.stage("scoring", about="every test window"):
        result = task.compare(everyone, dataset, season, settings.examples, progress.update)
    for name, row in result.rows.items():
        for measure in task.measures:
            if measure.gauge:
                run().gauge(f"test_{measure.key}", row[measure.key], model=name)
    parts = result.parts + sections(entrants, dataset, truth) + Parts(notes=tuple(notes))
    return Comparison(dataset, task, tuple(entrants), result.rows, parts, season, command)


def show_and_write(comparison: Comparison, out: Path, progress: Progress) -> None:
    """Writes the page, prints the table, and prints where the page is."""
    with progress.stage("drawing the report"):
        page = comparison.write(out)
    comparison.show()
    console.print(f"report: [bold]{escape(str(page))}[/]", highlight=False)


def sections(entrants: Sequence[Entrant], dataset: SequenceDataset, truth: Truth | None) -> Parts:
    """The sections that each kind has for its entrants, and the notes on them."""
    parts = Parts()
    for kind in KINDS.values():
        of_kind = [entrant for entrant in entrants if entrant.card is not None and entrant.card.kind == kind.name]
        if of_kind:
            parts += kind.sections(of_kind, dataset, truth)
    notes = [f"{entrant.name}: {note}" for entrant in entrants if entrant.card is not None for note in entrant.card.notes]
    takers = [
        entrant.name
        for entrant in entrants
        if entrant.card is None or (entrant.card.data is not None and entrant.card.data.covariates)
    ]
    return parts + Parts(notes=(*notes, *filter(None, [exclusive_inputs(dataset, takers)])))


def season_to_compare(dataset: SequenceDataset, settings: CompareSettings) -> int:
    """Steps in a season. Raises InputError where a season is longer than the context, or the test split has no windows."""
    season = settings.season or season_of(dataset.step_micros, dataset.layout)
    if season > dataset.layout.context:
        raise InputError(f"compare.season: {season} steps are more than the context of {dataset.layout.context}")
    if not dataset.manifest.windows("test"):
        raise InputError(f"{dataset.location}: the test split has no windows to compare on: prepare it with a longer split.test")
    return season


def report_path(out: Path) -> Path:
    """The page for `--out`: the file itself where it is called *.html, else report.html in that folder, which is made."""
    page = out if out.suffix == ".html" else out / "report.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {page.parent} cannot be made: {error.strerror}") from None
    for file in (page, page.with_name(SCORES)):
        refuse_taken(file, True, must_be_file)
    return page


def write_scores(
    rows: Mapping[str, Mapping[str, Any]],
    dataset: SequenceDataset,
    season: int,
    seeds: Mapping[str, int],
    command: str,
    path: Path,
) -> None:
    """The numbers of the page as JSON; errors on the test split, in scaled units unless they say otherwise."""
    about = {
        "dataset": dataset.location,
        "digest": dataset.digest,
        "test_windows": dataset.manifest.windows("test"),
        "context": dataset.layout.context,
        "lead": dataset.layout.lead,
        "horizon": dataset.layout.horizon,
        "season": season,
        "command": command,
        "seeds": seeds,
        "versions": dataset.manifest.versions,
    }
    with placed_file(path) as staged:
        staged.write_text(json.dumps({"models": rows, **about}, indent=1) + "\n", encoding="utf-8")
