"""The commands of `hindcast`, a function each; what a command does is imported when it runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hindcast import __version__
from hindcast.forecasting.card import must_forecast, read_card
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.launch import settings as settings_
from hindcast.launch.cli.arguments import AllowCleartext, Dataset, Fits, Overwrite, SettingsFile, allow_cleartext_in
from hindcast.launch.cli.fit import fit as fit_commands
from hindcast.launch.command_table import COMMANDS
from hindcast.launch.drawing import SEED, SUBJECTS, draw_readings
from hindcast.launch.global_options import DASHES
from hindcast.launch.watching.progress import Progress, console
from hindcast.prep.dataset.sequence_dataset import SequenceDataset, must_be_dataset
from hindcast.prep.errors import InputError
from hindcast.prep.files import targets
from hindcast.prep.files.placing import must_be_file, refuse_taken

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Sensor readings → fixed-length sequences → hidden Markov models and LSTMs, and an honest comparison.\n\n"
    "Every field of the settings file is also an option: [bold]--windows.horizon 96[/], [bold]--lstm.epochs 10[/].",
)

WORKING = ", ".join(name for name, command in COMMANDS.items() if command.works)
WATCHING = f"Watching, of {WORKING}"


def print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"hindcast {__version__}", highlight=False)
        raise typer.Exit()


@app.callback()
def common(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
    run_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Keep a record of the run, DIR/TIME-COMMAND/run.json. Or HINDCAST_RUN_DIR.",
            rich_help_panel=WATCHING,
        ),
    ] = None,
    log: Annotated[
        str,
        typer.Option(
            metavar="text|json",
            help="json: a line for each stage on stderr, for machines. Or HINDCAST_LOG.",
            rich_help_panel=WATCHING,
        ),
    ] = "text",
    metrics: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep metrics there, as Prometheus reads them. Or HINDCAST_METRICS.", rich_help_panel=WATCHING
        ),
    ] = None,
) -> None:
    # These options, which may stand anywhere, and fields of the settings are taken from the arguments before anything is parsed:
    # the first are shown in --help by this, and the others are refused where nothing would read them.
    command = COMMANDS.get(ctx.invoked_subcommand or "")
    if ctx.obj and command is not None and not command.settings:
        behind = ": put it behind --, where the command stands" if command.name == "submit" else ""
        raise InputError(f"--{next(iter(ctx.obj))}: `hindcast {ctx.invoked_subcommand}` has no settings{behind}")


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    options_metavar="[SPARK-SUBMIT OPTIONS] -- COMMAND …",
    epilog=f"Commands: {WORKING}.",
)
def submit(
    ctx: typer.Context,
    environment: Annotated[
        bool, typer.Option("--environment", help="Send this Python environment along (needs venv-pack or conda-pack).")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the spark-submit command that it would become.")] = False,
) -> None:
    """Runs a command through your own spark-submit, with the code packed: submit --master spark://host:7077 -- fit hmm …"""
    from hindcast.launch.submitting.submit import submit as submit_

    options, command = ctx.args, list[str]()
    if DASHES in options:
        place = options.index(DASHES)
        options, command = options[:place], options[place + 1 :]
    submit_(options, command, environment, show, Progress())


@app.command()
def package(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it.", show_default=False)] = Path("."),
) -> None:
    """Writes Hindcast's code as one zip, for spark-submit --py-files."""
    from hindcast.launch.submitting.package import write_package

    console.print(str(write_package(folder)), soft_wrap=True, highlight=False, markup=False)


@app.command()
def doctor(ctx: typer.Context, settings: SettingsFile = None) -> None:
    """Says what works on this machine, what is missing, how to get it, and what models of these settings would run on."""
    run_settings = settings_.load(settings, ctx.obj)
    from hindcast.launch.doctor import examine

    raise typer.Exit(0 if examine(run_settings) else 1)


@app.command()
def demo(
    ctx: typer.Context,
    readings: Annotated[
        Path | None, typer.Option(help="Your own readings, CSV or Parquet; without it, a synthetic fleet.")
    ] = None,
    timestamp: Annotated[str, typer.Option(help="The column with the time.")] = "timestamp",
    series: Annotated[list[str] | None, typer.Option(help="A column that tells series apart; can be repeated.")] = None,
    values: Annotated[
        list[str] | None, typer.Option(help="A column to forecast; can be repeated. Default: every numeric one.")
    ] = None,
    fit: Fits = None,
    out: Annotated[Path, typer.Option(help="The folder for readings, dataset, models and report.")] = Path("out/demo"),
    allow_cleartext: AllowCleartext = False,
) -> None:
    """Goes the whole way once: readings, dataset, a model of each kind on Spark, report."""
    allow_cleartext_in(ctx, allow_cleartext)
    from hindcast.launch.demo import run

    run(readings, timestamp, tuple(series or ()), tuple(values or ()), out, tuple(fit or ()), ctx.obj, Progress())


