from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.fft import dct

from hindcast.deep.inputs import Inputs
from hindcast.deep.networks.building import build
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.collective import OneProcess
from hindcast.deep.training.feed import Rows, take
from hindcast.deep.training.learner import Learner
from hindcast.deep.training.spectrum import cosines
from hindcast.prep.dataset.windows import Windows

EIGHT = Inputs(context=8, horizon=4, lead=0, channels=2)
Over = Callable[..., Windows]


@pytest.mark.parametrize("shape", [(3, 7, 2), (3, 7, 2, 1)])
def test_waves_are_scipys(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    compiled = tf.function(cosines, input_signature=[tf.TensorSpec((None, *shape[1:]), tf.float32)])
    for of in (cosines, compiled):
        np.testing.assert_allclose(of(tf.constant(values)), dct(values, axis=1, norm="ortho"), atol=1e-5)


def losses(learner: Learner, batch: Any) -> tuple[np.ndarray, float]:
    given, target, weight = batch
    found, count = learner._losses({name: tf.constant(array) for name, array in given.items()}, target, weight, training=False)
    return np.asarray(found), float(count)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_loss_is_of_the_errors_waves_and_what_was_not_measured_has_none(over: Over, share: float) -> None:
    values, observed = np.random.default_rng(1).normal(size=(40, 2)), np.ones((40, 2))
    observed[15, 1] = 0
    settings = LstmSettings(units=8, segment=4, loss="mae", spectrum=share, line=0.0)
    learner = Learner(build(settings, EIGHT), settings, OneProcess(), steps=10)
    batch = take(over(values, 8, 4, observed), EIGHT, Rows.of(np.arange(6), 8))
    found, count = losses(learner, batch)
    said = np.asarray(learner.network(batch[0]))[..., 0]
    errors = np.where(batch[2] > 0, batch[1] - said, 0.0)
    expected = (1 - share) * np.abs(errors) + share * np.abs(dct(errors, axis=1, norm="ortho"))
    np.testing.assert_allclose(found, expected.sum(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert count == batch[2].sum()
    assert (found[6:] == 0).all()


def test_the_gradient_of_waves_is_a_finite_difference() -> None:
    rng = np.random.default_rng(0)
    target, said, direction = (tf.constant(rng.normal(size=(4, 6, 2)), tf.float32) for _ in range(3))

    def loss(there: Any) -> Any:
        return tf.reduce_sum(tf.abs(cosines(target) - cosines(there)))

    with tf.GradientTape() as tape:
        tape.watch(said)
        at = loss(said)
    slope = float(tf.reduce_sum(tape.gradient(at, said) * direction))
    np.testing.assert_allclose(float(loss(said + 1e-3 * direction) - loss(said - 1e-3 * direction)) / 2e-3, slope, rtol=1e-2)
