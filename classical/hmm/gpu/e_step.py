"""The E-step on a GPU, for models whose emission family has kernels there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numba import cuda

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.gpu.autoregressive import Regressions
from hindcast.classical.hmm.gpu.gaussian import Diagonal, Full
from hindcast.classical.hmm.gpu.lattice import BLOCKS, MOST_STATES, backward_kernel, forward_kernel, warps
from hindcast.classical.hmm.gpu.layout import WIDTH, Batch, lay_out
from hindcast.classical.hmm.gpu.parts import added_up
from hindcast.classical.hmm.kernels import logs
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov, Statistics
from hindcast.prep.errors import InputError

# b and gamma (steps, states, WIDTH), peaks (steps, WIDTH), on the GPU.
Room = tuple[Any, Any, Any]


class Kernels(Protocol):
    """Of one emission, with its parameters on the GPU."""

    def needs_complete(self) -> bool:
        """Whether the kernels only take sequences without missing readings."""

    def densities(self, batch: Batch, b: Any, peaks: Any) -> None:
        """Of a batch, into `b` (steps, states, WIDTH) and `peaks` (steps, WIDTH): see `lattice.forward_kernel`."""

    def sums(self, batch: Batch, gamma: Any) -> np.ndarray:
        """What `Emission.statistics` takes, of all places: as one lane, where a processor's sums are of lanes."""


class OnGpu:
    """Sequences in the memory of one of this process's GPUs, until they are let go. `bytes`: what they need there."""

    def __init__(self, spans: Spans, order: int, gpu: int = 0) -> None:
        self.spans, self.batches, self.gpu = spans.after_history(order), list(lay_out(spans, order)), gpu
        self.bytes = sum(batch.bytes for batch in self.batches)

    def e_step(self, model: HiddenMarkov[Any]) -> Statistics:
        """The statistics that `model.e_step` makes of the same sequences on a processor, to rounding.

        Sequences with a frame that underflows are done there, in logs; and all of these, where dependent channels have gaps.
        The thread that asks must have chosen the GPU. The model must be one that `fault` finds nothing wrong with. Raises
        InputError as `model.e_step` does.
        """
        emission, K = model.emission, model.states
        channels, expected = self.spans.values.shape[2], emission.channels
        if channels != expected:
            raise InputError(f"found readings of {channels} channels, and the model has {expected}")
        kernels = FAMILIES[type(emission)](emission)
        if kernels.needs_complete() and any(batch.observed is not None for batch in self.batches):
            return model.e_step(self.spans)
        chain, sums, log_likelihood, lost = np.zeros((K, K + 1)), emission.no_sums(), 0.0, [np.empty(0, np.int64)]
        for number, batch in enumerate(self.batches):
            smoothed = _Smoothing(model, kernels, batch, _room(self.gpu, K, batch.steps))
            chain += smoothed.chain
            log_likelihood += smoothed.log_likelihood
            of_batch = kernels.sums(batch, smoothed.gamma)
            sums = sums + of_batch if number else of_batch
            lost.append(smoothed.lost)
        steps = self.spans.lengths
        weight = np.ones(len(steps)) if self.spans.weight is None else self.spans.weight
        statistics = Statistics(
            chain[:, K].copy(), chain[:, :K].copy(), emission.statistics(sums), log_likelihood, float((weight * steps).sum()),
            float(weight[steps > 0].sum()),
        )  # fmt: skip
        again = np.concatenate(lost)
        if len(again) == 0:
            return statistics
        # Both count the steps of the sequences that are done again.
        return replace(
            statistics + model.e_step(_subset(self.spans, again)), count=statistics.count, sequences=statistics.sequences
        )


def fault(model: HiddenMarkov[Any]) -> str | None:
    """The reason why GPUs cannot take E-steps of this model, in words; None where they can."""
    family = type(model.emission)
    if family not in FAMILIES:
        families = " and ".join(kind.__name__ for kind in FAMILIES)
        return f"GPUs have kernels for {families} emissions, and none for {family.__name__}"
    if model.states > MOST_STATES:
        return f"GPUs take at most {MOST_STATES} states, and the model has {model.states}"
    return None


