"""Baselines and metrics against their definitions, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from forecasting.baselines import RepeatLast, SeasonalNaive, normal_equations, season_of
from forecasting.forecast import Forecast
from forecasting.metrics import Errors, errors
from prep.blocks import Block
from prep.layout import Layout

rng = np.random.default_rng(1)
HOUR = 3_600_000_000


def test_repeat_last_and_seasonal_naive() -> None:
    context = rng.normal(size=(3, 10, 2)).astype(np.float32)
    observed = np.ones_like(context, dtype=np.uint8)
    assert (RepeatLast(4).forecast(context, observed).mean == context[:, -1:]).all()
    seasonal = SeasonalNaive(7, 3).forecast(context, observed).mean
    for step in range(7):
        np.testing.assert_array_equal(seasonal[:, step], context[:, 7 + step % 3])


def test_linear_is_least_squares_over_every_window_and_channel() -> None:
    layout = Layout(context=5, horizon=2, stride=2, windows_per_row=20)
    values = rng.normal(size=(2, layout.length, 3)).astype(np.float32)
    observed = np.ones(values.shape, np.uint8)
    observed[0, 10, 1] = 0
    zeros = np.zeros(2, np.int32)
    block = Block(
        values, observed, np.array(["a", "b"]), np.zeros(2, "datetime64[us]"), np.array([20, 7], np.int32), zeros, zeros + 5
    )
    found = sum(list(normal_equations(block, layout))[1:], start=next(iter(normal_equations(block, layout)))).solve()
    past, future = [], []
    for row, windows in ((0, 20), (1, 7)):
        for start in range(0, 2 * windows, 2):
            for channel in range(3):
                if observed[row, start + 5 : start + 7, channel].all():
                    window = values[row, start : start + 7, channel].astype(float) - values[row, start + 4, channel]
                    past.append([*window[:5], 1.0])
                    future.append(window[5:])
    expected, *_ = np.linalg.lstsq(np.array(past), np.array(future), rcond=1e-10)
    np.testing.assert_allclose(found.weights, expected, atol=1e-5)
    context = values[:, :5]
    by_hand = np.einsum("wtc,th->whc", context - context[:, -1:], expected[:-1]) + expected[-1][:, None] + context[:, -1:]
    np.testing.assert_allclose(found.forecast(context, observed[:, :5]).mean, by_hand, atol=1e-4)


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
    from forecasting.baselines import naive_error

    values = np.cumsum(rng.normal(size=(1, 30, 1)), axis=1).astype(np.float32)
    observed = np.ones(values.shape, np.uint8)
    observed[0, 12] = 0
    block = Block(values, observed, np.array(["a"]), np.zeros(1, "datetime64[us]"), np.array([1]), np.array([5]), np.array([25]))
    short = Block(values, observed, np.array(["b"]), np.zeros(1, "datetime64[us]"), np.array([0]), np.array([0]), np.array([3]))
    changes = [abs(float(values[0, t, 0]) - float(values[0, t - 4, 0])) for t in range(5, 25) if t not in (12, 16)]
    assert naive_error(FakeDataset([block, short]), 4)[0] == pytest.approx(np.mean(changes), rel=1e-6)  # type: ignore[arg-type]
