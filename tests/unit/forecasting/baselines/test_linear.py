"""The closed-form line: each step of the horizon is regressed on the windows in which it was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hindcast.forecasting.baselines.baselines import enter
from hindcast.forecasting.baselines.linear import Linear, least_squares
from hindcast.forecasting.metrics import errors
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Given, Windows
from tests.unit.deep.conftest import HOUR, InMemory, windows_over


def rows_of(layout: Layout, rows: int, channels: int, holes: float, seed: int = 0) -> Windows:
    """Walks with noise in stored rows of any number of windows, of which a share was filled."""
    rng = np.random.default_rng(seed)
    shape = rows, layout.length, channels
    values = 0.1 * rng.normal(size=shape).cumsum(axis=1) + rng.normal(size=shape)
    whole = windows_over(values[0], layout.context, layout.horizon, lead=layout.lead).blocks[0]
    empty = {
        name: np.repeat(getattr(whole, name), rows, axis=0)
        for name in ("covariates", "covariates_observed", "labels", "attributes", "series", "start", "own_start", "own_stop")
    }
    block = replace(
        whole,
        **empty,
        values=values.astype(np.float32),
        observed=(rng.random(shape) >= holes).astype(np.uint8),
        windows=rng.integers(0, layout.windows_per_row + 1, rows).astype(np.int32),
    )
    return Windows.over([block], layout, HOUR)


def line_of(windows: Windows, ridge: float = 0.0) -> Linear:
    return least_squares(windows.rows(), windows.layout, ridge)


def sequences(windows: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each window and channel: its context about the last value, and 1; its target; and whether that was measured."""
    batch = windows.batch(np.arange(len(windows)))
    last = batch.context[:, -1:].astype(float)
    past, future, measured = (
        np.moveaxis(array, 2, 1).reshape(-1, array.shape[1])
        for array in (batch.context - last, batch.target - last, batch.target_observed > 0)
    )
    return np.concatenate([past, np.ones((len(past), 1))], axis=1), future, measured


def step_by_step(windows: Windows, ridge: float = 0.0) -> np.ndarray:
    """A least-squares problem for each step, written out; a ridge is as many more equations."""
    past, future, measured = sequences(windows)
    weights = np.zeros((past.shape[1], future.shape[1]))
    for step, here in enumerate(measured.T):
        more = np.sqrt(ridge * here.sum()) * np.eye(past.shape[1])[:-1]
        if here.any():
            asked, said = np.concatenate([past[here], more]), np.append(future[here, step], np.zeros(len(more)))
            weights[:, step] = np.linalg.lstsq(asked, said, rcond=1e-10)[0]
    return weights


@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("holes", [0.0, 0.05, 0.5, 0.97])
@pytest.mark.parametrize(
    ("context", "horizon", "lead", "stride", "channels"),
    [(8, 5, 0, 1, 2), (8, 6, 3, 1, 1), (8, 7, 0, 3, 2), (5, 6, 1, 9, 1), (12, 24, 0, 5, 2), (2, 6, 0, 1, 1), (1, 4, 1, 1, 2)],
)
def test_each_step_is_the_least_squares_of_the_windows_that_measured_it(
    context: int, horizon: int, lead: int, stride: int, channels: int, holes: float, ridge: float
) -> None:
    layout = Layout(context=context, horizon=horizon, lead=lead, stride=stride, windows_per_row=40)
    windows = rows_of(layout, 12, channels, holes)
    np.testing.assert_allclose(line_of(windows, ridge).weights, step_by_step(windows, ridge), rtol=1e-6, atol=1e-6)


def test_steps_with_fewer_windows_than_weights_take_the_smallest() -> None:
    layout = Layout(context=10, horizon=6, stride=1, windows_per_row=9)
    windows = rows_of(layout, 2, 1, holes=0.6)
    measured = sequences(windows)[2].sum(axis=0)
    assert 0 < measured.min() <= measured.max() < 11
    np.testing.assert_allclose(line_of(windows).weights, step_by_step(windows), rtol=1e-5, atol=1e-5)


def test_where_nothing_was_filled_all_steps_have_one_gram_matrix() -> None:
    layout = Layout(context=8, horizon=5, stride=1, windows_per_row=40)
    windows = rows_of(layout, 12, 2, holes=0.0)
    past, future, _ = sequences(windows)
    for ridge in (0.0, 0.2):
        gram = past.T @ past + ridge * len(past) * np.diag([*np.ones(8), 0])
        expected = np.linalg.lstsq(gram, past.T @ future, rcond=1e-10)[0].astype(np.float32)
        np.testing.assert_allclose(line_of(windows, ridge).weights, expected, rtol=1e-6, atol=1e-7)


