"""How well LSTMs forecast ETTh1: every test window, errors on standardised values, several seeds, beside the closed-form line.

    python benchmarks/lstm_quality.py [--readings ETTh1.csv] [--horizons 96 192 336 720] [--seeds 3]
                                      [--settings examples/etth1_best.toml | default] [--change lstm.mixing=false …]

The settings of a horizon stand in a TOML file, [horizon_96] and so on; `default` takes Hindcast's own for all of them. `--change`
takes an ingredient away, to see what it brings. Published, MSE/MAE at 96, 192, 336 and 720: SegRNN (Lin et al. 2023, context 720)
.351/.392, .392/.414, .423/.433, .466/.472; a plain GRU 1.135/.844 to 1.089/.822.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from hindcast.deep.settings import LstmSettings
from hindcast.deep.ways.local import fit_local
from hindcast.forecasting.baselines.linear import fit_linear
from hindcast.forecasting.forecast import Forecaster
from hindcast.forecasting.metrics import Errors, errors
from hindcast.launch.settings import load_spec
from hindcast.launch.spark.session import spark_session
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def score(forecaster: Forecaster, dataset: SequenceDataset) -> tuple[float, float]:
    """MSE and MAE over every test window."""
    total: Errors | None = None
    for batch in dataset.windows("test").batches(512):
        part = errors(forecaster.forecast(batch.given).mean, batch.target, batch.target_observed)
        total = part if total is None else total + part
    assert total is not None
    return total.mse, total.mae


def chosen(settings: str, horizon: int, changes: list[str]) -> tuple[int, dict[str, Any]]:
    """The context, and the fields of LstmSettings."""
    if settings == "default":
        context, fields = 336, dict[str, Any]()
    else:
        table = tomllib.loads(Path(settings).read_text())[f"horizon_{horizon}"]
        context, fields = int(table["context"]), dict(table["lstm"])
    for change in changes:
        name, text = change.removeprefix("lstm.").split("=")
        fields[name] = tomllib.loads(f"value = {text}")["value"]
    return context, fields


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", default=str(EXAMPLES.parents[1] / "shared/data/ett/ETTh1.csv"))
    parser.add_argument("--horizons", type=int, nargs="+", default=[96, 192, 336, 720])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", default=str(EXAMPLES / "etth1_best.toml"))
    parser.add_argument("--change", nargs="*", default=[])
    asked = parser.parse_args()
    print("| horizon | context | linear MSE/MAE | LSTM MSE/MAE, mean | by seed | validation loss | s a fit | CPU s a fit |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for horizon in asked.horizons:
            context, fields = chosen(asked.settings, horizon, asked.change)
            asked_of_spec = {
                "readings.path": asked.readings,
                "windows.context": str(context),
                "windows.horizon": str(horizon),
            }
            spec, _ = load_spec(EXAMPLES / "etth1.toml", asked_of_spec)
            with spark_session("local[2]", "quality") as spark:
                dataset = prepare(spark, spec, Path(folder, f"{horizon}.seq"))
            line = score(fit_linear(dataset), dataset)
            found, validation, began = [], [], time.perf_counter()
            cpu = 0.0
            for seed in range(asked.seeds):
                model = fit_local(dataset, LstmSettings.model_validate({**fields, "seed": seed}))
                validation.append(min(record["validation_loss"] for record in model.card.history))
                cpu += model.card.fit_cpu_seconds
                found.append(score(model, dataset))
            seconds = (time.perf_counter() - began) / asked.seeds
            mse, mae = np.mean(found, axis=0)
            row = [
                horizon, context, f"{line[0]:.4f}/{line[1]:.4f}", f"{mse:.4f}/{mae:.4f}",
                ", ".join(f"{one:.4f}" for one, _ in found), f"{np.mean(validation):.4f}", f"{seconds:.0f}",
                f"{cpu / asked.seeds:.0f}",
            ]  # fmt: skip
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
