"""Tables beside the readings: covariates to be joined in time, and the attributes of series."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from hindcast.prep.errors import InputError
from hindcast.prep.readings.loading import SERIES_PART, Readings, as_text, load, named
from hindcast.prep.readings.sources import FILE, LINE, open_source, quoted, shown
from hindcast.prep.spec import AttributesSpec, JoinSpec, ReadingsSpec, validate


def load_join(
    spark: SparkSession, spec: JoinSpec, readings: Readings, *, frame: DataFrame | None = None
) -> tuple[DataFrame, DataFrame]:
    """A table of covariates, for the series that it serves, and its bad rows.

    good  series (string), time (long, microseconds since the epoch, UTC), value_0 … (double, null where missing): one row for
          each row of the table and series that it serves; a row that serves none is not there, and times may occur twice
    bad   as in `Readings`

    Rows are matched by the texts of the columns `spec.series`; without them, each serves every series. Raises InputError for a
    column that the table or the series' names lack, and as `hindcast.prep.readings.loading.load` does.
    """
    # In wide form the series' names are the only key; a part that is called "series" has another name among the keys.
    keyed = [SERIES_PART if name.lower() == "series" and SERIES_PART in readings.keys.columns else name for name in spec.series]
    for name, key in zip(spec.series, keyed, strict=True):
        if key not in readings.keys.columns:
            keys = [key for key in readings.keys.columns if key != "series"] or ["series"]
            raise InputError(
                f"{spec.name}: joins.series names {name!r}, which is no column that tells the readings' series apart; expected "
                f"of {', '.join(keys)}"
            )
    of_source = spec.model_dump(
        include={"path", "table", "format", "timestamp", "timestamp_format", "time_zone", "series", "values"}
    )
    table = load(spark, validate(ReadingsSpec, of_source, "joins"), frame=frame, what="joins")
    rows = table.good
    columns = ["series", "time", *(f"value_{number}" for number in range(len(spec.values)))]
    if not spec.series:
        return rows.drop("series").crossJoin(F.broadcast(readings.keys.select("series"))).select(columns), table.bad
    keys = readings.keys.select("series", named([quoted(key) for key in keyed]).alias("_hindcast_key"))
    good = rows.withColumnRenamed("series", "_hindcast_key").join(F.broadcast(keys), "_hindcast_key").select(columns)
    return good, table.bad


def load_attributes(
    spark: SparkSession, spec: AttributesSpec, readings_spec: ReadingsSpec, readings: Readings
) -> dict[str, tuple[str | None, ...]]:
    """Each series' attributes, in the order of `spec.values`; None for one that is missing. Nothing is there without attributes.

    They are in a table, found by the columns that name the readings' series (by "series", where there are none), or they were
    read with the readings.

    Raises InputError for an attribute that changes within a series, a series that the table lacks or has twice, and a row of the
    table that cannot be understood.
    """
    if not (spec.path or spec.table):
        return _of_readings(spec, readings) if spec.values else {}
    if not spec.values:
        raise InputError("attributes: a table was named, and none of its columns; name them with attributes.values")
    source = open_source(spark, spec, None, "attributes")
    columns = readings_spec.series or ("series",)
    source.must_have(*columns, *spec.values)
    attributes: dict[str, tuple[str | None, ...]] = {}
    series = named([as_text(name) for name in columns]).alias("series")
    for name, line, file, *values in source.frame.select(series, LINE, FILE, *map(as_text, spec.values)).collect():
        if line is not None:
            raise InputError(
                f"{shown(file)}: a row has too few or too many fields, or is no JSON object: {line[:100]!r}. Mend it"
            )
        if name is None:
            raise InputError(
                f"{shown(file)}: a row has nothing in {' or '.join(columns)}; the name of a series was expected. Mend it"
            )
        if name in attributes:
            raise InputError(
                f"{shown(file)}: series {name!r} is there twice; one row for each series was expected. Leave one out"
            )
        attributes[name] = tuple(values)
    names = sorted(row["series"] for row in readings.keys.select("series").distinct().collect())
    lacking = [name for name in names if name not in attributes]
    if lacking:
        more = f" and {len(lacking) - 1:,} others of {len(names):,}" if len(lacking) > 1 else ""
        raise InputError(
            f"{source.name}: no row for series {lacking[0]!r}{more}, by {', '.join(columns)}; one for each series of the "
            "readings was expected. Add it, with empty fields where nothing is known"
        )
    return {name: attributes[name] for name in names}


def _of_readings(spec: AttributesSpec, readings: Readings) -> dict[str, tuple[str | None, ...]]:
    columns = [f"attribute_{readings.attributes.index(name)}" for name in spec.values]
    least = F.array(*map(F.min, columns)).alias("least")
    most = F.array(*map(F.max, columns)).alias("most")
    attributes = {}
    for series, lowest, highest in readings.good.groupBy("series").agg(least, most).sort("series").collect():
        for name, a, b in zip(spec.values, lowest, highest, strict=True):
            if a != b:
                raise InputError(
                    f"series {series!r}: attribute {name!r} changes, found {a!r} and {b!r}; expected one for all its readings. "
                    "Mend them, or make it a label: readings.labels"
                )
        attributes[series] = tuple(lowest)
    return attributes
