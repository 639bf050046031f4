"""What a model says of sequences: states filtered, smoothed and decoded, LANES sequences at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from classical.hmm import folded, lattice
from classical.hmm.emissions import Emission
from classical.hmm.lanes import Group, Spans, batches
from classical.hmm.vector import LANES
from prep.errors import InputError

STATES_AT_ONCE = 8192  # in a call of a kernel, over all its steps


class Parameters(Protocol):
    """start (states,), transition (states, states) from row to column, and the emission family."""

    @property
    def start(self) -> np.ndarray: ...

    @property
    def transition(self) -> np.ndarray: ...

    @property
    def emission(self) -> Emission: ...


def filtered(model: Parameters, spans: Spans, start: np.ndarray | None = None) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """Of some sequences at a time: the group, alpha (steps, states, LANES), and log-likelihoods (places,).

    alpha is P(state | readings up to the step). Of a folded group the first place has the log-likelihood of the sequence, and the
    others 0, so that log-likelihoods may be added up. The arrays are reused for the next group.
    """
    work = _Workspace(model, spans)
    for group in work.groups():
        found = work.forward(group, model.start if start is None else start)
        lattice.normalise(found.alpha, found.scale)
        yield group, found.alpha, found.log_likelihood


def scored(model: Parameters, spans: Spans) -> Iterator[tuple[Group, np.ndarray]]:
    """As `filtered`, with the log-likelihoods alone, which are sooner there."""
    work = _Workspace(model, spans)
    for group in work.groups():
        yield group, work.forward(group, model.start).log_likelihood


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
    work = _Workspace(model, spans)
    for group in work.groups():
        found = work.forward(group, model.start)
        weights = group.weights if weighted else np.ones(len(group.weights))
        kernels(group).backward(
            found.b, group.begins, group.lengths, weights, model.transition, found.alpha, found.scale, starts, transitions
        )
        yield group, found.alpha, found.log_likelihood


def decoded(model: Parameters, spans: Spans) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """As `filtered`, with the likeliest paths (steps, LANES), -1 after a lane's end, and their log-probabilities (places,)."""
    work = _Workspace(model, spans)
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(model.start), np.log(model.transition)
    for group in work.groups():
        path, found = np.empty((group.steps, LANES), np.int32), work.of(group)
        model.emission.log_density(group, found.b)
        kernels(group).viterbi(
            found.b, group.begins, group.lengths, log_start, log_transition, found.alpha, path, found.log_likelihood
        )
        yield group, path, found.log_likelihood


def kernels(group: Group) -> Any:
    """The module that has forward, backward and viterbi of such a group."""
    return folded if group.folded else lattice


class _Lattice(NamedTuple):
    """Arrays of one group: densities and alpha (steps, states, LANES), peaks and scale (steps, LANES), and (places,)."""

    b: np.ndarray
    alpha: np.ndarray
    peaks: np.ndarray
    scale: np.ndarray
    log_likelihood: np.ndarray


class _Workspace:
    """The lattice's arrays, used for one group after the other. They grow to the largest."""

    def __init__(self, model: Parameters, spans: Spans) -> None:
        found, expected = spans.values.shape[2], model.emission.channels
        if found != expected:
            raise InputError(f"found readings of {found} channels, and the model has {expected}")
        self.model, self.spans = model, spans
        self.room = self._room(0)

    def groups(self) -> Iterator[Group]:
        emission, at_once = self.model.emission, STATES_AT_ONCE // len(self.model.start)
        return batches(self.spans, emission.order, emission.centre, at_once)

    def of(self, group: Group) -> _Lattice:
        """Arrays for a group."""
        T = group.steps
        if len(self.room.b) < T:
            self.room = self._room(T)
        b, alpha, peaks, scale, _ = self.room
        return _Lattice(b[:T], alpha[:T], peaks[:T], scale[:T], np.empty(len(group.members)))

    def forward(self, group: Group, start: np.ndarray) -> _Lattice:
        """Alpha of a group, not normalised."""
        found, emission = self.of(group), self.model.emission
        relative = getattr(emission, "relative_density", None)
        if relative is None:
            emission.log_density(group, found.b)
        else:
            relative(group, found.b, found.peaks)
        kernels(group).forward(
            found.b, None if relative is None else found.peaks, group.begins, group.lengths, start, self.model.transition,
            found.alpha, found.scale, found.log_likelihood,
        )  # fmt: skip
        return found

    def _room(self, steps: int) -> _Lattice:
        K = len(self.model.start)
        wide, narrow = (steps, K, LANES), (steps, LANES)
        return _Lattice(np.empty(wide), np.empty(wide), np.empty(narrow), np.empty(narrow), np.empty(0))
