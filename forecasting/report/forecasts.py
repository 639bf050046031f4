"""The comparison of forecasts: every entrant on every test window, as numbers and as parts of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hindcast.forecasting.baselines.baselines import naive_error
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.forecast import target_times
from hindcast.forecasting.report import contents
from hindcast.forecasting.report.parts import Parts
from hindcast.forecasting.scoring import Example, Score, examples, score
from hindcast.forecasting.task import Result
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

# A forecast is easier to judge beside some of what came before it.
PAST_HORIZONS = 3


def compare(
    entrants: Sequence[Entrant], dataset: SequenceDataset, season: int, example_count: int, on_progress: Callable[[str], None]
) -> Result:
    """Errors on the test split; `example_count`: how many windows the page shows. Raises InputError as `score` does."""
    scores, naive = score(entrants, dataset, on_progress), naive_error(dataset, season)
    models = tuple(_model(entrant, scores[entrant.name], naive) for entrant in entrants)
    shown = tuple(_example(example, dataset) for example in examples(entrants, dataset, example_count))
    return Result({model.name: _numbers(model, dataset) for model in models}, Parts(models=models, examples=shown))


def _model(entrant: Entrant, scores: Score, naive: np.ndarray) -> contents.Model:
    """One line of the table; `naive` (channels,) as `naive_error` gives it."""
    return contents.Model(
        name=entrant.name,
        role=entrant.role,
        description=entrant.description,
        mse=scores.scaled.mse,
        mae=scores.scaled.mae,
        mase=scores.scaled.mase(naive),
        channel_mae=scores.in_units.mae_by_channel(),
        step_mse=scores.scaled.mse_by_step(),
        parameters=entrant.parameters,
        bytes=entrant.bytes,
        fit_seconds=entrant.fit_seconds,
        fit_cpu_seconds=entrant.fit_cpu_seconds,
        forecast_seconds=scores.forecast_seconds,
    )


def _numbers(model: contents.Model, dataset: SequenceDataset) -> dict[str, Any]:
    """Errors in scaled units unless they say otherwise."""
    return {
        "mse": model.mse,
        "mae": model.mae,
        "mase": model.mase,
        "fit_seconds": model.fit_seconds,
        "fit_cpu_seconds": model.fit_cpu_seconds,
        "forecast_seconds": model.forecast_seconds,
        "parameters": model.parameters,
        "mae_in_sensor_units": dict(zip(dataset.channels, model.channel_mae.tolist(), strict=True)),
        "mse_by_step": model.step_mse.tolist(),
    }


def _example(example: Example, dataset: SequenceDataset) -> contents.Example:
    layout, batch = dataset.layout, example.batch
    steps = batch.start[0] + np.arange(layout.context) * np.timedelta64(dataset.step_micros, "us")
    past = slice(max(0, layout.context - PAST_HORIZONS * layout.horizon), layout.context)
    return contents.Example(
        series=str(batch.series[0]),
        why=f"window {example.number + 1:,} of {dataset.manifest.windows('test'):,}, evenly spaced",
        past_times=steps[past],
        past=example.context[past],
        times=target_times(batch.start, layout, dataset.step_micros)[0],
        actual=example.target,
        observed=batch.target_observed[0],
        lines=tuple(
            contents.Line(name, forecast.mean[0], None if forecast.deviation is None else forecast.deviation[0])
            for name, forecast in example.forecasts.items()
        ),
    )
