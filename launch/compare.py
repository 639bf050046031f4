"""The comparison: every model on the same test windows, in one page and one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from classical.hmm.forecast import HmmForecaster
from classical.hmm.part import HmmPart
from deep.part import LstmPart
from forecasting.baselines import RepeatLast, SeasonalNaive, fit_linear, naive_error, season_of
from forecasting.card import Card
from forecasting.report import contents
from forecasting.report.page import write as write_page
from launch.inspection import how_many_windows
from launch.page import model_row, page_contents
from launch.progress import Progress, console
from launch.regimes import Truth
from launch.runs import run
from launch.scoring import Entrant, examples, score, timed
from launch.settings import Settings
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.placing import must_be_file, placed_file, refuse_taken

if TYPE_CHECKING:
    from deep.forecaster import LstmForecaster


def compare_models(
    dataset: SequenceDataset,
    hmm: HmmForecaster,
    lstm: LstmForecaster,
    out: Path,
    settings: Settings,
    command: str,
    progress: Progress,
    truth: Truth | None = None,
) -> Path:
    """Scores the models and the baselines, writes the page and scores.json, prints a table, and returns the page's path.

    `command` is what repeats it; `truth` the regimes of simulated data, which the page holds against the HMM's states.
    """
    page, season = report_path(out), season_to_compare(dataset, settings)
    with progress.stage("baselines"):
        entrants = baselines(dataset, season)
    entrants += [fitted(lstm), fitted(hmm)]
    with progress.stage("scoring", about="every test window"):
        scores = score(entrants, dataset, progress.update)
        naive = naive_error(dataset, season)
    rows = tuple(model_row(entrant, scores[entrant.name], naive) for entrant in entrants)
    for row in rows:
        run().gauge("test_mse", row.mse, model=row.name)
        run().gauge("test_mae", row.mae, model=row.name)
    with progress.stage("drawing the report"):
        drawn = examples(entrants, dataset, settings.compare.examples)
        cards = card_of(hmm), card_of(lstm)
        write_page(page_contents(dataset, rows, drawn, hmm, *cards, season, settings, command, truth), page)
        run().wrote("report", page)
        write_scores(rows, dataset, season, command, settings, page.with_name("scores.json"))
        run().wrote("scores", page.with_name("scores.json"))
    show(rows)
    console.print(f"report: [bold]{page}[/]", highlight=False)
    return page


def season_to_compare(dataset: SequenceDataset, settings: Settings) -> int:
    """Steps in a season. Raises InputError where it does not fit into the context, or there is nothing to compare on."""
    season = settings.compare.season or season_of(dataset.step_micros, dataset.layout)
    if season > dataset.layout.context:
        raise InputError(f"compare.season: {season} steps are more than the context of {dataset.layout.context}")
    if not how_many_windows(dataset.manifest, "test"):
        raise InputError(f"{dataset.location}: the test split has no windows to compare on: prepare it with a longer split.test")
    return season


def report_path(out: Path) -> Path:
    """The page for `--out`: the file itself where it is called *.html, else report.html in that folder, which is made."""
    page = out if out.suffix == ".html" else out / "report.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {page.parent} cannot be made: {error.strerror}") from None
    refuse_taken(page, True, must_be_file)
    return page


def baselines(dataset: SequenceDataset, season: int) -> list[Entrant]:
    """Repeat-last, seasonal-naive and closed-form linear regression, the last fitted here."""
    layout = dataset.layout
    linear, wall, cpu = timed(lambda: fit_linear(dataset))
    in_words = f"closed-form least squares on {layout.context} steps of context, last value subtracted, channels share weights"
    seasonal = f"every step is the last reading known at the same point of a season of {season} steps"
    return [
        Entrant(RepeatLast(layout), "baseline", "every step is the last reading", 0.0, 0.0),
        Entrant(SeasonalNaive(layout, season), "baseline", seasonal, 0.0, 0.0),
        Entrant(linear, "baseline", in_words, wall, cpu, linear.weights.nbytes),
    ]


def fitted(model: HmmForecaster | LstmForecaster) -> Entrant:
    """A fitted model, described by its card."""
    card = card_of(model)
    part, rounds = card.part, len(card.history)
    if isinstance(part, LstmPart):
        lstm = part.settings
        what = f"{lstm.network} network, {lstm.units} units, {rounds} epochs (best: {part.best_epoch}), {part.ranks} ranks"
        what += f"; {lstm.members} of them together" if lstm.members > 1 else ""
        what += f"; {lstm.line_share:.0%} of its forecast is a closed-form line's" if lstm.line_share else ""
    else:
        assert isinstance(part, HmmPart)
        order = f", order {part.settings.order}" if part.settings.emission == "autoregressive" else ""
        what = f"{part.settings.emission} hidden Markov model, {part.settings.states} states{order}, {rounds} EM iterations"
    return Entrant(model, "model", what, card.fit_seconds, card.fit_cpu_seconds, card.bytes)


def card_of(model: HmmForecaster | LstmForecaster) -> Card[Any]:
    """What a model says of itself. Raises ValueError for one that was not fitted on a dataset."""
    if model.card is None:
        raise ValueError(f"{model.name}: only a model that was fitted on a dataset, or loaded, can be compared")
    return model.card


def write_scores(
    models: Sequence[contents.Model], dataset: SequenceDataset, season: int, command: str, settings: Settings, path: Path
) -> None:
    """The numbers of the page as JSON; errors on the test split, in scaled units unless they say otherwise."""
    rows = {
        model.name: {
            "mse": model.mse,
            "mae": model.mae,
            "mase": model.mase,
            "fit_seconds": model.fit_seconds,
            "fit_cpu_seconds": model.fit_cpu_seconds,
            "forecast_seconds": model.forecast_seconds,
            "parameters": model.parameters,
            "mae_in_sensor_units": dict(zip(dataset.channels, model.channel_mae.tolist(), strict=True)),
            "mse_by_step": model.step_mse.tolist(),
        }
        for model in models
    }
    about = {
        "dataset": dataset.location,
        "digest": dataset.digest,
        "test_windows": how_many_windows(dataset.manifest, "test"),
        "context": dataset.layout.context,
        "lead": dataset.layout.lead,
        "horizon": dataset.layout.horizon,
        "season": season,
        "command": command,
        "seeds": {"hmm": settings.hmm.seed, "lstm": settings.lstm.seed},
        "versions": dataset.manifest.versions,
    }
    with placed_file(path) as staged:
        staged.write_text(json.dumps({"models": rows, **about}, indent=1) + "\n", encoding="utf-8")


def show(models: Sequence[contents.Model]) -> None:
    """The table in the terminal, best first."""
    table = Table("model", box=None, header_style="bold")
    for name in ("MSE", "MAE", "MASE", "fit, s", "CPU, s", "forecast, s", "parameters"):
        table.add_column(name, justify="right")
    for model in sorted(models, key=lambda model: model.mse):
        cells = [f"{model.mse:.4f}", f"{model.mae:.4f}", f"{model.mase:.3f}"]
        cells += [f"{seconds or 0:.1f}" for seconds in (model.fit_seconds, model.fit_cpu_seconds, model.forecast_seconds)]
        table.add_row(model.name, *cells, f"{model.parameters or 0:,}", style="" if model.kind == "model" else "dim")
    console.print(table)
