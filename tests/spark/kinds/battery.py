"""What every kind of models is held to, whatever it is: a kind is tested by being listed.

Each check takes a `Bench` and raises AssertionError where the kind breaks the promise that is its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hindcast.forecasting.card import CARD, read_card, typed
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.forecast import Forecast
from hindcast.forecasting.kind import Job, Kind, Tables, Where
from hindcast.launch.comparing.entrants import entrant_of
from hindcast.launch.forecasts.of_frames import forecast_readings
from hindcast.launch.kinds import KINDS
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError


class InterruptedFitError(Exception):
    """A fit is cut short by it."""


@dataclass
class Watcher:
    """Counts the steps of a fit, and cuts it short at one of them."""

    stop_at: int | None = None
    steps: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, spark: Any = None, about: str = "") -> Iterator[None]:
        yield

    def update(self, detail: str) -> None: ...

    def gauge(self, name: str, number: float) -> None: ...

    def note(self, **facts: Any) -> None:
        self.notes |= facts

    def step(self, name: str, number: int, numbers: Mapping[str, float], detail: str = "", seconds: float | None = None) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            raise InterruptedFitError


@dataclass
class Bench:
    """A kind with small settings, a dataset with holes in it, one with a channel of categories, and a folder.

    `shuffled`: prepared from the same readings in another order, on other partitions.
    `retested`: the dataset with another test split, of other values, holes, hours and series.
    `cut`: the step of a fit after which it is cut short; a checkpoint was taken before.
    """

    kind: Kind
    settings: Tables
    dataset: SequenceDataset
    categories: SequenceDataset
    retested: SequenceDataset
    shuffled: SequenceDataset
    spark: Any
    folder: Path
    cut: int = 2

    @cached_property
    def model(self) -> Any:
        return self.kind.fit(self.job())

    def job(self, dataset: SequenceDataset | None = None, watch: Watcher | None = None, **more: Any) -> Job:
        where = Where(lambda: self.spark, "local", lambda spark: 1)
        return Job(dataset or self.dataset, self.settings, where, watch or Watcher(), **more)

    def given(self, split: str = "test") -> Given:
        """Some windows, all over a split."""
        windows = self.dataset.windows(split)
        return windows.batch(np.linspace(0, len(windows) - 1, 12).round().astype(int)).given

    def saved(self, name: str) -> Path:
        folder = self.folder / name
        self.kind.save(self.model, folder, False)
        return folder


def saves_and_loads_the_same(bench: Bench) -> None:
    folder = bench.saved("saved")
    again = bench.kind.load(folder)
    must_equal(again.forecast(bench.given()), bench.model.forecast(bench.given()))
    assert again.card == bench.model.card
    assert read_card(folder).kind == bench.kind.name
    bench.kind.sound(folder, read_card(folder))


def misses_no_field_of_its_card(bench: Bench) -> None:
    """A card that lost a field is refused by name, or means the same."""
    folder = bench.saved("whole")
    stored = json.loads((folder / CARD).read_text())
    for place in (stored, stored["part"]):
        for name, value in list(place.items()):
            del place[name]
            (folder / CARD).write_text(json.dumps(stored))
            refusal, card = tried(lambda: typed(read_card(folder), bench.kind.name, bench.kind.part(), folder))
            if refusal is None:
                assert card == bench.model.card, f"a card without {name!r} is another card"
            else:
                assert CARD in refusal
                assert name in refusal or place is stored
            place[name] = value


def does_not_look_ahead(bench: Bench) -> None:
    """What a window's context is cut from holds its future, too: other values there change nothing."""
    given = bench.given()
    asked = bench.model.forecast(given)
    wide = np.concatenate([given.context, np.full_like(given.context, 1e3)], axis=1)
    steps = given.context.shape[1]
    must_equal(bench.model.forecast(replace(given, context=wide[:, :steps])), asked)
    wide[:, steps:] *= -1
    must_equal(bench.model.forecast(replace(given, context=wide[:, :steps])), asked)


def answers_windows_in_any_order(bench: Bench) -> None:
    given = bench.given()
    asked, order = bench.model.forecast(given), np.random.default_rng(0).permutation(len(given.series))
    must_equal(bench.model.forecast(given.subset(order)), asked, order)
    for part in (slice(0, 1), slice(1, 5), slice(0, 0)):
        must_equal(bench.model.forecast(given.subset(part)), asked, part)


def forecasts_in_shape(bench: Bench) -> None:
    given, layout = bench.given(), bench.dataset.layout
    forecast = bench.model.forecast(given)
    assert forecast.mean.shape == (len(given.series), layout.horizon, len(bench.dataset.channels))
    assert np.isfinite(forecast.mean).all()
    gives = bench.model.card.gives
    assert gives is not None
    assert gives.deviation == (forecast.deviation is not None)
    assert gives.levels == (() if forecast.quantiles is None else forecast.quantiles.levels)


def forecasts_where_values_are_missing(bench: Bench) -> None:
    given = bench.given()
    observed = given.observed.copy()
    observed[:, ::3] = 0
    filled = np.where(observed > 0, given.context, 0).astype(np.float32)
    forecast = bench.model.forecast(replace(given, context=filled, observed=observed))
    assert np.isfinite(forecast.mean).all()


