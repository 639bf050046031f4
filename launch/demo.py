"""`hindcast demo`: the whole way once, on a synthetic fleet or on the user's own readings."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from hindcast.forecasting.card import must_be_model
from hindcast.forecasting.truth import Truth
from hindcast.launch.comparing.compare import compare_models, report_path, show_and_write
from hindcast.launch.comparing.entrants import enter, entrant_requests, must_suit
from hindcast.launch.drawing import HOURS, SEED, SENSORS
from hindcast.launch.inspection import record_dataset
from hindcast.launch.kinds import quick_settings
from hindcast.launch.models import kind_of
from hindcast.launch.settings import load, load_spec
from hindcast.launch.spark.cluster import must_train_on, session_on
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.runs import run as this_run
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_file, refuse_taken
from hindcast.prep.grid.steps import infer_step
from hindcast.prep.pipeline import prepare
from hindcast.prep.readings.loading import load as load_readings
from hindcast.prep.spec import ReadingsSpec, Spec, duration_text, validate
from hindcast.prep.synthetic import fleet

DAY_MICROS = 86_400_000_000
FIRST_LINE = "# Written by `hindcast demo`, and overwritten by the next one: copy this file before you change it.\n"


def run(
    readings: Path | None,
    timestamp: str,
    series: tuple[str, ...],
    values: tuple[str, ...],
    out: Path,
    fits: Sequence[str],
    overrides: dict[str, str],
    progress: Progress,
) -> None:
    """Writes readings (without `readings` of the user's), settings, dataset, models and report under `out`, and prints the place
    of the report.

    Raises InputError where the readings cannot be used, or `out` holds something else than an earlier demo.
    """
    if readings is not None and not readings.exists():
        raise InputError(f"{readings}: no such file")
    spec_file = out / "settings.toml"
    refuse_foreign(out, spec_file)
    truth: Truth | None = None
    # What can be refused is refused before anything is drawn, prepared or fitted.
    early_settings = load(
        None, {field: text for field, text in overrides.items() if field.split(".")[0] not in Spec.model_fields}
    )
    requests = entrant_requests((), fits, early_settings)
    for request in requests:
        refuse_taken(out / request.name, True, must_be_model)
        if request.kind is not None:
            request.kind.installed(early_settings.cluster.on)
    with session_on(early_settings.cluster, "hindcast demo") as spark:
        if any(request.kind is not None and request.kind.on_ranks for request in requests):
            must_train_on(spark, early_settings.cluster)
        if readings is None:
            tables, name = fleet_tables(), "fleet"
        else:
            with progress.stage("looking at readings", spark, str(readings)):
                tables, name = suggest(spark, readings.absolute(), timestamp, series, values), readings.name.split(".")[0]
        with placed_file(spec_file) as staged:
            staged.write_text(FIRST_LINE + toml(tables), encoding="utf-8")
        this_run().wrote("settings", spec_file)
        if readings is None:
            with progress.stage("drawing a fleet", about=f"{SENSORS} sensors, {HOURS:,} hours each"):
                truth = draw_fleet(out)
            this_run().wrote("readings", out / "readings.csv")
        spec, settings = load_spec(spec_file, overrides)
        with progress.stage("preparing", spark, name):
            dataset = prepare(spark, spec, out / f"{name}.seq", overwrite=True, on_stage=progress.enter)
        record_dataset(dataset)
        requests = entrant_requests((), fits, settings)
        report_path(out)
        must_suit(requests, dataset)
        entrants = enter(requests, dataset, settings, progress, spark)
    for entrant in entrants:
        assert entrant.card is not None, "a demo fits all of its models"
        folder = out / entrant.name
        kind_of(entrant.card, folder).save(entrant.model, folder, True)
        this_run().wrote("model", folder)
    command = shlex.join(["hindcast", *sys.argv[1:]])
    comparison = compare_models(dataset, entrants, settings.compare, command, progress, truth=truth)
    show_and_write(comparison, out, progress)
    console.print(f"[dim]settings to start from: {spec_file}[/]", highlight=False)


def draw_fleet(out: Path) -> Truth:
    """Writes readings.csv and regimes.csv, and returns the regimes; no model sees them, only the report."""
    drawn = fleet.draw(SENSORS, HOURS, SEED)
    fleet.write_readings(drawn, out / "readings.csv", out / "regimes.csv", SEED)
    return Truth(drawn.times(), {name: drawn.regimes[i] for i, name in enumerate(drawn.sensors)}, fleet.REGIMES)


def refuse_foreign(out: Path, spec_file: Path) -> None:
    """Makes the folder. Raises InputError where it cannot be made, or holds anything but an earlier demo."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = spec_file.is_file() and spec_file.read_text(encoding="utf-8").startswith(FIRST_LINE)
        if not ours and any(out.iterdir()):
            raise InputError(f"{out}: holds something else than an earlier demo; give another folder with --out")
    except OSError as error:
        raise InputError(f"{out}: cannot be used: {error.strerror}") from None


def fleet_tables() -> dict[str, dict[str, Any]]:
    """Settings for the synthetic fleet: bad rows set aside, of duplicates the first."""
    return {
        "readings": {"path": "readings.csv", "timestamp": "time", "series": ["sensor"], "bad_rows": "quarantine"},
        "grid": {"step": "1h", "duplicates": "first", "fill": "previous", "max_gap": "4h"},
        "split": {"train": 0.7, "validation": 0.1, "test": 0.2},
        "scaling": {"method": "standard", "per": "global"},
        "windows": {"context": 96, "horizon": 24},
        **quick_settings(len(fleet.REGIMES)),
    }


def suggest(
    spark: SparkSession, readings: Path, timestamp: str, series: tuple[str, ...], values: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Settings for the user's readings. The horizon is a day where that is 4 to 96 steps, else 24 steps, and at most a fortieth
    of the readings' span; the context is four horizons or a day of at most 336 steps, and at most a quarter of the span."""
    table: dict[str, Any] = {"path": str(readings), "timestamp": timestamp, "bad_rows": "quarantine"}
    table |= {"series": list(series)} if series else {}
    table |= {"values": list(values)} if values else {}
    good = load_readings(spark, validate(ReadingsSpec, table, where="command line")).good
    step = infer_step(good)
    span = good.agg((F.max("time") - F.min("time")).alias("micros")).first()
    assert span is not None
    steps = span["micros"] // step + 1
    day = DAY_MICROS // step
    horizon = max(1, min(day if 4 <= day <= 96 else 24, steps // 40))
    context = max(1, min(max(4 * horizon, day if day <= 336 else 0), steps // 4))
    return {
        "readings": table,
        "grid": {"step": duration_text(step), "duplicates": "mean"},
        "windows": {"context": context, "horizon": horizon},
        **quick_settings(None),
    }


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """The tables as TOML; JSON's strings, numbers and lists of strings are TOML's."""
    lines = []
    for name, fields in tables.items():
        lines += [f"[{name}]", *(f"{field} = {json.dumps(value)}" for field, value in fields.items()), ""]
    return "\n".join(lines)
