"""The one training function, for all ways to run.

Every number that decides something (loss, stop, best weights) is a sum over ranks. So it is equal on all of them, bit for bit,
and they decide alike. A training that goes on from a checkpoint takes the same steps as one that was never interrupted.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from hindcast.deep.digests import digest_of
from hindcast.deep.inputs import Inputs
from hindcast.deep.networks.building import build
from hindcast.deep.networks.linear_path import LinearPath, closed_form
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.checkpoints import State
from hindcast.deep.training.collective import Collective
from hindcast.deep.training.feed import Epoch, Rows, Share, training_feed, validation_feed
from hindcast.deep.training.learner import Learner, Step
from hindcast.deep.training.precision import precision
from hindcast.deep.training.rates import rate
from hindcast.deep.training.trained import Trained
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.errors import InputError

VALIDATION_SEQUENCES = 4096

OnEpoch = Callable[[dict[str, float]], bool | None]
OnStep = Callable[[int, int], None]
OnCheckpoint = Callable[[State], None]
MakeLearner = Callable[[LstmSettings, Inputs, Collective, int], Learner]


def train(
    training: Windows,
    validation: Windows,
    inputs: Inputs,
    settings: LstmSettings,
    collective: Collective,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    resume: State | None = None,
    make: MakeLearner | None = None,
) -> Trained:
    """Fits a network to all training windows; keeps the weights of the epoch with the least validation loss.

    Called by every rank with the same arguments. `on_epoch(record)` and `on_checkpoint(state)` are called on rank 0, after each
    epoch, and after `settings.checkpoint_steps` and each epoch; `on_step(epoch, step)` on every rank before each step (validation
    too). Where `on_epoch` returns True, training ends with that epoch. `resume`: the state to go on from. `make`: makes the
    learner; `new_learner` by default. Without validation windows the last epoch's weights are kept.

    Raises InputError where there are no training windows, or the loss ceases to be finite (it names a window), RuntimeError where
    ranks have unequal weights after an epoch.
    """
    if not len(training):
        raise InputError("no training windows: the training split is shorter than a window, or all of it is broken by gaps")
    began, cpu_began = time.perf_counter(), time.process_time()
    settings = settings.for_windows(inputs.context, inputs.horizon)
    trainer = Trainer(training, validation, inputs, settings, collective, on_step, make)
    network = trainer.learner.network
    if collective.rank == 0 and resume is None:
        straighten(network, training, settings)
    network.set_weights(collective.broadcast(network.get_weights()))
    state = State() if resume is None else copy.deepcopy(resume)
    if resume is not None:
        _same_steps(resume, settings, collective.size)
        trainer.learner.restore(resume)
    tell = collective.rank == 0
    while state.goes_on(settings):
        late = trainer.epoch(state, on_checkpoint)
        record = trainer.close(state)
        enough = tell and on_epoch is not None and on_epoch(record) is True
        if on_checkpoint is not None:
            trainer.checkpoint(state, on_checkpoint)
        # Rank 0's word is everybody's; all of them must ask for it.
        if collective.gather(enough)[0] or late:
            break
    network.set_weights(state.best)
    digest = equal_digest(network, collective)
    cpu_seconds = sum(collective.gather(time.process_time() - cpu_began))
    return Trained(
        settings, inputs, tuple(network.get_weights()), tuple(state.history), state.best_epoch, digest, collective.size,
        time.perf_counter() - began, cpu_seconds,
    )  # fmt: skip


def _same_steps(resume: State, settings: LstmSettings, ranks: int) -> None:
    if settings.batch_of == "rank" and len(resume.dropout) != ranks:
        raise InputError(
            f'batch_of "rank": the checkpoint is of a training on {len(resume.dropout)} ranks, and steps of {ranks} are others. '
            "Go on with as many ranks, or train anew"
        )


def new_learner(settings: LstmSettings, inputs: Inputs, collective: Collective, steps: int) -> Learner:
    """A network with its first weights, for epochs of so many steps."""
    with precision(settings.precision):
        network = build(settings, inputs, seed=settings.seed + 1000 * collective.rank)
    return Learner(network, settings, collective, steps)


def straighten(network: Any, training: Windows, settings: LstmSettings) -> None:
    """Sets the weights of the network's linear path, if it has one, to the closed form of these windows."""
    if settings.has_line:
        path = next(layer for layer in network.layers if isinstance(layer, LinearPath))
        path.set_weights([closed_form(training, settings.ridge)])


