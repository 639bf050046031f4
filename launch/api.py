"""What users call from Python: `import hindcast as hc`. Signatures here are kept from version to version."""

from __future__ import annotations

import atexit
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hindcast.forecasting.entrant import Entrant, must_be_names
from hindcast.forecasting.task import FORECAST
from hindcast.launch.comparing.compare import Comparison, compare_models
from hindcast.launch.comparing.entrants import entrant_of
from hindcast.launch.fitting import fit as fit_kind
from hindcast.launch.frames import is_spark_frame, readings_file, time_column, untold
from hindcast.launch.kinds import kind_named
from hindcast.launch.models import kind_of, load_any
from hindcast.launch.settings import ClusterSettings, CompareSettings
from hindcast.launch.spark.session import spark_session
from hindcast.launch.watching.progress import Progress
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.spec import Spec, validate

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    # Files, what is in this process's memory, or a Spark DataFrame.
    Readings: TypeAlias = str | Path | Sequence[str | Path] | pd.DataFrame | pl.DataFrame | pa.Table | DataFrame
    Dataset: TypeAlias = SequenceDataset | str | Path

BATCH = 256


def prepare(
    readings: Readings,
    /,
    *,
    time: str | None = None,
    series: str | Sequence[str] | None = None,
    values: str | Sequence[str] | None = None,
    context: int,
    horizon: int,
    out: str | Path | None = None,
    spark: SparkSession | None = None,
    overwrite: bool = False,
    **tables: Any,
) -> SequenceDataset:
    """Turns readings into a dataset of fixed-length sequences.

    readings  a path or several (.csv, .json, .parquet), a pandas or Polars DataFrame, an Arrow table, or a Spark DataFrame
    time      the column of times; without it, the only one that holds times, or is called so
    series    the columns that tell series apart; without any, all readings are of one
    values    the channels; without any, every other column of numbers
    context, horizon   steps that a model is given, and steps that it forecasts
    out       the dataset's folder or URI; without it, a folder of this process's own, which is gone when that ends
    spark     a session; without it, one on all cores, which is started when it is first needed and ends with the process
    tables    the tables of the settings, as in a file: grid={"step": "1h"}, split={"train": 0.8}, scaling={"per": "series"},
              readings={"bad_rows": "quarantine"}

    Raises InputError for readings or settings that cannot be used; then nothing is written.
    """
    unknown = sorted(tables.keys() - Spec.model_fields.keys())
    if unknown:
        raise InputError(f"prepare: no table {unknown[0]!r} of settings; the tables are {', '.join(sorted(Spec.model_fields))}")
    columns = dict(_table(tables, "readings"))
    source = _source(readings, time or columns.get("timestamp"), spark, needs_time=True)
    session = source.session
    columns |= {"timestamp": source.time or time_column(session, source.frame, source.paths, columns), "path": source.paths}
    columns |= {name: _names(names) for name, names in (("series", series), ("values", values)) if names is not None}
    windows = {**_table(tables, "windows"), "context": context, "horizon": horizon}
    spec = validate(Spec, tables | {"readings": columns, "windows": windows}, where="prepare")
    from hindcast.prep.pipeline import prepare as prepare_
    from hindcast.prep.spark.slots import is_local

    if out is None and not is_local(session):
        raise InputError("out: executors on other machines see no folder of this process's own: say where the dataset is to be")
    return prepare_(session, spec, _own_place("dataset.seq") if out is None else out, readings=source.frame, overwrite=overwrite)