@app.command()
def draw(
    subject: Annotated[str, typer.Argument(metavar="|".join(SUBJECTS), help="What the readings are of.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.csv", help="The file to write.", show_default=False)],
    steps: Annotated[
        int | None,
        typer.Option(
            help=f"Hours. Default: {', '.join(f'{s.steps:,} of a {n}' for n, s in SUBJECTS.items())}.", show_default=False
        ),
    ] = None,
    skip: Annotated[int, typer.Option(help="Go on behind so many hours, with what came after them.")] = 0,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = SEED,
    overwrite: Overwrite = False,
) -> None:
    """Draws readings to try things on: those of `hindcast demo`'s fleet of sensors, or of a transformer with ETTh1's columns."""
    hours = draw_readings(subject, out, steps, skip, seed, overwrite)
    console.print(f"{hours:,} hours: {out}", highlight=False, markup=False)


@app.command()
def readings(
    ctx: typer.Context,
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The TOML file that `hindcast prep` takes.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="REPORT", help="A page with figures, such as report.html.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Shows what is wrong with readings before anything is changed: gaps, duplicates, order, missing values, outliers."""
    # Windows decide nothing here, and somebody who only looks has not chosen them yet.
    dataset_spec, settings = settings_.load_spec(spec, ctx.obj | {"windows.context": "1", "windows.horizon": "1"})
    from hindcast.launch.survey import report

    if out is not None:
        refuse_taken(out, overwrite, must_be_file)
    report(dataset_spec, settings, out, overwrite, Progress())


@app.command()
def prep(
    ctx: typer.Context,
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A TOML file: readings, grid, split, scaling, windows.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The dataset to write, a directory or a URI (s3://…).")],
    overwrite: Overwrite = False,
) -> None:
    """Turns readings into a dataset of fixed-length sequences, or into one for each of several origins (--split.origins)."""
    dataset_spec, settings = settings_.load_spec(spec, ctx.obj)
    from hindcast.launch.inspection import record_dataset, show
    from hindcast.launch.spark.cluster import session_on
    from hindcast.launch.spark.java import brief_java_conf
    from hindcast.prep.origins import must_be_origins, prepare_origins
    from hindcast.prep.pipeline import prepare
    from hindcast.prep.readings.sources import Where

    by_origin = dataset_spec.split.origins > 1
    targets.refuse_taken(out, overwrite, must_be_origins if by_origin else must_be_dataset)
    progress = Progress()
    tables: tuple[Where, ...] = (dataset_spec.readings, dataset_spec.attributes, *dataset_spec.joins)
    brief = {} if any(table.table for table in tables) else brief_java_conf([path for table in tables for path in table.path])
    with session_on(settings.cluster, "hindcast prep", brief) as spark, progress.stage("preparing", spark, str(spec)):
        if by_origin:
            datasets = prepare_origins(spark, dataset_spec, out, overwrite=overwrite, on_stage=progress.enter)
        else:
            datasets = [prepare(spark, dataset_spec, out, overwrite=overwrite, on_stage=progress.enter)]
    for dataset in datasets:
        record_dataset(dataset)
    for dataset in datasets:
        show(dataset)


@app.command()
def append(
    ctx: typer.Context,
    dataset: Dataset,
    readings: Annotated[
        list[str], typer.Argument(metavar="READINGS...", help="Files like those that it was made from.", show_default=False)
    ],
    settings: SettingsFile = None,
) -> None:
    """Adds later readings to a dataset, with the splits and the scaling that it has."""
    run_settings = settings_.load(settings, ctx.obj)
    from hindcast.launch.inspection import record_dataset, show
    from hindcast.launch.spark.cluster import session_on
    from hindcast.prep.appending import append as append_

    SequenceDataset.open(dataset)  # before the time for Spark is spent
    progress = Progress()
    with session_on(run_settings.cluster, "hindcast append") as spark, progress.stage("appending", spark, dataset):
        longer = append_(spark, dataset, readings, on_stage=progress.enter)
    record_dataset(longer)
    show(longer)


@app.command()
def inspect(
    dataset: Dataset,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its SHA-256.")] = False,
) -> None:
    """Shows what a dataset holds, and what was dropped or filled when it was made."""
    from hindcast.launch.inspection import show, verify_files

    opened = SequenceDataset.open(dataset)
    if verify:
        verify_files(opened)
    show(opened)


app.add_typer(fit_commands, name="fit")


@app.command()
def tune(
    ctx: typer.Context,
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", help="The folder for trials.json, trials.csv, best.toml.", show_default=False)],
    tries: Annotated[
        list[str],
        typer.Option(
            "--try", metavar="SETTING=VALUES", help="lstm.units=64,128 or lstm.learning_rate=1e-4..1e-2; can be repeated."
        ),
    ],
    settings: SettingsFile = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Draw so many at random; without it, every combination is tried.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    grace: Annotated[
        int, typer.Option(min=1, help="Epochs that each trial is given before it may be stopped; as many as lstm.epochs: never.")
    ] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Tries settings of models side by side on Spark, and writes those with the least validation loss as a settings file."""
    run_settings = settings_.load(settings, ctx.obj)
    from hindcast.launch.tuning.choices import settings_to_try, tried_fields

    kind, fields = tried_fields(tries)
    for field in fields:
        if f"{kind.name}.{field}" in ctx.obj:
            raise InputError(f"--{kind.name}.{field}: is given to all trials, and tried with --try too; one of them was expected")
    base = run_settings.of(kind)[kind.name]
    listed = settings_to_try(tries, base, trials, seed)
    from hindcast.launch.fitting import open_to_fit
    from hindcast.launch.spark.cluster import session_on
    from hindcast.launch.tuning.tune import must_be_search
    from hindcast.launch.tuning.tune import tune as tune_

    opened, progress = open_to_fit(dataset), Progress()
    assert kind.tuning is not None, "only what can be tuned is tried"
    kind.tuning.must_suit(opened, listed)
    refuse_taken(out, overwrite, must_be_search)
    about = {
        "command": shlex.join(["hindcast", *sys.argv[1:]]), "dataset": opened.location, "digest": opened.digest, "seed": seed,
        "base": base.model_dump(mode="json"),
    }  # fmt: skip
    with session_on(run_settings.cluster, "hindcast tune", kind.tuning.spark) as spark:
        tune_(spark, opened, kind, listed, fields, grace, out, overwrite, about, progress)


@app.command()
def forecast(
    ctx: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `hindcast fit` wrote.", show_default=False)],
    source: Annotated[
        str, typer.Argument(metavar="WHAT", help="A dataset, or readings: a .csv, .json or .parquet file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write, .csv or .parquet.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="Of a dataset: forecast every window of this split, test by default.", show_default=False)
    ] = None,
    settings: SettingsFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Writes what a model expects, in the units of the sensors: after every context of a split, or after the last readings."""
    from hindcast.launch.forecasts.of_readings import are_readings, write_forecasts_of_readings
    from hindcast.launch.forecasts.of_windows import write_forecasts

    progress = Progress()
    if are_readings(source):
        run_settings = settings_.load(settings, ctx.obj)
        if split is not None:
            raise InputError(f"--split {split}: {source} holds readings, and only a dataset has splits")
        from hindcast.launch.spark.cluster import session_on

        refuse_taken(out, overwrite, must_be_file)
        must_forecast(read_card(model), model)  # before the time for Spark is spent
        with session_on(run_settings.cluster, "hindcast forecast") as spark, progress.stage("forecasting", spark, source):
            counts = write_forecasts_of_readings(spark, model, source, out, overwrite)
        for reason, series in counts.reasons.items():
            console.print(f"not forecast: {series:,} series, {reason}", highlight=False, markup=False)
        console.print(f"{counts.rows:,} forecast steps of {counts.series:,} series: {out}")
        return
    if ctx.obj or settings:
        raise InputError(f"{'--settings' if settings else '--' + next(iter(ctx.obj))}: a dataset is forecast without settings")
    from hindcast.launch.models import load

    opened = SequenceDataset.open(source)
    with progress.stage("forecasting", about=split or "test"):
        rows = write_forecasts(load(model, opened), opened, split or "test", out, overwrite, progress.update)
    console.print(f"{rows:,} forecast steps: {out}")


@app.command()
def compare(
    ctx: typer.Context,
    dataset: Dataset,
    out: Annotated[
        Path, typer.Option("--out", metavar="REPORT", help="report.html, or a folder for it; scores.json lies beside it.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL",
            help="A fitted model's folder, or package.module:factory, which makes one of your own; can be repeated.",
            show_default=False,
        ),
    ] = None,
    fit: Fits = None,
    settings: SettingsFile = None,
    allow_cleartext: AllowCleartext = False,
) -> None:
    """Gives every model the same windows and says which one forecasts best, and at what cost.

    Without --model and --fit, every entrant of the settings is fitted, or one model of each kind.
    """
    allow_cleartext_in(ctx, allow_cleartext)
    run_settings = settings_.load(settings, ctx.obj)
    from hindcast.launch.comparing.compare import compare_models, report_path, season_to_compare, show_and_write
    from hindcast.launch.comparing.entrants import enter, entrant_requests, must_suit
    from hindcast.launch.fitting import open_to_fit

    requests = entrant_requests(model or (), fit or (), run_settings)
    opened, progress = open_to_fit(dataset), Progress()
    must_be_numbers(opened)
    must_suit(requests, opened)
    report_path(out)
    season_to_compare(opened, run_settings.compare)  # before the time for fitting is spent
    entrants = enter(requests, opened, run_settings, progress)
    command = shlex.join(["hindcast", *sys.argv[1:]])
    show_and_write(compare_models(opened, entrants, run_settings.compare, command, progress), out, progress)
