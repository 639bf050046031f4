"""What a model says of sequences: states filtered, smoothed and decoded, LANES sequences at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from classical.hmm import lattice
from classical.hmm.emissions import Emission
from classical.hmm.lanes import Group, Spans, groups
from prep.errors import InputError


class Parameters(Protocol):
    """start (states,), transition (states, states) from row to column, and the emission family."""

    @property
    def start(self) -> np.ndarray: ...

    @property
    def transition(self) -> np.ndarray: ...

    @property
    def emission(self) -> Emission: ...


def filtered(model: Parameters, spans: Spans, start: np.ndarray | None = None) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """Of LANES sequences at a time: the group, alpha (steps, states, LANES), and log-likelihoods (LANES,).

    alpha is P(state | readings up to the step). The arrays are reused for the next group.
    """
    work = _Workspace(model, spans)
    for group in groups(spans, model.emission.order, model.emission.centre):
        _forward(model, group, work, model.start if start is None else start)
        yield group, work.alpha[: group.steps], work.log_likelihood


def smoothed(
    model: Parameters,
    spans: Spans,
    starts: np.ndarray | None = None,
    transitions: np.ndarray | None = None,
    *,
    weighted: bool = False,
) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """As `filtered`, with gamma, P(state | all readings of the sequence).

    Expected starts (states,) and transitions (states, states) are added to the arrays that are given for them. Where `weighted`,
    gamma and both of them count each sequence as often as `spans.weight` says; log-likelihoods never do.
    """
    K = len(model.start)
    starts = np.zeros(K) if starts is None else starts
    transitions = np.zeros((K, K)) if transitions is None else transitions
    work, once = _Workspace(model, spans), np.ones(lattice.LANES)
    for group in groups(spans, model.emission.order, model.emission.centre):
        T = group.steps
        _forward(model, group, work, model.start)
        lattice.backward(
            work.b[:T], group.lengths, group.weights if weighted else once, model.transition,
            work.alpha[:T], work.scale[:T], starts, transitions,
        )  # fmt: skip
        yield group, work.alpha[:T], work.log_likelihood


def decoded(model: Parameters, spans: Spans) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """As `filtered`, with the likeliest paths (steps, LANES), -1 after a lane's end, and their log-probabilities (LANES,)."""
    work = _Workspace(model, spans)
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(model.start), np.log(model.transition)
    for group in groups(spans, model.emission.order, model.emission.centre):
        path = np.empty((group.steps, lattice.LANES), np.int32)
        model.emission.log_density(group, work.b[: group.steps])
        lattice.viterbi(work.b[: group.steps], group.lengths, log_start, log_transition, path, work.log_likelihood)
        yield group, path, work.log_likelihood


def _forward(model: Parameters, group: Group, work: _Workspace, start: np.ndarray) -> None:
    T = group.steps
    model.emission.log_density(group, work.b[:T])
    lattice.forward(
        work.b[:T], group.lengths, start, model.transition,
        work.alpha[:T], work.scale[:T], work.log_likelihood,
    )  # fmt: skip


class _Workspace:
    """Arrays of the lattice, made once for the longest sequence."""

    def __init__(self, model: Parameters, spans: Spans) -> None:
        found, expected = spans.values.shape[2], model.emission.channels
        if found != expected:
            raise InputError(f"found readings of {found} channels, and the model has {expected}")
        longest = int(spans.after_history(model.emission.order).lengths.max(initial=0))
        self.b = np.empty((longest, len(model.start), lattice.LANES))
        self.alpha = np.empty_like(self.b)
        self.scale = np.empty((longest, lattice.LANES))
        self.log_likelihood = np.empty(lattice.LANES)
