"""Baselines and metrics against their definitions, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hindcast.forecasting.baselines.baselines import RepeatLast, SeasonalNaive, season_of
from hindcast.forecasting.baselines.linear import least_squares
from hindcast.forecasting.forecast import Forecast, target_times
from hindcast.forecasting.metrics import Errors, errors
from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Given, Windows

rng = np.random.default_rng(1)
HOUR = 3_600_000_000


def block_of(values: np.ndarray, observed: np.ndarray, windows: np.ndarray, own_start: np.ndarray, own_stop: np.ndarray) -> Block:
    """Rows of channels alone."""
    rows, length = values.shape[:2]
    return Block(
        values=values,
        observed=observed,
        covariates=np.zeros((rows, length, 0), np.float32),
        covariates_observed=np.zeros((rows, length, 0), np.uint8),
        labels=np.zeros((rows, length, 0), np.int32),
        attributes=np.zeros((rows, 0), np.float32),
        series=np.array([f"series {row}" for row in range(rows)]),
        start=np.zeros(rows, "datetime64[us]"),
        windows=windows,
        own_start=own_start,
        own_stop=own_stop,
    )


def test_repeat_last_and_seasonal_naive() -> None:
    context = rng.normal(size=(3, 10, 2)).astype(np.float32)
    observed = np.ones_like(context, dtype=np.uint8)
    layout = Layout(context=10, horizon=7, stride=1, windows_per_row=1)
    repeated = RepeatLast(layout).forecast(Given.of(context, observed)).mean
    assert repeated.shape == (3, 7, 2)
    assert (repeated == context[:, -1:]).all()
    seasonal = SeasonalNaive(layout, 3).forecast(Given.of(context, observed)).mean
    for step in range(7):
        np.testing.assert_array_equal(seasonal[:, step], context[:, 7 + step % 3])


def test_linear_is_least_squares_over_every_window_and_channel() -> None:
    layout = Layout(context=5, horizon=2, stride=2, windows_per_row=20)
    values = rng.normal(size=(2, layout.length, 3)).astype(np.float32)
    observed = np.ones(values.shape, np.uint8)
    observed[0, 10, 1] = 0
    zeros = np.zeros(2, np.int32)
    block = block_of(values, observed, np.array([20, 7], np.int32), zeros, zeros + 5)
    found = least_squares([block], layout)
    expected = np.zeros((6, 2))
    for step in range(2):
        past, future = [], []
        for row, windows in ((0, 20), (1, 7)):
            for start in range(0, 2 * windows, 2):
                for channel in range(3):
                    if observed[row, start + 5 + step, channel]:
                        window = values[row, start : start + 7, channel].astype(float) - values[row, start + 4, channel]
                        past.append([*window[:5], 1.0])
                        future.append(window[5 + step])
        expected[:, step] = np.linalg.lstsq(np.array(past), np.array(future), rcond=1e-10)[0]
    np.testing.assert_allclose(found.weights, expected, atol=1e-5)
    context = values[:, :5]
    by_hand = np.einsum("wtc,th->whc", context - context[:, -1:], expected[:-1]) + expected[-1][:, None] + context[:, -1:]
    np.testing.assert_allclose(found.forecast(Given.of(context, observed[:, :5])).mean, by_hand, atol=1e-4)


@pytest.mark.parametrize("lead", [0, 1, 4, 11])
def test_after_a_lead_the_right_steps_are_forecast(lead: int) -> None:
    layout = Layout(context=9, horizon=5, lead=lead, stride=1, windows_per_row=60)
    steps = np.arange(layout.length)
    # Of period 7, a linear function of its own last two values; and a trend, which a phase alone cannot give.
    wave, trend = np.sin(2 * np.pi * steps / 7), 0.5 * steps
    observed = np.ones((1, layout.length, 1), np.uint8)

    def windows(values: np.ndarray) -> Windows:
        ends = np.array([60], np.int32), np.zeros(1, np.int32), np.array([layout.length], np.int32)
        return Windows.over([block_of(values.astype(np.float32)[None, :, None], observed, *ends)], layout, HOUR)

    waves, trends = (windows(values).batch(np.arange(60)) for values in (wave, trend))
    np.testing.assert_allclose(trends.target[:, 0] - trends.context[:, -1], 0.5 * (lead + 1))
    seasonal = SeasonalNaive(layout, 7).forecast(waves.given).mean
    np.testing.assert_allclose(seasonal, waves.target, atol=1e-5)
    repeated = RepeatLast(layout).forecast(trends.given).mean
    np.testing.assert_allclose(trends.target - repeated, np.broadcast_to(0.5 * (lead + np.arange(1, 6))[:, None], (60, 5, 1)))
    for values, batch in ((wave, waves), (trend, trends)):
        linear = least_squares(windows(values).blocks, layout).forecast(batch.given).mean
        np.testing.assert_allclose(linear, batch.target, atol=1e-3)
    np.testing.assert_array_equal(
        target_times(waves.start, layout, HOUR)[3],
        np.datetime64(0, "us") + (3 + 9 + lead + np.arange(5)) * np.timedelta64(1, "h"),
    )


@pytest.mark.parametrize(
    ("step", "context", "season"), [(HOUR, 336, 24), (HOUR // 12, 300, 288), (24 * HOUR, 60, 7), (HOUR, 20, 20)]
)
def test_the_season_is_a_day_or_a_week_that_fits(step: int, context: int, season: int) -> None:
    assert season_of(step, Layout(context=context, horizon=1, stride=1, windows_per_row=1)) == season


def test_errors_add_up_and_count_measured_targets_only() -> None:
    mean, target = rng.normal(size=(2, 8, 4, 3))
    seen = (rng.random((8, 4, 3)) < 0.7).astype(np.uint8)
    whole = errors(mean, target, seen)
    halves = errors(mean[:3], target[:3], seen[:3]) + errors(mean[3:], target[3:], seen[3:])
    np.testing.assert_allclose(halves.squared, whole.squared)
    difference = (mean - target)[seen.astype(bool)]
    assert whole.mse == pytest.approx((difference**2).mean())
    assert whole.mae == pytest.approx(np.abs(difference).mean())
    assert whole.mse_by_step().shape == (4,)
    assert whole.mae_by_channel()[1] == pytest.approx(np.abs(mean - target)[..., 1][seen[..., 1] == 1].mean())


def test_a_filled_target_may_be_anything() -> None:
    mean = np.zeros((1, 1, 1))
    assert errors(mean, np.full((1, 1, 1), np.nan), np.zeros((1, 1, 1), np.uint8)).squared.sum() == 0


def test_mase_divides_each_channel_by_its_naive_error() -> None:
    found = Errors(np.full((1, 2), 4), np.ones((1, 2)), np.array([[8.0, 4.0]]))
    assert found.mase(np.array([4.0, 0.5])) == pytest.approx((2 / 4 + 1 / 0.5) / 2)
    assert found.mase(np.array([4.0, 0.0])) == pytest.approx(0.5)


def test_forecasts_go_back_to_sensor_units() -> None:
    forecast = Forecast(np.ones((2, 3, 1)), np.ones((2, 3, 1))).in_units(np.array([[10.0], [20.0]]), np.array([[2.0], [4.0]]))
    assert forecast.mean[:, 0, 0].tolist() == [12, 24]
    assert forecast.deviation is not None
    assert forecast.deviation[:, 0, 0].tolist() == [2, 4]


@dataclass(frozen=True)
class FakeDataset:
    parts: list[Block]
    channels: tuple[str, ...] = ("a",)

    def blocks(self, split: str) -> list[Block]:
        return self.parts


def test_the_naive_error_counts_owned_steps_once() -> None:
    from hindcast.forecasting.baselines.baselines import naive_error

    values = np.cumsum(rng.normal(size=(1, 30, 1)), axis=1).astype(np.float32)
    observed = np.ones(values.shape, np.uint8)
    observed[0, 12] = 0
    block = block_of(values, observed, np.array([1]), np.array([5]), np.array([25]))
    short = block_of(values, observed, np.array([0]), np.array([0]), np.array([3]))
    changes = [abs(float(values[0, t, 0]) - float(values[0, t - 4, 0])) for t in range(5, 25) if t not in (12, 16)]
    assert naive_error(FakeDataset([block, short]), 4)[0] == pytest.approx(np.mean(changes), rel=1e-6)  # type: ignore[arg-type]
