"""`hindcast fit hmm` and `hindcast fit lstm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecasting.card import must_be_model
from launch import settings as settings_
from launch.arguments import AllowCleartext, Dataset, Overwrite, SettingsFile, allow_cleartext_in
from launch.progress import Progress, console
from launch.runs import run
from prep.placing import refuse_taken

fit = typer.Typer(no_args_is_help=True, help="Fits a model to the training split of a dataset.")
Out = Annotated[Path, typer.Option("--out", help="The folder for the model.", show_default=False)]


@fit.command("hmm")
def fit_hmm(
    ctx: typer.Context,
    dataset: Dataset,
    out: Out,
    settings: SettingsFile = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that a killed fit left beside --out.")
    ] = False,
) -> None:
    """A hidden Markov model, by EM on Spark. Every few iterations the fit is saved in OUT.checkpoint, until OUT is there."""
    chosen = settings_.load(settings, ctx.obj)
    from classical.hmm.saving import save
    from launch.cluster import session_on
    from launch.fitting import fit_hmm as fit_
    from launch.fitting import open_to_fit

    opened, progress = open_to_fit(dataset), Progress()
    refuse_taken(out, overwrite, must_be_model)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if checkpoint.exists() and not resume:
        console.print(f"{checkpoint} of an earlier fit is there, and will be replaced: --resume goes on from it")
    with session_on(chosen.cluster, "hindcast fit hmm") as spark:
        save(fit_(spark, opened, chosen, progress, checkpoint, resume), out, overwrite=overwrite)
    run().wrote("model", out)
    checkpoint.unlink(missing_ok=True)
    console.print(f"model: {out}")


@fit.command("lstm")
def fit_lstm(
    ctx: typer.Context,
    dataset: Dataset,
    out: Out,
    settings: SettingsFile = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on, at the very step, from the checkpoint that a killed fit left beside --out.")
    ] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="A folder for TensorBoard's event files.")] = None,
    allow_cleartext: AllowCleartext = False,
) -> None:
    """An LSTM: with Horovod on Spark, in one process (--cluster.on local), or as a rank where horovodrun started this.

    Its way is saved in OUT.checkpoint, until OUT is there. Where MLFLOW_TRACKING_URI is set, MLflow is told of every epoch.
    """
    allow_cleartext_in(ctx, allow_cleartext)
    chosen = settings_.load(settings, ctx.obj)
    from contextlib import nullcontext

    from deep.journal import journal
    from deep.started import first_rank
    from launch.fitting import fit_lstm as fit_
    from launch.fitting import open_to_fit

    opened = open_to_fit(dataset)
    refuse_taken(out, overwrite, must_be_model)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if first_rank() and checkpoint.exists() and not resume:
        console.print(f"{checkpoint} of an earlier fit is there, and will be replaced: --resume goes on from it")
    about = {"dataset": opened.location, **chosen.lstm.model_dump(mode="json")}
    with journal(out.name, about, tensorboard) if first_rank() else nullcontext(lambda record: None) as told:
        model = fit_(opened, chosen, Progress(), None, checkpoint, resume, told)
    if model is not None:  # ranks other than the first have nothing to write
        model.save(out, overwrite=overwrite)
        run().wrote("model", out)
        checkpoint.unlink(missing_ok=True)
        console.print(f"model: {out}")
