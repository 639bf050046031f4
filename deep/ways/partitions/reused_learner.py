"""One network for many trainings one after the other: traced once, and put back to its beginning before each.

To trace a step costs seconds, and to train a short series costs no more. Here a step takes batches of any number of windows, and
what depends on the length of an epoch is a variable, so that one graph does for all series.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import tensorflow as tf

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State
from hindcast.deep.training.collective import Collective, OneProcess
from hindcast.deep.training.learner import Learner, momentum_of
from hindcast.deep.training.training import new_learner

MOST = 4
MANY_STEPS = 10**9


def reused_learner(settings: LstmSettings, inputs: Inputs, collective: Collective, steps: int) -> Learner:
    """A learner as `new_learner` (deep/training/training.py) makes it in one process, by reuse of an earlier one's network.

    The training that had the network before must have ended.
    """
    learner, beginning = _traced_learner(settings, inputs)
    learner.restore(beginning)
    if learner.optimiser.use_ema:
        learner.optimiser.ema_momentum.assign(momentum_of(settings, steps))
    return learner


@lru_cache(MOST)
def _traced_learner(settings: LstmSettings, inputs: Inputs) -> tuple[Learner, State]:
    """The network of this process, and how it began."""
    # In so many steps there is a moving average, if one was asked for; of momentum 0 it is the weights themselves.
    learner = new_learner(settings, inputs, OneProcess(), MANY_STEPS)
    if learner.optimiser.use_ema:
        learner.optimiser.ema_momentum = tf.Variable(0.0, trainable=False)
    inputs_signature = {name: tf.TensorSpec((None, *shape), dtype) for name, (shape, dtype) in inputs.shapes().items()}
    target = (None, inputs.horizon, inputs.channels)
    batch: list[Any] = [inputs_signature, tf.TensorSpec(target, tf.float32), tf.TensorSpec(target, tf.uint8)]
    learner.train_step = tf.function(learner._train_step, input_signature=[*batch, tf.TensorSpec((), tf.float32)])
    learner.test_step = tf.function(learner._test_step, input_signature=batch)
    arrays = learner.arrays()
    beginning = State(weights=arrays["weights"], optimiser=arrays["optimiser"], dropout=[learner.dropout()])
    return learner, beginning
