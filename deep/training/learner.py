"""A network under training: one step over the global batch, and its state between steps.

Keras 3 never calls the hooks of Horovod's DistributedOptimizer. Here a step takes the tape's gradients of a SUM of losses, sums
them and the count of targets over ranks in one collective, and applies their ratio: the gradient of the mean over the step's
whole global batch, whatever the ranks' shares of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hindcast.deep.heads import head_of
from hindcast.deep.networks.building import members_of
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State
from hindcast.deep.training.collective import Collective
from hindcast.deep.training.spectrum import cosines


class Step(NamedTuple):
    """The result of a training step.

    total, count    sums of losses, and of the targets that they are of, over all ranks
    late            above 0 where the time is up
    of_windows      (rows,): the losses of this rank's windows
    """

    total: Any
    count: Any
    late: Any
    of_windows: Any


class Learner:
    """A network with its optimiser and its compiled steps. `steps`: of an epoch."""

    def __init__(self, network: keras.Model, settings: LstmSettings, collective: Collective, steps: int) -> None:
        self.network, self.collective, self.head = network, collective, head_of(settings)
        self.members, self.spectrum = members_of(network, settings.members), settings.spectrum
        self.optimiser, self.clip_norm = optimiser_of(settings, steps), settings.clip_norm
        self.optimiser.build(network.trainable_variables)
        self.train_step = tf.function(self._train_step)
        self.test_step = tf.function(self._test_step)

    def _train_step(self, inputs: dict[str, Any], target: Any, weight: Any, late: Any) -> Step:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            losses, count = self._losses(inputs, target, weight, training=True)
            total = tf.reduce_sum(losses)
            # Each member learns for itself, from its own rows, as fast as it would alone.
            learnt = total * len(self.members)
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(learnt, variables)]
        *gradients, total, count, late = self.collective.sum([*gradients, total, count, late])
        gradients = [gradient / tf.maximum(count, 1) for gradient in gradients]
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        self.optimiser.apply(gradients, variables)
        return Step(total, count, late, losses)

    def _test_step(self, inputs: dict[str, Any], target: Any, weight: Any) -> tuple[Any, Any]:
        losses, count = self._losses(inputs, target, weight, training=False)
        total, count = self.collective.sum([tf.reduce_sum(losses), count])
        return total, count

    def _losses(self, inputs: dict[str, Any], target: Any, weight: Any, training: bool) -> tuple[Any, Any]:
        """(rows,): sums over a window's targets, of those that weigh; and how many these are.

        In training each member answers its own rows alone (deep/training/feed.py), otherwise all of them together every row.
        """
        weight = tf.cast(weight, tf.float32)
        # A target that does not count may be anything, and 0 times the gradient of that still be no number.
        target = tf.where(weight > 0, target, 0.0)
        parameters = self._each_its_rows(inputs) if training else self.network(inputs, training=False)
        losses = weight * self.head.loss(target, parameters)
        if self.spectrum:
            waves = cosines(target), cosines(weight[..., None] * parameters)
            losses = (1 - self.spectrum) * losses + self.spectrum * self.head.loss(*waves)
        return tf.reduce_sum(losses, axis=(1, 2)), tf.reduce_sum(weight)

    def _each_its_rows(self, inputs: dict[str, Any]) -> Any:
        parts = {name: tf.split(array, len(self.members)) for name, array in inputs.items()}
        answers = [
            member({name: part[number] for name, part in parts.items()}, training=True)
            for number, member in enumerate(self.members)
        ]
        return tf.concat(answers, axis=0)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """As long as the `with` lasts, the moving average of the weights stands in their place. Training goes on from the
        weights."""
        trained = self.network.get_weights()
        self.optimiser.finalize_variable_values(self.network.trainable_variables)
        try:
            yield
        finally:
            self.network.set_weights(trained)

    def arrays(self) -> dict[str, list[np.ndarray]]:
        return {
            "weights": self.network.get_weights(),
            "optimiser": [np.asarray(variable) for variable in self.optimiser.variables],
        }

    def dropout(self) -> list[list[int]]:
        """The states of this rank's random generators."""
        return [np.asarray(variable).tolist() for variable in self._generators()]

    def restore(self, state: State) -> None:
        """Restores network and optimiser from `state`. Where that is of another number of ranks, dropout begins anew."""
        self.network.set_weights(state.weights)
        for variable, array in zip(self.optimiser.variables, state.optimiser, strict=True):
            variable.assign(array)
        if len(state.dropout) == self.collective.size:
            for variable, numbers in zip(self._generators(), state.dropout[self.collective.rank], strict=True):
                variable.assign(np.array(numbers, variable.dtype))

    def _generators(self) -> list[Any]:
        weights = {id(variable) for variable in self.network.weights}
        return [variable for variable in self.network.variables if id(variable) not in weights]


def optimiser_of(settings: LstmSettings, steps: int) -> keras.optimizers.Optimizer:
    """Adam, with a moving average of the weights where that is over more than one step: see `Learner.averaged`."""
    options: dict[str, Any] = {"weight_decay": settings.weight_decay or None}
    momentum = momentum_of(settings, steps)
    if momentum > 0:
        options |= {"use_ema": True, "ema_momentum": momentum}
    return keras.optimizers.Adam(settings.learning_rate, **options)


def momentum_of(settings: LstmSettings, steps: int) -> float:
    """The momentum of the moving average, where an epoch has `steps` steps; 0: there is no average."""
    averaged = settings.averaging * steps
    return 1 - 1 / averaged if averaged > 1 else 0.0
