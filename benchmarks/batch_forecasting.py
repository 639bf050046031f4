"""Readings in a Spark DataFrame, forecast by a saved model, against what one would write without Hindcast.

    python benchmarks/batch_forecasting.py [--series 3000] [--kind lstm] [--network segment] [--rows 60]

Of every series the last context is forecast, over a horizon: the readings lie in a Parquet file, in the order of time. Each way
is run with workers that have the model already, and once before that, when they load it. Seconds are those of the quickest run;
CPU seconds, of all processes together, say more where a machine is shared.

    by row      groupBy and collect_list, then a UDF that forecasts one window at a time, and loads the model once a worker; on
                some series (--rows), as it takes so long. With Keras's own `predict`, and with Hindcast's forecaster, which is
                quicker for one window
    ours        hindcast.launch.forecasts.of_frames.forecast_readings, rows counted by Spark and thrown away
    pandas      the same from the same file in one process: read_parquet, pivot, forward fill, one forecast, a table of rows
    in memory   the same number of windows as one array that is there already, scaled: one call in one process, with all cores;
                and Keras's own `predict` of it

A dataset has its windows already: every window of one split, from the opened dataset to a Parquet file of forecasts, is compared
with the same calls on its windows in memory.

What is in our time is measured by pipelines that end earlier: reading and the shuffle up to Python; the grid; forecasts; rows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from hindcast.deep.forecaster import LstmForecaster
from hindcast.forecasting.forecast import Forecaster
from hindcast.forecasting.rows import rows_of
from hindcast.forecasting.values import forecast_values
from hindcast.launch.forecasts.of_frames import forecast_readings
from hindcast.launch.forecasts.of_windows import write_forecasts
from hindcast.launch.forecasts.shipping import load_shipped, ship
from hindcast.launch.models import load_any
from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.latest.contexts import ContextRequest, contexts_of
from hindcast.prep.latest.incoming import readings_by_series
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec

CONTEXT, HORIZON, CHANNELS, EXTRA = 336, 96, 7, 24
NAMES = [f"c{n}" for n in range(CHANNELS)]
SPEC = {
    "readings": {"timestamp": "time", "series": "sensor", "values": NAMES},
    "grid": {"step": "1h"},
    "windows": {"context": CONTEXT, "horizon": HORIZON},
}


def write(file: Path, series: int, steps: int) -> None:
    """Readings in the order of time, two rows in a hundred missing."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, (series, CHANNELS))
    kinds = [("time", pa.timestamp("us", tz="UTC")), ("sensor", pa.string()), *((name, pa.float64()) for name in NAMES)]
    with pq.ParquetWriter(file, pa.schema(kinds)) as writer:
        for first in range(0, steps, 48):
            hours = np.repeat(np.arange(first, min(first + 48, steps)), series)
            sensor = np.tile(np.arange(series), len(hours) // series)
            values = np.sin(hours[:, None] / 4 + phase[sensor]) + rng.normal(0, 0.2, (len(hours), CHANNELS))
            kept = (rng.random(len(hours)) >= 0.02) | (hours == steps - 1) | (hours == 0)
            times = (np.datetime64("2025-01-01", "us") + hours[kept].astype("timedelta64[h]")).astype("datetime64[us]")
            names = pa.array([f"sensor-{n}" for n in range(series)]).take(pa.array(sensor[kept]))
            columns = [pa.array(times).cast(kinds[0][1]), names, *(pa.array(values[kept, c]) for c in range(CHANNELS))]
            writer.write_table(pa.Table.from_arrays(columns, schema=pa.schema(kinds)))


def fitted(spark: SparkSession, kind: str, network: str, folder: Path) -> Path:
    """A model of a few series: how well it forecasts is not asked here."""
    write(folder / "few.parquet", 4, 1500)
    dataset = prepare(
        spark, Spec.model_validate(SPEC), folder / "few.seq", readings=spark.read.parquet(str(folder / "few.parquet"))
    )
    model = folder / kind
    if kind == "lstm":
        from hindcast.deep.settings import LstmSettings
        from hindcast.deep.ways.local import fit_local

        fit_local(dataset, LstmSettings.model_validate({"network": network, "epochs": 1, "max_seconds": 5})).save(model)
    else:
        save_hmm(dataset, model)
    return model


def save_hmm(dataset: SequenceDataset, model: Path) -> None:
    from hindcast.classical.hmm.from_settings import fit_hmm
    from hindcast.classical.hmm.settings import HmmSettings

    fit_hmm(dataset, HmmSettings(states=4, iterations=3)).save(model)


@dataclass(frozen=True)
class Spent:
    seconds: float
    cpu: float


def spent(work: Callable[[], Any], times: int = 3) -> tuple[Spent, Spent]:
    """By the first run, and the quickest of those after it."""
    found = []
    for _ in range(1 + times):
        began, before = time.perf_counter(), processor_seconds()
        work()
        after = processor_seconds()
        found.append(Spent(time.perf_counter() - began, sum(after[pid] - before.get(pid, 0.0) for pid in after)))
    return found[0], min(found[1:], key=lambda one: one.seconds)


def processor_seconds() -> dict[int, float]:
    """Of this process, Java and Spark's workers."""
    found = {}
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def ran(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def by_row(spark: SparkSession, model: Path, frame: DataFrame, rows: int, predict: bool) -> DataFrame:
    """Windows by collect_list, complete ones, and a UDF for each."""
    shipped, card = ship(model, spark.sparkContext)
    centre, scale = (one[0] for one in card.data.scaling.of([""]))

    @F.udf("array<float>")
    def forecast(readings: Any) -> list[float]:
        one = load_shipped(shipped)
        window = (np.array([row[1:] for row in readings[-CONTEXT:]]) - centre) / scale
        given = np.zeros((1, CONTEXT, CHANNELS), np.float32)
        given[0, -len(window) :] = window
        mean = predicted(one, Given.of(given)) if predict else one.forecast(Given.of(given)).mean
        return (mean[0] * scale + centre).ravel().tolist()

    some = frame.where(F.col("sensor").isin([f"sensor-{n}" for n in range(rows)]))
    together = some.groupBy("sensor").agg(F.sort_array(F.collect_list(F.struct("time", *NAMES))).alias("readings"))
    return together.repartition(spark.sparkContext.defaultParallelism).select("sensor", forecast("readings").alias("mean"))


def ran_by_row(*arguments: Any) -> None:
    ran(by_row(*arguments))


def ran_partly(*arguments: Any) -> None:
    ran(partly(*arguments))


def by_pandas(model: Any, file: Path) -> list[pa.Array]:
    """What fits into one process."""
    table = pd.read_parquet(file).pivot(index="time", columns="sensor", values=NAMES).ffill(limit=2).tail(CONTEXT)
    names = np.array(table[NAMES[0]].columns, np.str_)
    values = np.stack([table[name].to_numpy() for name in NAMES], axis=2).swapaxes(0, 1)
    whole = ~np.isnan(values).any(axis=(1, 2))
    found = forecast_values(model, model.card, values[whole])
    issued = np.full(int(whole.sum()), table.index[-1].tz_localize(None).to_datetime64(), "datetime64[us]")
    return rows_of(found, names[whole], issued, 0, model.card.data.step_micros, NAMES)


def partly(spark: SparkSession, model: Path, frame: DataFrame, how_far: str) -> DataFrame:
    """Our pipeline up to a stage."""
    shipped, card = ship(model, spark.sparkContext)
    assert card.data.preparation is not None
    wanted = ContextRequest(card.data.preparation, card.data.scaling, card.data.context, card.data.lead + card.data.horizon)

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrivals, found = wanted.arrivals(), 0
        for batch in batches:
            found += batch.num_rows
            if how_far != "shuffle":
                arrivals.add(batch)
        for contexts in contexts_of(arrivals, wanted):
            if how_far == "forecast":
                found += len(load_shipped(shipped).forecast(contexts.given).mean)
            found += len(contexts.given.series)
        yield pa.RecordBatch.from_pydict({"found": [found]})

    return readings_by_series(spark, frame, card.data.preparation).mapInArrow(work, "found long")


def predicted(model: LstmForecaster, given: Given) -> np.ndarray:
    return model.network.predict(model.inputs.arrays(given), verbose=0)


def of_a_dataset(model: Forecaster, folder: Path, times: int) -> None:
    dataset = SequenceDataset.open(folder / "few.seq")
    windows = dataset.windows("train")
    given = windows.batch(np.arange(len(windows))).given
    ways: dict[str, Callable[[], Any]] = {
        "to a file of forecasts": lambda: write_forecasts(model, dataset, "train", folder / "out.parquet", True, lambda _: None),
        "in memory, one call": lambda: model.forecast(given),
    }
    if isinstance(model, LstmForecaster):
        ways["in memory, Keras predict"] = partial(predicted, model, given)
    print(f"a dataset's {len(windows):,} windows")
    for name, way in ways.items():
        _, one = spent(way, times)
        print(f"{name:<36}{one.seconds:>10.2f} s{one.cpu:>10.2f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--kind", choices=("lstm", "hmm"), default="lstm")
    parser.add_argument("--network", choices=("segment", "plain"), default="segment")
    parser.add_argument("--times", type=int, default=3)
    chosen = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name, spark_session(f"local[{cores}]", "batch forecasting") as spark:
        folder = Path(name)
        model = fitted(spark, chosen.kind, chosen.network, folder)
        write(folder / "readings.parquet", chosen.series, CONTEXT + EXTRA)
        frame = spark.read.parquet(str(folder / "readings.parquet"))
        found = forecast_readings(model, frame).where("reason is null").agg(F.countDistinct("series")).first()
        assert found is not None
        windows = int(found[0])
        print(
            f"{chosen.kind}, {windows:,} of {chosen.series:,} series of {frame.count():,} readings of {CHANNELS} channels; "
            f"context {CONTEXT}, horizon {HORIZON}; {cores} cores"
        )
        one = load_any(model)
        array = Given.of(np.random.default_rng(0).normal(size=(windows, CONTEXT, CHANNELS)).astype(np.float32))
        first, ours = spent(lambda: ran(forecast_readings(model, frame)), chosen.times)
        _, memory = spent(lambda: one.forecast(array), chosen.times)
        _, pandas = spent(lambda: by_pandas(one, folder / "readings.parquet"), chosen.times)
        table = [("in memory, one call", memory, 1.0), ("pandas, one process", pandas, 1.0), ("ours", ours, 1.0)]
        if isinstance(one, LstmForecaster):
            table.insert(1, ("in memory, Keras predict", spent(partial(predicted, one, array), chosen.times)[1], 1.0))
        for what, predict in (
            ("by row, forecaster", False),
            *([("by row, Keras predict", True)] if chosen.kind == "lstm" else []),
        ):
            _, by = spent(partial(ran_by_row, spark, model, frame, chosen.rows, predict), 1)
            table.append((f"{what}, {chosen.rows} series", by, windows / chosen.rows))
        print(f"{'of all windows':<36}{'seconds':>10}{'of ours':>10}{'CPU s':>10}{'of ours':>10}")
        for what, one_way, times in table:
            told = (
                one_way.seconds * times,
                one_way.seconds * times / ours.seconds,
                one_way.cpu * times,
                one_way.cpu * times / ours.cpu,
            )
            print(f"{what:<36}" + "".join(f"{number:>10.2f}" for number in told))
        for stage in ("shuffle", "grid", "forecast"):
            _, one_stage = spent(partial(ran_partly, spark, model, frame, stage), chosen.times)
            print(f"ours up to {stage:<10}{one_stage.seconds:>8.2f} s, {one_stage.cpu:.2f} CPU s")
        print(f"ours, first run: {first.seconds:.1f} s, {first.cpu:.1f} CPU s")
        of_a_dataset(one, folder, chosen.times)


if __name__ == "__main__":
    main()