def refuses_channels_that_it_does_not_take(bench: Bench) -> None:
    if "category" in bench.kind.takes(bench.settings).channels:
        pytest.skip("it takes categories")
    refusal, _ = tried(lambda: bench.kind.takes(bench.settings).refuse(bench.categories, bench.kind.title))
    assert refusal is not None, "a channel of categories was taken"
    assert "mode" in refusal


def goes_on_where_it_was_cut_short(bench: Bench) -> None:
    """A fit that is resumed ends as one that was never interrupted, or the kind refuses to resume."""
    file = bench.folder / "cut.checkpoint"
    refusal, _ = tried(lambda: bench.kind.check(bench.job(checkpoint=file, resume=True)))
    if refusal is not None:
        assert "resume" in refusal
        return
    try:
        bench.kind.fit(bench.job(watch=Watcher(bench.cut), checkpoint=file))
    except InterruptedFitError:
        pass
    else:
        raise AssertionError("the fit was not cut short")
    watcher = Watcher()
    resumed = bench.kind.fit(bench.job(watch=watcher, checkpoint=file, resume=True))
    assert watcher.steps < len(resumed.card.history), "it began anew"
    must_equal(resumed.forecast(bench.given()), bench.model.forecast(bench.given()))


def fits_the_same_twice(bench: Bench) -> None:
    must_equal(bench.kind.fit(bench.job()).forecast(bench.given()), bench.model.forecast(bench.given()))


def fits_the_same_to_readings_in_any_order(bench: Bench) -> None:
    assert bench.shuffled.digest == bench.dataset.digest
    must_equal(bench.kind.fit(bench.job(bench.shuffled)).forecast(bench.given()), bench.model.forecast(bench.given()))


def forecasts_on_spark_as_here(bench: Bench) -> None:
    """What comes after the last readings of every series, by Spark's workers, which know the kinds that are listed."""
    if bench.kind.name not in KINDS:
        pytest.skip("Spark's workers know listed kinds alone: test_a_new_kind.py lists this one")
    readings, data = pd.read_csv(bench.dataset.manifest.spec.readings.path[0], parse_dates=["time"]), bench.model.card.data
    rows = forecast_readings(bench.saved("sent"), bench.spark.createDataFrame(readings)).toPandas()
    for series, of_series in readings.groupby("id"):
        centre, scale = data.scaling.of([series])
        last = of_series.sort_values("time")[list(data.channels)].tail(data.context).to_numpy()
        given = replace(Given.of(((last - centre) / scale).astype(np.float32)), series=np.array([series]))
        here = bench.model.forecast(given).in_units(centre, scale)
        found = rows[rows.series == series].sort_values(["step", "channel"])["mean"].to_numpy()
        np.testing.assert_allclose(found.reshape(data.horizon, -1), here.mean[0], rtol=1e-4, atol=1e-4)


def is_not_decided_by_the_test_split(bench: Bench) -> None:
    """Bit for bit, on windows that both datasets have."""
    other, given = bench.kind.fit(bench.job(bench.retested)), bench.given("train")
    np.testing.assert_array_equal(other.forecast(given).mean, bench.model.forecast(given).mean)
    assert (other.card.parameters, other.card.part) == (bench.model.card.parameters, bench.model.card.part)


def calls_each_entrant_by_its_own_name(bench: Bench) -> None:
    names = ("one", "another")
    entrants = [entrant_of(name, bench.model, bench.kind) for name in names]
    parts = bench.kind.sections(entrants, bench.dataset, None)
    for curves in (parts.learning, parts.likelihood, parts.states):
        assert not curves or tuple(curve.model for curve in curves) == names
    assert all(one.description and one.parameters is not None and one.bytes is not None for one in entrants)
    assert all(isinstance(one, Entrant) for one in entrants)


CHECKS: tuple[Callable[[Bench], None], ...] = (
    saves_and_loads_the_same,
    misses_no_field_of_its_card,
    does_not_look_ahead,
    answers_windows_in_any_order,
    forecasts_in_shape,
    forecasts_where_values_are_missing,
    refuses_channels_that_it_does_not_take,
    goes_on_where_it_was_cut_short,
    fits_the_same_twice,
    fits_the_same_to_readings_in_any_order,
    forecasts_on_spark_as_here,
    is_not_decided_by_the_test_split,
    calls_each_entrant_by_its_own_name,
)


def tried(work: Callable[[], Any]) -> tuple[str | None, Any]:
    """What was refused, in words, or else what came of it."""
    try:
        return None, work()
    except InputError as error:
        return str(error), None


def must_equal(found: Forecast, expected: Forecast, which: Any = slice(None)) -> None:
    """To rounding of 32 bits: a window's neighbours may change the order of sums, and nothing else."""
    np.testing.assert_allclose(found.mean, expected.mean[which], rtol=1e-5, atol=1e-5)
    assert (found.deviation is None) == (expected.deviation is None)
    if found.deviation is not None and expected.deviation is not None:
        np.testing.assert_allclose(found.deviation, expected.deviation[which], rtol=1e-5, atol=1e-5)
