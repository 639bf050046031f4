"""`hindcast fit KIND`: a command for each kind of models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from hindcast.deep.ways.started import first_rank
from hindcast.forecasting.card import must_be_model
from hindcast.forecasting.kind import Kind, Option
from hindcast.launch import settings as settings_
from hindcast.launch.cli.arguments import Dataset, Overwrite, SettingsFile, allow_cleartext_in
from hindcast.launch.kinds import KINDS, kind_named
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.runs import run
from hindcast.prep.files.placing import must_be_file, refuse_taken

Out = Annotated[Path, typer.Option("--out", help="The folder for the model.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint that a killed fit left beside --out.")]


class Kinds(typer.core.TyperGroup):
    """The group of commands, one for each kind; for an unknown kind the error lists those that exist."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None and not cmd_name.startswith("-"):
            kind_named(cmd_name, "fit")
        return command


fit = typer.Typer(cls=Kinds, no_args_is_help=True, help="Fits a model to the training split of a dataset.")


def command_of(kind: Kind) -> Callable[..., None]:
    """The function behind `hindcast fit KIND`, with the kind's own options among its parameters."""

    def command(
        ctx: typer.Context,
        dataset: Dataset,
        out: Out,
        settings: SettingsFile = None,
        overwrite: Overwrite = False,
        resume: Resume = False,
        **options: Any,
    ) -> None:
        allow_cleartext_in(ctx, options.get("allow_cleartext", False))
        run_settings = settings_.load(settings, ctx.obj)
        from hindcast.launch.fitting import fit as fit_
        from hindcast.launch.fitting import open_to_fit

        opened = open_to_fit(dataset)
        refuse_taken(out, overwrite, must_be_model)
        checkpoint = out.with_name(f"{out.name}.checkpoint")
        if first_rank():
            refuse_taken(checkpoint, True, must_be_file)
        if first_rank() and checkpoint.exists() and not resume:
            message = f"{checkpoint} of an earlier fit is there, and will be replaced: --resume goes on from it"
            console.print(message, markup=False)
        model = fit_(
            kind, opened, run_settings.of(kind), run_settings.cluster, Progress(), name=out.name, checkpoint=checkpoint,
            resume=resume, options=options,
        )  # fmt: skip
        if model is not None:  # ranks other than the first have nothing to write
            kind.save(model, out, overwrite)
            run().wrote("model", out)
            checkpoint.unlink(missing_ok=True)
            console.print(f"model: {out}", markup=False)

    # Typer reads the options of a command from its signature.
    own_parameters = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [
        *(parameter for parameter in own_parameters if parameter.kind is not parameter.VAR_KEYWORD),
        *map(_parameter, kind.options),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(option: Option) -> inspect.Parameter:
    of: Any = Path | None if option.path else bool
    annotation = Annotated[of, typer.Option(f"--{option.name}", help=option.help, show_default=False)]
    name, default = option.name.replace("-", "_"), None if option.path else False
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


for _kind in KINDS.values():
    fit.command(_kind.name, help=_kind.summary)(command_of(_kind))