def _of_gaussian(emission: Gaussian) -> Kernels:
    return Diagonal(emission) if emission.covariance in ("spherical", "diag") else Full(emission)


FAMILIES: dict[type[Emission], Callable[[Any], Kernels]] = {Gaussian: _of_gaussian, Autoregressive: Regressions}


class _Smoothing:
    """Forward-backward of a batch: gamma, weighted, on the GPU; expected transitions and starts (states, states + 1); the
    log-likelihood; and which sequences it was not right for, which have no part in any of these."""

    def __init__(self, model: HiddenMarkov[Any], kernels: Kernels, batch: Batch, room: Room) -> None:
        K = model.states
        self.b, self.gamma, self.peaks = room
        self.transition, self.start = cuda.to_device(model.transition), cuda.to_device(model.start)
        self.shape = min(BLOCKS, batch.sections), (WIDTH, warps(K))
        sparse = logs.sparse(model.transition)
        likelihood, rescued = self._forward(K, kernels, batch)
        wrong = (batch.weights > 0) & ((rescued > 0) | ~np.isfinite(likelihood))
        weights = np.where(wrong, 0.0, batch.weights)
        counts = logs.counts(model.start, model.transition) if sparse else np.empty((1, 1))
        self.chain, largest = self._backward(K, batch, weights, sparse, counts)
        if sparse and (vague := (weights > 0) & ~(largest < logs.LARGE * weights)).any():
            wrong, weights = wrong | vague, np.where(vague, 0.0, weights)
            self._forward(K, kernels, batch)
            self.chain, _ = self._backward(K, batch, weights, sparse, counts)
        self.log_likelihood = float(np.where(weights > 0, weights * likelihood, 0.0).sum())
        self.lost = batch.members[wrong]

    def _forward(self, K: int, kernels: Kernels, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihoods and frames that underflowed, of the places."""
        kernels.densities(batch, self.b, self.peaks)
        likelihood, lost = cuda.device_array(len(batch.lengths)), cuda.device_array(len(batch.lengths), np.int32)
        forward_kernel(K)[self.shape](
            self.b, self.peaks, batch.begins, batch.ends, self.start, self.transition, self.gamma, likelihood, lost
        )
        return likelihood.copy_to_host(), lost.copy_to_host()

    def _backward(
        self, K: int, batch: Batch, weights: np.ndarray, sparse: bool, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expected transitions and starts, and the largest beta of each place."""
        sums = cuda.device_array((self.shape[0], K, K + 1))
        largest = cuda.device_array((len(batch.lengths), K) if sparse else (1, 1))
        backward_kernel(K, sparse)[self.shape](
            self.b, batch.begins, batch.ends, cuda.to_device(weights), self.transition, self.gamma, sums, cuda.to_device(counts),
            largest,
        )  # fmt: skip
        return added_up(sums), largest.copy_to_host().max(axis=1)


def _room(gpu: int, K: int, steps: int) -> Room:
    """Of a batch, in memory that each GPU keeps for the next one, and that grows to the largest."""
    wide, narrow = steps * K * WIDTH, steps * WIDTH
    if gpu not in _memory or len(_memory[gpu]) < 2 * wide + narrow:
        _memory.pop(gpu, None)  # before there is more, so that it need not be there twice
        _memory[gpu] = cuda.device_array(2 * wide + narrow)
    b, gamma, peaks = (_memory[gpu][part] for part in (slice(wide), slice(wide, 2 * wide), slice(2 * wide, 2 * wide + narrow)))
    return b.reshape(steps, K, WIDTH), gamma.reshape(steps, K, WIDTH), peaks.reshape(steps, WIDTH)


def forget_room() -> None:
    """Gives the memory of the lattice back, on every GPU."""
    _memory.clear()


_memory: dict[int, Any] = {}


def _subset(spans: Spans, which: np.ndarray) -> Spans:
    parts = {name: getattr(spans, name)[which] for name in ("row", "first", "start", "stop")}
    return replace(spans, **parts, weight=None if spans.weight is None else spans.weight[which])