def fit(
    kind: str,
    dataset: Dataset,
    *,
    cluster: Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Any:
    """Fits a model of a kind ("hmm", "lstm") to the training split, and returns what forecasts.

    cluster     the table of that name, as in a file. LSTMs train in this process, or as cluster={"on": …} says
    spark       a session; without it, one is started where the fit needs one
    checkpoint  a file that the fit is saved in, for `resume` to go on from
    settings    fields of the kind: fit("lstm", dataset, units=64, epochs=5); its other tables as a dict

    Raises InputError where the dataset, the settings or the machine are not such as the fit needs.
    """
    chosen = kind_named(kind, "fit")
    fields = {name: value for name, value in settings.items() if name not in chosen.tables}
    fields_of = {name: settings.get(name, {}) for name in chosen.tables} | {chosen.name: fields}
    tables = {name: validate(table, fields_of[name], where=f"fit({kind!r})") for name, table in chosen.tables.items()}
    where = validate(ClusterSettings, {"on": "local"} | dict(cluster or {}), where="cluster")
    opened = _opened(dataset)
    return fit_kind(
        chosen, opened, tables, where, Progress(),
        checkpoint=None if checkpoint is None else Path(checkpoint), resume=resume, spark=spark or _session,
    )  # fmt: skip


def load(folder: str | Path) -> Any:
    """A model that was saved, of whatever kind. Raises InputError where there is none, or it is damaged."""
    return load_any(Path(folder))


def save(model: Any, folder: str | Path, *, overwrite: bool = False) -> None:
    """Saves a model that was fitted, for `load` and every command. Raises InputError where the folder is taken."""
    card = _card_of(model)
    kind_of(card, Path(folder)).save(model, Path(folder), overwrite)


def compare(
    dataset: Dataset,
    models: Mapping[str, Any],
    *,
    out: str | Path | None = None,
    season: int | None = None,
    examples: int = 6,
) -> Comparison:
    """Scores models and the baselines on every test window.

    models    by the names that they are to have: fitted models, folders of saved ones, estimators of `hc.hmm`, or anything with a
              method forecast(given) -> hc.Forecast
    out       where the page goes, with scores.json beside it; `Comparison.write` does the same later
    season    steps that seasonal-naive looks back, a day by default
    examples  how many forecasts the page draws

    Raises InputError for a name that is a baseline's, and for a model that cannot forecast this dataset.
    """
    opened = _opened(dataset)
    must_be_names(models, FORECAST.baselines)
    settings = validate(CompareSettings, {"season": season, "examples": examples}, where="compare")
    entrants = [_entrant(name, model, opened) for name, model in models.items()]
    command = f"hc.compare({opened.location!r}, {{{', '.join(repr(name) + ': …' for name in models)}}})"
    comparison = compare_models(opened, entrants, settings, command, Progress())
    if out is not None:
        comparison.write(out)
    return comparison


def forecast(
    model: Any, what: Dataset | Readings, *, split: str = "test", spark: SparkSession | None = None
) -> pd.DataFrame | DataFrame:
    """What a model expects, in the units of the sensors: a row for each series, time and channel.

    model  a fitted model, or the folder of a saved one
    what   a dataset: after every context of its `split`, with what came beside it ("actual"). Or readings in any form that
           `prepare` takes, with the columns that the model was fitted on: after the last of each series

    A pandas DataFrame; of a Spark DataFrame a Spark DataFrame, of which nothing is computed yet. Raises InputError where the
    model cannot forecast what is given.
    """
    from hindcast.launch.forecasts.of_frames import forecast_readings

    if isinstance(what, SequenceDataset) or (isinstance(what, str | Path) and _is_dataset(what)):
        return _of_dataset(_model(model), _opened(what), split)
    folder = Path(model) if isinstance(model, str | Path) else _saved(model)
    source = _source(what, None, spark)
    rows = forecast_readings(folder, source.paths if source.frame is None else source.frame, spark=source.session)
    return rows if is_spark_frame(what) else rows.toPandas()


def append(dataset: Dataset, readings: Readings, *, spark: SparkSession | None = None) -> SequenceDataset:
    """New readings, in any form that `prepare` takes, join a dataset; nothing of it is written again.

    Raises InputError for readings without its columns; then the dataset is as it was.
    """
    from hindcast.prep.appending import append as append_

    source = _source(readings, None, spark)
    location = dataset.location if isinstance(dataset, SequenceDataset) else dataset
    return append_(source.session, location, source.paths if source.frame is None else source.frame)


@dataclass(frozen=True)
class _Source:
    """Readings as Spark reads them: a frame, or files. `time`: the column of times of what was in memory, if it can be told."""

    session: SparkSession
    frame: DataFrame | None
    paths: tuple[str, ...]
    time: str | None


def _source(readings: Any, time: str | None, spark: SparkSession | None, needs_time: bool = False) -> _Source:
    if is_spark_frame(readings):
        return _Source(spark or readings.sparkSession, readings, (), time)
    # What is in memory is refused before Spark is started.
    file = readings_file(readings, time, _own_folder)
    if needs_time and file is not None and file.time is None:
        raise untold(file.columns)
    paths = () if file is not None else _paths(readings)
    session = spark or _session()
    return _Source(
        session, None if file is None else session.read.parquet(str(file.path)), paths, time if file is None else file.time
    )


@lru_cache(1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hindcast-", ignore_cleanup_errors=True)


_numbers = itertools.count()


def _own_folder() -> Path:
    """A new folder that is gone when this process ends."""
    folder = Path(_folder().name, str(next(_numbers)))
    folder.mkdir()
    return folder


def _own_place(name: str) -> Path:
    return _own_folder() / name


_ending = ExitStack()


def _session() -> SparkSession:
    """This process's session: the one that there is, or one on all cores that ends with the process."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is None:
        atexit.register(_ending.close)
        return _ending.enter_context(spark_session())
    return SparkSession.builder.getOrCreate()


def _paths(readings: Any) -> tuple[str, ...]:
    paths = [readings] if isinstance(readings, str | Path) else list(readings) if isinstance(readings, Sequence) else []
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise InputError(
            f"readings: found {type(readings).__name__}, expected a path or several, a pandas or Polars DataFrame, an "
            "Arrow table, or a Spark DataFrame"
        )
    return tuple(map(str, paths))


def _names(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise InputError(f"prepare: {name}: found {table!r}, expected a dict of settings")
    return table


def _opened(dataset: Dataset) -> SequenceDataset:
    return dataset if isinstance(dataset, SequenceDataset) else SequenceDataset.open(dataset)


def _is_dataset(what: str | Path) -> bool:
    from hindcast.launch.forecasts.of_readings import are_readings

    return not are_readings(str(what))


def _model(model: Any) -> Any:
    return load(model) if isinstance(model, str | Path) else model


def _card_of(model: Any) -> Any:
    card = getattr(model, "card", None)
    if card is None:
        raise InputError(f"{type(model).__name__}: only what `hc.fit` or `hc.load` gave can be saved, and forecast readings")
    return card


def _saved(model: Any) -> Path:
    folder = _own_place("model")
    save(model, folder)
    return folder


def _entrant(name: str, model: Any, dataset: SequenceDataset) -> Entrant:
    model = _model(model)
    if hasattr(model, "forecaster"):  # an estimator of hc.hmm
        model = model.forecaster(dataset)
    card = getattr(model, "card", None)
    if card is not None:
        card.sequences(name).check(dataset, name)
        return entrant_of(name, model, kind_of(card, Path(name)))
    FORECAST.must_answer(model, name)
    entrant = Entrant(name, model, "model", f"a model of your own, {type(model).__qualname__}")
    FORECAST.try_out(entrant, dataset)
    return entrant


def _of_dataset(model: Any, dataset: SequenceDataset, split: str) -> pd.DataFrame:
    import pyarrow as pa

    from hindcast.launch.forecasts.of_windows import forecast_table, must_have_windows

    must_have_windows(dataset, split)
    card = getattr(model, "card", None)
    if card is not None:
        card.sequences("the model").check(dataset, "the model")
    windows = dataset.windows(split)
    return pa.concat_tables([forecast_table(model, dataset, batch) for batch in windows.batches(BATCH)]).to_pandas()
