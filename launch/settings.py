"""All settings of a run: one TOML file, every field of which can be given on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from classical.hmm.settings import HmmSettings
from deep.serving import ports_of
from deep.settings import LstmSettings, PartitionSettings
from launch.capacity import WAIT_SECONDS
from launch.runs import run
from prep.errors import InputError
from prep.spec import Spec, Table, override, read_settings, validate


class CompareSettings(Table):
    """`season`: steps that seasonal-naive looks back, a day by default. `examples`: how many forecasts the report draws."""

    season: int | None = Field(default=None, ge=1)
    examples: int = Field(default=6, ge=1, le=24)


class ClusterSettings(Table):
    """Where Spark runs, and where LSTMs train.

    master           "local[2]", "spark://host:7077", "yarn", "k8s://…"; under spark-submit that decides. None: all cores of here
    on               "horovod": ranks of Horovod on Spark; "partitions": Spark's tasks, without Horovod; "local": this process
    ranks            of Horovod; None: one for each GPU, without these two, or one where Spark runs one task at a time
    least_ranks      where ranks are lost, a training goes on from its last checkpoint on as many as are left, and no fewer than
                     these; None: it ends
    wait_seconds     that a cluster is given to come up with an executor, at first and where all were lost
    gpus_per_worker  of each of Spark's executors (of this machine, where Spark runs on it alone); each rank gets one
    ports            "47000-47031": where the watch over ranks, Horovod's own servers and those that trials ask listen; None: any
    allow_cleartext  ranks may train where Spark encrypts what it sends, though what they send each other is not encrypted
    """

    master: str | None = None
    ranks: int | None = Field(default=None, ge=1)
    least_ranks: int | None = Field(default=None, ge=1)
    wait_seconds: float = Field(default=WAIT_SECONDS, gt=0)
    gpus_per_worker: int | None = Field(default=None, ge=1)
    ports: str | None = None
    allow_cleartext: bool = False
    on: Literal["horovod", "partitions", "local"] = "horovod"

    @field_validator("ports")
    @classmethod
    def must_be_a_range(cls, ports: str | None) -> str | None:
        ports_of(ports)
        return ports


class Settings(Table):
    """Everything but what to prepare."""

    hmm: HmmSettings = HmmSettings()
    lstm: LstmSettings = LstmSettings()
    compare: CompareSettings = CompareSettings()
    cluster: ClusterSettings = ClusterSettings()
    partitions: PartitionSettings = PartitionSettings()


def load(path: str | Path | None, overrides: dict[str, str]) -> Settings:
    """The settings of a file, if one is given, and of the command line. What the file says of readings is left to `load_spec`.
    The run is told of them."""
    for field in overrides:
        if field.split(".")[0] in Spec.model_fields:
            raise InputError(
                f"--{field}: decides what a dataset holds, and this one is prepared already. Give it to `hindcast prep`"
            )
    settings = validate(Settings, _tables(path, overrides, Settings), where=str(path or "command line"))
    run().note(settings=settings.model_dump(mode="json"))
    return settings


def load_spec(path: str | Path, overrides: dict[str, str]) -> tuple[Spec, Settings]:
    """What to prepare, and the settings that stand beside it."""
    others = {field: text for field, text in overrides.items() if field.split(".")[0] not in Spec.model_fields}
    spec = validate(Spec, _tables(path, overrides, Spec), where=str(path))
    run().note(settings=spec.model_dump(mode="json"))
    return spec, load(path, others)


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Arguments without those like `--table.field value` or `--table.field=value`, and these as {"table.field": "value"}."""
    kept: list[str] = []
    overrides: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        if not re.fullmatch(r"--[a-z_]+(\.[a-z_]+)+", name):
            kept.append(argument)
            continue
        value = text if equals else next(rest, None)
        if value is None:
            raise InputError(f"{name}: a value is missing")
        overrides[name.removeprefix("--")] = value
    return kept, overrides


def _tables(path: str | Path | None, overrides: dict[str, str], model: type[Table]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if path is not None:
        tables = read_settings(path, overrides)
    else:
        for field, text in overrides.items():
            override(tables, field, text)
    known = {*Spec.model_fields, *Settings.model_fields}
    unknown = sorted(tables.keys() - known)
    if unknown:
        raise InputError(f"{path or 'command line'}: no table {unknown[0]!r}; the tables are {', '.join(sorted(known))}")
    return {name: table for name, table in tables.items() if name in model.model_fields}
