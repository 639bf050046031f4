"""What the user asks for: one TOML file, every field checked before anything runs."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hindcast.prep.errors import InputError

MICROS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
Model = TypeVar("Model", bound=BaseModel)


def read_settings(path: str | Path, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """The tables of a TOML file. `overrides` maps dotted fields to text, as a command line gives them: {"windows.horizon": "96"}.

    A relative path in the file is relative to the file; in an override, to the working directory.
    Raises InputError, naming the file.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        folder = path.absolute().parent
        raise InputError(f"{path}: no such settings file in {folder}; expected one in TOML, like those of examples/") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a directory, and a TOML settings file was expected") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    for table in (tables.get("readings"), tables.get("attributes"), *_tables(tables.get("joins"))):
        if isinstance(table, dict) and isinstance(table.get("path"), str | list):
            table["path"] = [_beside(path, name) if isinstance(name, str) else name for name in _as_list(table["path"])]
    for field, text in (overrides or {}).items():
        override(tables, field, text)
    return tables


def _tables(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else value


def _beside(settings: Path, path: str) -> str:
    return path if has_scheme(path) else str(settings.parent / path)


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
            value = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
            problems.append(f"{where}: {field}: {problem['msg'].removeprefix('Value error, ')}{value}")
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


def _as_names(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names


def _is_duration(text: str) -> str:
    duration_micros(text)
    return text


def _is_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("not the name of a time zone, such as Europe/Berlin or UTC") from None
    return name


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
Duration = Annotated[str, AfterValidator(_is_duration)]
TimeZone = Annotated[str, AfterValidator(_is_time_zone)]
Aggregate = Literal["mean", "last", "min", "max", "sum", "count"]
CalendarFeature = Literal["minute", "hour", "weekday", "day", "week", "month"]
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1, "epoch_ns": 0.001}


class SourceSpec(Table):
    """Where a table is: files (a path, a directory, a glob, or several; with a scheme, through Hadoop), or a table that Spark
    knows.

    `timestamp_format` is a pattern of Spark's ("dd.MM.yyyy HH:mm") or one of EPOCHS; without it, what ISO 8601 allows. Times
    without an offset are those of `time_zone`.
    """

    path: Names = ()
    table: str | None = None
    format: Literal["csv", "json", "parquet"] | None = None
    timestamp: str = "timestamp"
    timestamp_format: str | None = None
    time_zone: TimeZone = "UTC"

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.table or ", ".join(self.path) or "the DataFrame"

    @model_validator(mode="after")
    def files_or_table(self) -> SourceSpec:
        if self.path and self.table:
            raise ValueError("a path and a table were given; one of them was expected")
        return self


class ReadingsSpec(SourceSpec):
    """The readings, and what their columns mean.

    Long form has a row for each series and time. Wide form has a column for each series, those of `values`, and one channel,
    named `channel`. Of `values`, `counts` are whole numbers that are not scaled, and `categories` are codes or words, with their
    vocabulary where it is not to be learnt from the training split. `labels` are carried along for evaluation and are no input.
    """

    form: Literal["long", "wide"] = "long"
    channel: str = "value"
    series: Names = ()
    values: Names = ()
    counts: Names = ()
    categories: dict[str, tuple[str, ...] | None] = {}
    labels: Names = ()
    bad_rows: Literal["error", "quarantine"] = "error"

    @property
    def only_series(self) -> str:
        """What the series is called where no column tells several apart: as the file or the table."""
        if self.table:
            return self.table.split(".")[-1]
        name = Path(self.path[0]).name.split(".")[0] if len(self.path) == 1 else ""
        return name if name and not set(name) & set("*?[{") else "readings"

    @field_validator("categories", mode="before")
    @classmethod
    def names_or_vocabularies(cls, value: Any) -> Any:
        value = _as_names(value)
        return value if isinstance(value, dict) else dict.fromkeys(value)

    @model_validator(mode="after")
    def each_column_once(self) -> ReadingsSpec:
        columns = (self.timestamp, *self.series, *self.values, *self.labels)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice among timestamp, series, values and labels")
        both = sorted({*self.counts} & {*self.categories})
        if both:
            raise ValueError(f"{both[0]!r} is named as a count and as a category")
        strangers = sorted({*self.counts, *self.categories} - {*self.values}) if self.values and self.form == "long" else []
        if strangers:
            raise ValueError(f"{strangers[0]!r} is named as a count or category, and is not among values")
        if self.form == "wide" and (self.series or self.labels):
            raise ValueError("in wide form every column is a series; series and labels have no place in it")
        if self.form == "wide" and {*self.counts, *self.categories} - {self.channel}:
            raise ValueError(f"in wide form there is one channel, {self.channel!r}")
        return self


class JoinSpec(SourceSpec):
    """A second table whose `values` become covariates: at each step the latest at or before it, at most `tolerance` old.

    `series` are columns of this table which are named the same among the readings' series columns; without any, the table serves
    every series. `known` says that the values are known in advance (a timetable, a weather forecast), so that a model may see
    them over the horizon.
    """

    values: Names
    tolerance: Duration
    series: Names = ()
    known: bool = False


class AttributesSpec(Table):
    """What does not change about a series: columns of the readings, or of a table with a row for each series."""

    values: Names = ()
    path: Names = ()
    table: str | None = None
    format: Literal["csv", "json", "parquet"] | None = None


class CalendarSpec(Table):
    """Channels known in the future, made from the time of a step in `time_zone`: each is a sine and a cosine over its period."""

    features: Annotated[tuple[CalendarFeature, ...], BeforeValidator(_as_names)] = ()
    time_zone: TimeZone = "UTC"


class GridSpec(Table):
    """The regular time grid. Without a step, the commonest interval is taken; gaps up to `max_gap` are filled, longer ones split.

    Without `aggregate` each reading goes to its nearest step, and two on a step are duplicates. With it, a step k stands for the
    readings from its time up to the next step's, as pandas' `resample` has it: one rule for all channels, or one for each; only
    readings of the very same time are duplicates then. Categories and labels always take the last.

    `max_gap` is the time between the readings on either side, three steps by default. "linear" looks at the reading after
    the gap, so a forecast may see up to `max_gap` of its own future where its context ends inside one; "previous" never does.
    """

    step: Duration | None = None
    aggregate: Aggregate | dict[str, Aggregate] | None = None
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    fill: Literal["none", "previous", "linear"] = "previous"
    max_gap: Duration | None = None


Extent = int | float | str | tuple[str, ...]


class SplitSpec(Table):
    """How long each split is: steps (8640), a share of the whole (0.7), or the time at which it ends ("2017-06-26").

    `by` series, whole series go to a split: a share of them, drawn with `seed`, or those named in a list. After each border in
    time, `embargo` (steps or a duration) belongs to no split. With several `origins` there are as many datasets: the last is
    split as said, and in each one before, every border lies `every` earlier (steps or a duration; by default the length of the
    test split).
    """

    by: Literal["time", "series"] = "time"
    train: Extent = 0.7
    validation: Extent = 0.1
    test: Extent = 0.2
    seed: int = 0
    embargo: int | Duration = 0
    origins: int = Field(default=1, ge=1)
    every: int | Duration | None = None

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def time_as_text(cls, value: Any) -> Any:
        """TOML has dates and times of its own."""
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("train", "validation", "test")
    @classmethod
    def is_extent(cls, value: Extent) -> Extent:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("a share lies between 0 and 1; steps are a whole number")
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of steps is not negative")
        if isinstance(value, str):
            datetime.fromisoformat(value)
        return value

    @field_validator("embargo", "every")
    @classmethod
    def not_negative(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of steps is not negative")
        return value

    @model_validator(mode="after")
    def extents_fit(self) -> SplitSpec:
        extents = {"train": self.train, "validation": self.validation, "test": self.test}
        for split, value in extents.items():
            if self.by == "series" and not isinstance(value, float | tuple):
                raise ValueError(f"{split}: by series, a split is a share (0.2) or a list of names, found {value!r}")
            if self.by == "time" and isinstance(value, tuple):
                raise ValueError(f'{split}: a list of series needs by = "series"')
        shares = [value for value in extents.values() if isinstance(value, float)]
        if sum(shares) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(shares):g}, more than the whole")
        if self.by == "series":
            if 0 < len(shares) < len(extents):
                raise ValueError("by series, either every split is a share or every one is a list of names")
            named = [name for value in extents.values() if isinstance(value, tuple) for name in value]
            twice = sorted({name for name in named if named.count(name) > 1})
            if twice:
                raise ValueError(f"series {twice[0]!r} is in two splits")
            if self.embargo or self.origins > 1:
                raise ValueError("embargo and origins are about borders in time; by series there are none")
        return self


class ScalingSpec(Table):
    """How values are scaled, by statistics of the training split alone.

    A series without training data is scaled like all together ("global"), or refused ("error").
    """

    method: Literal["standard", "robust", "minmax", "none"] = "standard"
    per: Literal["global", "series"] = "global"
    unseen: Literal["global", "error"] = "global"


class WindowsSpec(Table):
    """The windows that models see, in steps: a context, a lead that is skipped, and the horizon to forecast.

    A window of which less than the share `min_observed` was measured is left out. A stored row packs up to `windows_per_row`
    overlapping windows; 1 stores each apart.
    """

    context: int = Field(ge=1)
    horizon: int = Field(ge=1)
    lead: int = Field(default=0, ge=0)
    stride: int = Field(default=1, ge=1)
    min_observed: float = Field(default=0.0, ge=0, le=1)
    windows_per_row: int | None = Field(default=None, ge=1)


class Spec(Table):
    """Everything that decides what a dataset holds."""

    readings: ReadingsSpec
    joins: tuple[JoinSpec, ...] = ()
    attributes: AttributesSpec = AttributesSpec()
    calendar: CalendarSpec = CalendarSpec()
    grid: GridSpec = GridSpec()
    split: SplitSpec = SplitSpec()
    scaling: ScalingSpec = ScalingSpec()
    windows: WindowsSpec