def test_windows_cut_off_a_row_and_of_some_series_alone_are_as_good() -> None:
    layout = Layout(context=6, horizon=4, stride=1, windows_per_row=30)
    two = rows_of(layout, 2, 1, holes=0.2)
    block = replace(two.blocks[0], series=np.array(["a", "b"]), windows=np.array([30, 30], np.int32))
    both = Windows.over([block], layout, HOUR)
    np.testing.assert_allclose(line_of(both.of_series(["b"])).weights, step_by_step(both.between(30, 60)), atol=1e-6)


def hours(without: int | None) -> tuple[Windows, Windows]:
    """6,000 hours of a day's wave, a walk and noise; context 96, horizon 24. `without` every so manieth, which is filled by the
    one before."""
    rng, count = np.random.default_rng(0), 6000
    values = np.sin(2 * np.pi * np.arange(count) / 24) + 0.02 * rng.normal(size=count).cumsum() + 0.1 * rng.normal(size=count)
    values = (values - values[:4200].mean()) / values[:4200].std()
    observed = np.ones(count)
    if without is not None:
        observed[without - 1 :: without] = 0
        values[without - 1 :: without] = values[without - 2 :: without]
    training, test = (windows_over(values[some, None], 96, 24, observed[some, None]) for some in (slice(4200), slice(4704, None)))
    return training, test


def mse(line: Linear, windows: Windows) -> float:
    batch = windows.batch(np.arange(len(windows)))
    return errors(line.forecast(batch.given).mean, batch.target, batch.target_observed).mse


def test_a_hole_in_every_window_does_little_to_a_line() -> None:
    training, test = hours(None)
    filled, its_test = hours(20)
    assert not filled.batch(np.arange(len(filled))).target_observed.all(axis=(1, 2)).any()
    whole, found = line_of(training), line_of(filled)
    assert mse(whole, test) == pytest.approx(0.0210, abs=1e-4)
    assert mse(found, its_test) == pytest.approx(0.0213, abs=1e-4)
    assert found.parameters == whole.parameters == 2328
    repeated = Linear(np.zeros_like(found.weights))
    assert mse(repeated, its_test) > 1


def never_measured(steps: slice) -> InMemory:
    """Windows a day apart, in which some steps of the horizon are never measured."""
    layout = Layout(context=12, horizon=6, stride=24, windows_per_row=20)
    block = rows_of(layout, 1, 2, holes=0.0).blocks[0]
    observed = block.observed.copy()
    for start in range(0, 20 * 24, 24):
        observed[:, start + 12 : start + 18][:, steps] = 0
    block = replace(block, observed=observed, windows=np.array([20], np.int32))
    return InMemory({"train": Windows.over([block], layout, HOUR)}, ("left", "right"))


def test_a_step_that_no_window_measured_repeats_the_last_value_and_is_named() -> None:
    dataset = never_measured(slice(1, 3))
    line = line_of(dataset.windows("train"))
    assert line.unfitted == (1, 2)
    assert line.parameters == 13 * 4
    assert (line.weights[:, [1, 2]] == 0).all()
    assert (line.weights[:, [0, 3, 4, 5]] != 0).any(axis=0).all()
    context = np.random.default_rng(0).normal(size=(3, 12, 2)).astype(np.float32)
    np.testing.assert_array_equal(line.forecast(Given.of(context)).mean[:, 1:3], np.repeat(context[:, -1:], 2, axis=1))
    entrants, notes = enter(dataset, 12)  # type: ignore[arg-type]
    assert [entrant.name for entrant in entrants] == ["repeat-last", "seasonal-naive", "linear"]
    assert entrants[-1].parameters == 13 * 4
    assert notes == [
        "linear repeats the last value at 2 of 6 steps ahead, the first of them 2: no window of the training split measured them"
    ]


def test_a_line_of_which_nothing_can_be_estimated_is_no_entrant() -> None:
    dataset = never_measured(slice(None))
    line = line_of(dataset.windows("train"), ridge=0.2)
    assert (line.unfitted, line.parameters) == (tuple(range(6)), 0)
    entrants, notes = enter(dataset, 12)  # type: ignore[arg-type]
    assert [entrant.name for entrant in entrants] == ["repeat-last", "seasonal-naive"]
    assert notes == ["linear is left out: no window of the training split has a target that was measured"]
