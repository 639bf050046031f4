from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from hindcast.deep.heads import Gaussian, Head, Point, QuantileHead, Student

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HEADS: dict[str, Head] = {
    "mse": Point("mse"), "mae": Point("mae"), "huber": Point("huber", 0.5), "gaussian": Gaussian(), "student": Student(),
    "quantiles": QuantileHead(LEVELS),
}  # fmt: skip


def drawn(head: Head, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """target, raw, centre, scale: of 4 windows, 3 steps, 2 channels."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(4, 3, 2, head.outputs))
    return rng.normal(size=(4, 3, 2)), raw, rng.normal(size=(4, 1, 2)), rng.uniform(0.5, 2, (4, 1, 2))


def floats(*arrays: np.ndarray) -> list[Any]:
    return [tf.constant(array, tf.float32) for array in arrays]


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_differences(name: str) -> None:
    head = HEADS[name]
    target, raw, centre, scale = floats(*drawn(head))
    direction = np.random.default_rng(1).normal(size=raw.shape).astype(np.float32)

    def loss(there: Any) -> Any:
        return tf.reduce_sum(head.loss(target, head.parameters(there, centre, scale)))

    with tf.GradientTape() as tape:
        tape.watch(raw)
        at = loss(raw)
    slope = float(tf.reduce_sum(tape.gradient(at, raw) * direction))
    step = 2e-3
    found = (float(loss(raw + step * direction)) - float(loss(raw - step * direction))) / (2 * step)
    np.testing.assert_allclose(found, slope, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", ["gaussian", "student"])
def test_the_loss_is_scipys_negative_log_density(name: str) -> None:
    head = HEADS[name]
    target, raw, centre, scale = drawn(head)
    parameters = np.asarray(head.parameters(*floats(raw, centre, scale)), np.float64)
    density = stats.norm if name == "gaussian" else stats.t
    shape = (parameters[..., 2],) if name == "student" else ()
    expected = -density.logpdf(target, *shape, parameters[..., 0], parameters[..., 1])
    np.testing.assert_allclose(head.loss(*floats(target, parameters)), expected, rtol=1e-4, atol=1e-4)


def test_hubers_loss_is_quadratic_near_and_linear_far() -> None:
    target, forecast = np.zeros((1, 1, 3)), np.array([0.2, 0.5, 4.0]).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(
        np.ravel(HEADS["huber"].loss(*floats(target, forecast))), [0.02, 0.125, 0.5 * 3.5 + 0.125], rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(20))
def test_quantiles_never_cross(seed: int) -> None:
    head = HEADS["quantiles"]
    _, raw, centre, scale = drawn(head, seed)
    quantiles = head.forecast(np.asarray(head.parameters(*floats(50 * raw, centre, scale)))).quantiles
    assert quantiles is not None
    assert (np.diff(quantiles.values, axis=-1) >= 0).all()


def test_the_quantiles_loss_is_least_at_the_quantiles() -> None:
    """Of a thousand draws from a normal distribution, each level apart."""
    head, rng = QuantileHead((0.1, 0.5)), np.random.default_rng(0)
    target = rng.normal(size=(20_000, 1, 1))
    truth = stats.norm.ppf([0.1, 0.5])

    def mean(parameters: np.ndarray) -> float:
        return float(np.mean(head.loss(*floats(target, np.broadcast_to(parameters, (20_000, 1, 1, 2))))))

    for level in range(2):
        for shift in (-0.2, 0.2):
            assert mean(truth) < mean(truth + shift * np.eye(2)[level])


@pytest.mark.parametrize("name", ["gaussian", "student", "quantiles"])
def test_what_is_forecast_in_units_is_what_the_parameters_say(name: str) -> None:
    head = HEADS[name]
    target, raw, centre, scale = drawn(head)
    forecast = head.forecast(np.asarray(head.parameters(*floats(raw, centre, scale)), np.float32))
    units = forecast.in_units(np.full((4, 2), 100.0), np.full((4, 2), 10.0))
    np.testing.assert_allclose(units.mean, 10 * forecast.mean + 100, rtol=1e-6)
    if name == "quantiles":
        assert units.quantiles is not None
        np.testing.assert_array_equal(units.mean, units.quantiles.median)
    else:
        assert units.deviation is not None
        np.testing.assert_allclose(units.density().deviation(), units.deviation, rtol=1e-5)
        np.testing.assert_allclose(units.density().cdf(10 * target + 100), forecast.density().cdf(target), atol=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "student"])
def test_members_have_the_mean_and_the_variance_of_their_mixture(name: str) -> None:
    head, rng = HEADS[name], np.random.default_rng(0)
    parameters = np.concatenate(
        [
            rng.normal(size=(2, 3, 4, 2, 1)),
            rng.uniform(0.5, 2, (2, 3, 4, 2, 1)),
            *[np.full((2, 3, 4, 2, 1), 5.0)][: head.outputs - 2],
        ],
        axis=-1,
    )
    of_each, of_all = head.forecast(parameters), head.forecast(np.asarray(head.together(tf.constant(parameters))))
    assert of_each.deviation is not None
    np.testing.assert_allclose(of_all.mean, of_each.mean.mean(axis=1), rtol=1e-6)
    apart = of_each.mean.var(axis=1)
    variance = (parameters[..., 1] ** 2).mean(axis=1) + apart
    np.testing.assert_allclose(of_all.deviation, np.sqrt(variance * (1 if name == "gaussian" else 5 / 3)), rtol=1e-6)


def test_members_quantiles_are_averaged_and_stay_in_order() -> None:
    head = HEADS["quantiles"]
    said = [head.parameters(*floats(*drawn(head, seed)[1:])) for seed in range(3)]
    together = np.asarray(head.together(tf.stack(said, axis=1)))
    np.testing.assert_allclose(together, np.mean(said, axis=0), rtol=1e-5, atol=1e-6)
    assert (np.diff(together, axis=-1) > 0).all()