class Trainer:
    """Trains and validates a network, epoch by epoch; the state of the training is handed to each method."""

    def __init__(
        self,
        training: Windows,
        validation: Windows,
        inputs: Inputs,
        settings: LstmSettings,
        collective: Collective,
        on_step: OnStep | None = None,
        make: MakeLearner | None = None,
    ) -> None:
        self.training, self.validation, self.inputs = training, validation, inputs
        self.settings, self.collective, self.on_step = settings, collective, on_step or (lambda epoch, step: None)
        step = settings.windows_a_step(inputs.channels, collective.size)
        self.share = Share(len(training), step, collective.rank, collective.size)
        self.learner = (make or new_learner)(settings, inputs, collective, self.share.steps)
        self.began = time.perf_counter()

    def epoch(self, state: State, on_checkpoint: OnCheckpoint | None) -> bool:
        """Takes the remaining steps of an epoch. Returns whether the time was up before its end."""
        self.epoch_began = time.perf_counter()
        epoch = Epoch(self.share, self.settings.member_seeds, state.epoch - 1, self.settings.mixing)
        for batch in training_feed(self.training, self.inputs, epoch, state.step):
            self.on_step(state.epoch, state.step + 1)
            steps_before = (state.epoch - 1) * self.share.steps + state.step
            self.learner.optimiser.learning_rate = rate(self.settings, steps_before, self.share.steps, self.collective.size)
            outcome = self.learner.train_step(*batch, tf.constant(self._is_late()))
            total, count = float(outcome.total), float(outcome.count)
            if not math.isfinite(total):
                self._refuse(state, total / max(count, 1.0), outcome, epoch.rows(state.step))
            state.total, state.count, state.step = state.total + total, state.count + count, state.step + 1
            if float(outcome.late) > 0:
                return True
            if on_checkpoint is not None and state.step % self.settings.checkpoint_steps == 0 and state.step < self.share.steps:
                self.checkpoint(state, on_checkpoint)
        return False

    def close(self, state: State) -> dict[str, float]:
        """Ends an epoch: validates the average of its weights, keeps it if it is the best, and goes over to the next."""
        record = {"epoch": float(state.epoch), "loss": state.total / max(state.count, 1.0)}
        record["learning_rate"] = float(self.learner.optimiser.learning_rate)
        with self.learner.averaged():
            if len(self.validation):
                total, count = self.validate(state)
                record["validation_loss"] = total / max(count, 1.0)
            equal_digest(self.learner.network, self.collective)
            state.end_epoch({**record, "seconds": time.perf_counter() - self.epoch_began}, self.learner.network.get_weights())
        return state.history[-1]

    def checkpoint(self, state: State, on_checkpoint: OnCheckpoint) -> None:
        state.dropout = self.collective.gather(self.learner.dropout())
        if self.collective.rank == 0:
            state.weights, state.optimiser = self.learner.arrays().values()
            on_checkpoint(state)

    def validate(self, state: State) -> tuple[float, float]:
        """Sums of the losses of all validation windows, and of the targets that they are of."""
        step = max(1, VALIDATION_SEQUENCES // self.inputs.channels)
        share = Share(len(self.validation), step, self.collective.rank, self.collective.size)
        total = count = 0.0
        for batch in validation_feed(self.validation, self.inputs, share):
            self.on_step(state.epoch, state.step)
            of_step, targets = self.learner.test_step(*batch)
            total, count = total + float(of_step), count + float(targets)
        return total, count

    def _is_late(self) -> float:
        # Rank 0's clock decides for all: ranks learn of it in the sum of this very step.
        limit = self.settings.max_seconds
        late = self.collective.rank == 0 and limit is not None and time.perf_counter() - self.began > limit
        return 1.0 if late else 0.0

    def _refuse(self, state: State, loss: float, outcome: Step, rows: Rows) -> None:
        """Names a window whose loss is no number, or else the one that strays furthest: whichever rank has it."""
        own, broken = rows.windows[rows.counts], ~np.isfinite(np.asarray(outcome.of_windows)[rows.counts])
        if rows.others is not None:  # a window's loss is also that of the one it was mixed with
            own, broken = np.append(own, rows.others[rows.counts]), np.tile(broken, 2)
        broken = np.flatnonzero(broken)
        batch = self.training.batch(own)
        size = np.nan_to_num(np.abs(np.concatenate([batch.context, batch.target], axis=1)), nan=np.inf).max(
            axis=(1, 2), initial=0
        )
        which = int(broken[np.argmax(size[broken])]) if len(broken) else int(np.argmax(size)) if len(own) else -1
        mine = (
            [float(min(size[which], 1e38)), str(batch.series[which]), str(batch.start[which])] if which >= 0 else [-1.0, "", ""]
        )
        largest, series, time_ = max(self.collective.gather([bool(len(broken)), *mine]))[1:]
        of = f"series {series!r}, " if series else ""
        raise InputError(
            f"epoch {state.epoch}, step {state.step + 1}: the loss is {loss}; of its windows, look at {of}the one that begins at "
            f"{time_} (values up to {largest:g}, scaled). Lower learning_rate (now {self.settings.learning_rate:g}), set "
            "clip_norm, or look for values in the dataset that are far out of range"
        )


def equal_digest(network: Any, collective: Collective) -> str:
    """`digest_of` the weights, the same on all ranks. Raises RuntimeError where it is not."""
    digests = collective.gather(digest_of(network.get_weights()))
    if len(set(digests)) > 1:
        raise RuntimeError(
            f"ranks have unequal weights (SHA-256 by rank: {', '.join(digest[:12] for digest in digests)}): "
            "they did not run the same steps, so the model is worth nothing"
        )
    return digests[0]
