"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hindcast.launch.kinds import KINDS

Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="A dataset that `hindcast prep` wrote, its path or URI.", show_default=False)
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help=f"A TOML file with tables {', '.join(KINDS)}, compare, cluster, entrants.")
]
Fits = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]KIND",
        help=f"Fit a model of this kind ({', '.join(KINDS)}), or an entrant of the settings; can be repeated.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AllowCleartext = Annotated[
    bool, typer.Option("--allow-cleartext", help="Let Horovod's ranks talk unencrypted where Spark's traffic is encrypted.")
]


def allow_cleartext_in(ctx: typer.Context, allowed: bool) -> None:
    """Puts `--allow-cleartext` among the settings."""
    if allowed:
        ctx.obj["cluster.allow_cleartext"] = "true"
