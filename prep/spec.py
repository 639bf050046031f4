"""What the user asks for: one TOML file, every field checked before anything runs."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prep.errors import InputError

MICROS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
Model = TypeVar("Model", bound=BaseModel)


def read_settings(path: str | Path, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """The tables of a TOML file. `overrides` maps dotted fields to text, as a command line gives them: {"windows.horizon": "96"}.

    A relative `readings.path` in the file is relative to the file; in an override, to the working directory.
    Raises InputError, naming the file.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such settings file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a directory, and a TOML settings file was expected") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    readings = tables.get("readings")
    if isinstance(readings, dict) and isinstance(readings.get("path"), str) and not has_scheme(readings["path"]):
        readings["path"] = str(path.parent / readings["path"])
    for field, text in (overrides or {}).items():
        override(tables, field, text)
    return tables


def override(tables: dict[str, Any], field: str, text: str) -> None:
    """Sets one dotted field to what TOML makes of the text, or to the text itself where that is not TOML ("3h", a path)."""
    *parents, name = field.split(".")
    table = tables
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise InputError(f"--{field}: {parent} is a value, not a table of values")
    try:
        table[name] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[name] = text


def validate(model: type[Model], tables: dict[str, Any], where: str) -> Model:
    """The tables as a model; InputError names every field that is wrong."""
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"]) or "settings"
            found = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
            problems.append(f"{where}: {field}: {problem['msg'].removeprefix('Value error, ')}{found}")
        raise InputError("\n".join(problems)) from None


def duration_micros(text: str) -> int:
    """Microseconds in "5min", "1h", "0.5s", "1d"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|m|h|d)\s*", text)
    micros = round(float(match[1]) * MICROS[match[2]]) if match else 0
    if micros <= 0:
        raise ValueError('expected a duration such as "30s", "5min", "1h" or "1d"')
    return micros


def duration_text(micros: int) -> str:
    """The shortest text of a duration that `duration_micros` reads back exactly."""
    unit = next(unit for unit in ("d", "h", "min", "s", "ms", "us") if micros % MICROS[unit] == 0)
    return f"{micros // MICROS[unit]}{unit}"


def has_scheme(path: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*:", path) is not None


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadingsSpec(Table):
    """Where the readings are, and which columns they are in."""

    path: str
    timestamp: str = "timestamp"
    series: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    format: Literal["csv", "parquet"] | None = None
    bad_rows: Literal["error", "quarantine"] = "error"

    @field_validator("series", "values", mode="before")
    @classmethod
    def one_or_several(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) else names

    @model_validator(mode="after")
    def each_column_once(self) -> ReadingsSpec:
        columns = (self.timestamp, *self.series, *self.values)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice among timestamp, series and values")
        return self


class GridSpec(Table):
    """The regular time grid. Without a step, the commonest interval is taken; gaps up to `max_gap` are filled, longer ones split.

    `max_gap` is the time between the readings on either side, three steps by default. "linear" looks at the reading after
    the gap, so a forecast may see up to `max_gap` of its own future where its context ends inside one; "previous" never does.
    """

    step: str | None = None
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    fill: Literal["none", "previous", "linear"] = "previous"
    max_gap: str | None = None

    @field_validator("step", "max_gap")
    @classmethod
    def is_duration(cls, text: str | None) -> str | None:
        if text is not None:
            duration_micros(text)
        return text


class SplitSpec(Table):
    """How long each split is: steps (8640), a share of the whole span (0.7), or the time at which it ends ("2017-06-26")."""

    train: int | float | str = 0.7
    validation: int | float | str = 0.1
    test: int | float | str = 0.2

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def time_as_text(cls, value: Any) -> Any:
        """TOML has dates and times of its own."""
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("train", "validation", "test")
    @classmethod
    def is_border(cls, value: int | float | str) -> int | float | str:
        if isinstance(value, str):
            datetime.fromisoformat(value)
        elif isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("a share lies between 0 and 1; steps are a whole number")
        elif value < 0:
            raise ValueError("a number of steps is not negative")
        return value

    @model_validator(mode="after")
    def shares_fit(self) -> SplitSpec:
        shares = [value for value in (self.train, self.validation, self.test) if isinstance(value, float)]
        if sum(shares) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(shares):g}, more than the whole")
        return self


class ScalingSpec(Table):
    """How values are scaled, by statistics of the training split alone."""

    method: Literal["standard", "minmax", "none"] = "standard"
    per: Literal["global", "series"] = "global"


class WindowsSpec(Table):
    """The windows that models see, in steps. A stored row packs `windows_per_row` overlapping windows; 1 stores each apart."""

    context: int = Field(ge=1)
    horizon: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)
    windows_per_row: int | None = Field(default=None, ge=1)


class Spec(Table):
    """Everything that decides what a dataset holds."""

    readings: ReadingsSpec
    grid: GridSpec = GridSpec()
    split: SplitSpec = SplitSpec()
    scaling: ScalingSpec = ScalingSpec()
    windows: WindowsSpec
