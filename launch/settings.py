"""All settings of a run: a TOML file, every field of which is also an option of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model, field_validator

from hindcast.deep.ways.listening import ports_of
from hindcast.forecasting.entrant import must_be_names
from hindcast.forecasting.kind import Kind, Tables
from hindcast.launch.kinds import KINDS
from hindcast.launch.spark.capacity import WAIT_SECONDS
from hindcast.launch.watching.runs import run
from hindcast.prep.errors import InputError
from hindcast.prep.spec import Spec, Table, override, read_settings, validate


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
    """All settings but those of the preparation. `CompleteSettings` adds the tables of each kind of models.

    entrants   name → kind and settings, of models of a comparison that differ from the tables of their kind
    """

    compare: CompareSettings = CompareSettings()
    cluster: ClusterSettings = ClusterSettings()
    entrants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def of(self, kind: Kind) -> Tables:
        """The tables of a kind."""
        return {name: getattr(self, name) for name in kind.tables}

    def entrant(self, name: str) -> tuple[Kind, Tables]:
        """The kind and the tables of an entrant: those of the kind, with the values that `entrants` has for it.

        Raises InputError where it names no kind, and for a field that its kind has not.
        """
        where = f"entrants.{name}"
        fields = dict(self.entrants[name])
        kind = fields.pop("kind", None)
        if not isinstance(kind, str) or kind not in KINDS:
            problem = f"found {kind!r}" if kind is not None else "found none"
            raise InputError(f'{where}.kind: {problem}, expected one of {", ".join(KINDS)}: kind = "{next(iter(KINDS))}"')
        beside = {table: fields.pop(table) for table in KINDS[kind].tables if table != kind and table in fields}
        own = {kind: _changed(getattr(self, kind), fields, where)}
        return KINDS[kind], own | {
            table: _changed(getattr(self, table), beside.get(table, {}), f"{where}.{table}")
            for table in KINDS[kind].tables
            if table != kind
        }


def _changed(table: BaseModel, more: Any, where: str) -> Any:
    """A table with other values of some fields."""
    if not isinstance(more, dict):
        raise InputError(f"{where}: found {more!r}, expected a table of settings")
    # What was left out stays left out: another emission has other fields.
    return validate(type(table), table.model_dump(exclude_unset=True) | more, where)


# The tables of each kind are fields of their own: a file says [hmm], the command line --hmm.states.
CompleteSettings: type[Settings] = create_model(
    "CompleteSettings",
    __base__=Settings,
    **{name: (table, table()) for kind in KINDS.values() for name, table in kind.tables.items()},
)  # type: ignore[call-overload]


def load(path: str | Path | None, overrides: dict[str, str]) -> Settings:
    """The settings of a file, if there is one, and of the command line, which wins. The run notes them.

    path       a TOML file; its tables of the preparation are left to `load_spec`
    overrides  field → text, such as "lstm.epochs" → "10"

    Raises InputError for a file that cannot be read, and for an unknown or wrong field.
    """
    for field in overrides:
        if field.split(".")[0] in Spec.model_fields:
            raise InputError(
                f"--{field}: decides what a dataset holds, and this one is prepared already. Give it to `hindcast prep`"
            )
    settings = validate(CompleteSettings, _tables(path, overrides, CompleteSettings), where=str(path or "command line"))
    must_be_names(settings.entrants, ())
    for name in settings.entrants:
        settings.entrant(name)  # wrong fields are named before any work
    run().note(settings=settings.model_dump(mode="json"))
    return settings


def load_spec(path: str | Path, overrides: dict[str, str]) -> tuple[Spec, Settings]:
    """The tables of the preparation, and all other settings. Raises InputError as `load` does."""
    other_fields = {field: text for field, text in overrides.items() if field.split(".")[0] not in Spec.model_fields}
    spec = validate(Spec, _tables(path, overrides, Spec), where=str(path))
    run().note(settings=spec.model_dump(mode="json"))
    return spec, load(path, other_fields)


def _tables(path: str | Path | None, overrides: dict[str, str], model: type[Table]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if path is not None:
        tables = read_settings(path, overrides)
    else:
        for field, text in overrides.items():
            override(tables, field, text)
    names = {*Spec.model_fields, *CompleteSettings.model_fields}
    unknown = sorted(tables.keys() - names)
    if unknown:
        raise InputError(f"{path or 'command line'}: no table {unknown[0]!r}; the tables are {', '.join(sorted(names))}")
    return {name: table for name, table in tables.items() if name in model.model_fields}
