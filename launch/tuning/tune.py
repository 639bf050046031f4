"""`hindcast tune`: a search over settings of a kind of models, with a table and files of its outcomes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from hindcast.forecasting.kind import Kind, Outcome
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.runs import run
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import holds, placed_folder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIALS, TABLE, BEST = "trials.json", "trials.csv", "best.toml"
COLUMNS = ("trial", "validation_loss", "best_epoch", "epochs", "epochs_trained", "seconds", "ended", "error")
UNTOUCHED = "The test split was given to no trial."

must_be_search = holds(TRIALS, "the outcome of a search")


def tune(
    spark: SparkSession,
    dataset: SequenceDataset,
    kind: Kind,
    trials: Sequence[Any],
    tried: Sequence[str],
    grace: int,
    out: Path,
    overwrite: bool,
    about: dict[str, Any],
    progress: Progress,
) -> None:
    """Trains all trials, writes the folder `out`, and prints a table of them, best first.

    trials  the settings of each
    tried   the names of the settings that differ between them
    grace   epochs before a trial may be stopped
    about   further fields of trials.json

    Raises InputError as the search of the kind does, and where every trial failed; the folder is then there without best.toml.
    """
    tuning = kind.tuning
    assert tuning is not None, "only what can be tuned is tried"
    latest: dict[int, int] = {}

    def show_progress(trial: int, losses: Sequence[float]) -> None:
        latest[trial] = len(losses)
        detail = f"{sum(latest.values())} epochs of {len(latest)} trials; trial {trial}: {losses[-1]:.4f}"
        numbers = {"trial": trial, "epoch": len(losses), "validation_loss": losses[-1]}
        progress.step("epoch of a trial", sum(latest.values()), numbers, detail)

    with progress.stage("tuning", spark, f"{len(trials)} trials on Spark"):
        outcomes = tuning.search(spark, dataset, trials, grace, show_progress)
    rows = [_row(outcome, kind, trials[outcome.trial], tried) for outcome in outcomes]
    best = min(outcomes, key=lambda outcome: outcome.loss)
    failed = [outcome for outcome in outcomes if outcome.ended == "failed"]
    best_trial = None if best.ended == "failed" else best.trial
    with placed_folder(out, overwrite, must_be_search) as folder:
        _write(folder, rows, kind, tried, {**about, "grace": grace, "test_split": UNTOUCHED, "best": best_trial}, outcomes)
        if best_trial is not None:
            (folder / BEST).write_text(_toml(kind, trials[best_trial], dataset, best), encoding="utf-8")
    run().wrote("search", out)
    _show(rows, tried, best_trial)
    if best_trial is None:
        raise InputError(f"all {len(failed)} trials failed, {out / TRIALS} says how. The first: {failed[0].error}")
    trained, most = sum(outcome.epochs for outcome in outcomes), sum(tuning.most_epochs(settings) for settings in trials)
    console.print(f"{trained:,} epochs were trained, of {most:,} at most. {UNTOUCHED}", highlight=False)
    console.print(f"best settings: {out / BEST}, for `hindcast fit {kind.name} --settings`", highlight=False, soft_wrap=True)


def _row(outcome: Outcome, kind: Kind, settings: Any, tried: Sequence[str]) -> dict[str, Any]:
    loss = min(outcome.losses, default=None)
    return {
        "trial": outcome.trial,
        "settings": {f"{kind.name}.{name}": getattr(settings, name) for name in tried},
        "validation_loss": loss,
        "best_epoch": None if loss is None else 1 + outcome.losses.index(loss),
        "epochs": len(outcome.losses),
        "epochs_trained": outcome.epochs,
        "seconds": round(outcome.seconds, 3),
        "ended": outcome.ended,
        "error": outcome.error,
    }


def _write(
    folder: Path, rows: list[dict[str, Any]], kind: Kind, tried: Sequence[str], about: dict[str, Any], outcomes: Sequence[Outcome]
) -> None:
    listed = [{**row, "losses": outcome.losses} for row, outcome in zip(rows, outcomes, strict=True)]
    (folder / TRIALS).write_text(json.dumps({**about, "trials": listed}, indent=1) + "\n", encoding="utf-8")
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["trial", *(f"{kind.name}.{name}" for name in tried), *COLUMNS[1:]])
        writer.writeheader()
        writer.writerows({**{name: row[name] for name in COLUMNS}, **row["settings"]} for row in rows)


def _toml(kind: Kind, settings: Any, dataset: SequenceDataset, best: Outcome) -> str:
    """All settings, so that they mean the same when a default has changed; what is left out is None."""
    lines = [f"# Trial {best.trial}: the least validation loss, {best.loss:.6g}, on the dataset with digest {dataset.digest}."]
    fields = settings.model_dump(exclude_none=True)
    return "\n".join([*lines, f"[{kind.name}]", *(f"{name} = {_value(value)}" for name, value in fields.items())]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(list(value) if isinstance(value, tuple) else value)


def _show(rows: Sequence[dict[str, Any]], tried: Sequence[str], best: int | None) -> None:
    """The best first; those that failed last."""
    table = Table("trial", *tried, box=None, header_style="bold")
    for name in ("validation loss", "epochs", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("ended by", overflow="fold")
    for row in sorted(rows, key=_rank):
        loss = "" if row["validation_loss"] is None else f"{row['validation_loss']:.5f}"
        why = f"failed: {row['error']}" if row["error"] else row["ended"]
        cells = [*map(str, row["settings"].values()), loss, str(row["epochs"]), f"{row['seconds']:.1f}", why]
        style = "bold" if row["trial"] == best else "dim" if row["ended"] in ("failed", "median") else ""
        table.add_row(str(row["trial"]), *map(escape, cells), style=style)
    console.print(table)


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    loss = row["validation_loss"]
    return row["ended"] == "failed", math.inf if loss is None else loss
