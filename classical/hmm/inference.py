"""The states of sequences under a model: filtered, smoothed and decoded, LANES sequences at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.kernels import folded_lattice, lattice, lattice_in_pieces, logs
from hindcast.classical.hmm.kernels.lanes import Group, Spans, batches
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.prep.errors import InputError

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
    """Of each group of sequences: the group, alpha (steps, states, LANES), and log-likelihoods (places,).

    alpha is P(state | readings up to the step). Of a folded group the first place has the log-likelihood of the sequence, and the
    others 0, so that log-likelihoods may be added up. The arrays are reused for the next group.
    """
    work = _Workspace(model, spans)
    for group in work.groups():
        arrays = work.filter(group, model.start if start is None else start)
        yield group, arrays.alpha, arrays.log_likelihood


def scored(model: Parameters, spans: Spans) -> Iterator[tuple[Group, np.ndarray]]:
    """As `filtered`, faster, with the log-likelihoods alone."""
    work = _Workspace(model, spans)
    for group in work.groups():
        arrays = work.filter(group, model.start) if work.sparse else work.forward(group, model.start)
        yield group, arrays.log_likelihood


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
        arrays = work.smooth(group, group.weights if weighted else np.ones(len(group.weights)), starts, transitions)
        yield group, arrays.alpha, arrays.log_likelihood


def decoded(model: Parameters, spans: Spans) -> Iterator[tuple[Group, np.ndarray, np.ndarray]]:
    """As `filtered`, with the likeliest paths (steps, LANES), -1 after a lane's end, and their log-probabilities (places,)."""
    work = _Workspace(model, spans)
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(model.start), np.log(model.transition)
    for group in work.groups():
        path, arrays = np.empty((group.steps, LANES), np.int32), work.of(group)
        model.emission.log_density(group, arrays.b)
        arguments, out = (group.lengths, log_start, log_transition), (arrays.alpha, path, arrays.log_likelihood)
        if group.folded:
            folded_lattice.viterbi(arrays.b, *arguments, *out)
        else:
            lattice.viterbi(arrays.b, group.begins, *arguments, *out)
        yield group, path, arrays.log_likelihood


def laid_out(passes: Iterator[tuple[Group, np.ndarray, np.ndarray]], spans: Spans, order: int, out: np.ndarray) -> float:
    """Writes the results of passes over the sequences of one row into `out` (steps, ...), at the steps that have any. Returns the
    sum of their log-likelihoods, or log-probabilities."""
    scored, total = spans.after_history(order), 0.0
    for group, of_lanes, logarithms in passes:
        total += float(logarithms.sum())
        for sequence, of_sequence in group.each(of_lanes):
            out[scored.start[sequence] : scored.stop[sequence]] = of_sequence
    return total


class _Lattice(NamedTuple):
    """Arrays of one group: densities and alpha (steps, states, LANES), peaks and scale (steps, LANES), and (places,).

    forgotten: after how many steps the pieces of a folded sequence are what they are, however they began; 0 where not asked, or
    never
    rescued: how many frames of each place were redone in logs; not told of dense chains that are folded
    """

    b: np.ndarray
    alpha: np.ndarray
    peaks: np.ndarray
    scale: np.ndarray
    log_likelihood: np.ndarray
    forgotten: int = 0
    rescued: np.ndarray | None = None


class _Workspace:
    """The lattice's arrays, used for one group after the other. They grow to the largest."""

    def __init__(self, model: Parameters, spans: Spans) -> None:
        channels, expected = spans.values.shape[2], model.emission.channels
        if channels != expected:
            raise InputError(f"found readings of {channels} channels, and the model has {expected}")
        self.model, self.spans, self.sparse = model, spans, logs.sparse(model.transition)
        self.room = self._room(0)

    def groups(self) -> Iterator[Group]:
        emission, at_once = self.model.emission, STATES_AT_ONCE // len(self.model.start)
        return batches(self.spans, emission.order, emission.centre, at_once)

    def of(self, group: Group) -> _Lattice:
        """Arrays for a group."""
        T = group.steps
        if len(self.room.b) < T:
            self.room = self._room(T)
        b, alpha, peaks, scale = self.room[:4]
        return _Lattice(b[:T], alpha[:T], peaks[:T], scale[:T], np.empty(len(group.members)))

    def filter(self, group: Group, start: np.ndarray) -> _Lattice:
        """Alpha of a group, normalised."""
        arrays, K = self.forward(group, start), len(start)
        lost = np.zeros(0, np.int64)
        if self.sparse:
            apart = arrays._replace(alpha=arrays.alpha.copy())  # where gamma goes, which is not asked for
            lost = self.backward(group, apart, np.ones(len(group.members)), np.zeros(K), np.zeros((K, K)), start)
        lattice.normalise(arrays.alpha, arrays.scale)
        self._redo(group, arrays, lost, start)
        return arrays

    def smooth(self, group: Group, weights: np.ndarray, starts: np.ndarray, transitions: np.ndarray) -> _Lattice:
        """Gamma of a group in the place of alpha, times the weights (places,); see `smoothed`."""
        start = self.model.start
        arrays = self.forward(group, start)
        if not self.sparse:
            self.backward(group, arrays, weights, starts, transitions, start)
            return arrays
        added = np.zeros_like(starts), np.zeros_like(transitions)
        lost = self.backward(group, arrays, weights, *added, start)
        if len(lost):
            arrays, added = self.forward(group, start), (np.zeros_like(starts), np.zeros_like(transitions))
            for begin, steps, lane in _places(group, lost):
                for array in (arrays.b, arrays.alpha):  # nothing times a scale, so that nothing is added, not even NaN
                    array[begin : begin + steps, :, lane] = 0.0
            self.backward(group, arrays, weights, *added, start)
            self._redo(group, arrays, lost, start, (weights, *added))
        starts += added[0]
        transitions += added[1]
        return arrays

    def forward(self, group: Group, start: np.ndarray) -> _Lattice:
        """Alpha of a group, not normalised."""
        arrays, transition = self.of(group), self.model.transition
        out = arrays.alpha, arrays.scale, arrays.log_likelihood
        if not group.folded:
            peaks = self._density(group, arrays)
            rescued = lattice.forward(arrays.b, peaks, group.begins, group.lengths, start, transition, *out)
            return arrays._replace(rescued=rescued)
        arguments = group.lengths, start, transition
        forgotten = 0 if self.sparse else lattice_in_pieces.forward(arrays.b, self._density(group, arrays), *arguments, *out)
        rescued = np.zeros(LANES, np.int64)
        if not forgotten:
            rescued[:] = folded_lattice.forward(arrays.b, self._density(group, arrays), *arguments, *out)
        return arrays._replace(forgotten=forgotten, rescued=rescued)

    def backward(
        self,
        group: Group,
        arrays: _Lattice,
        weights: np.ndarray,
        starts: np.ndarray,
        transitions: np.ndarray,
        start: np.ndarray,
    ) -> np.ndarray:
        """Gamma in the place of alpha, after `forward` from `start`. At which places it may be wrong, where the chain is sparse.

        At all of them, or none, where the group is folded. Of what has no weight nothing is known, so it is among them.
        """
        model, out = self.model, (arrays.alpha, arrays.scale, starts, transitions)
        arguments = group.lengths, weights, model.transition
        if self.sparse:
            largest, counts = np.zeros(len(group.members)), logs.counts(start, model.transition)
            if group.folded:
                folded_lattice.backward(arrays.b, *arguments, *out, counts, largest)
            else:
                lattice.backward(arrays.b, group.begins, *arguments, *out, counts, largest)
            safe = (largest < logs.LARGE * weights) & (arrays.rescued == 0) & np.isfinite(arrays.log_likelihood)
            return np.flatnonzero(~safe & (group.members >= 0))
        if not group.folded:
            lattice.backward(arrays.b, group.begins, *arguments, *out)
        elif not (arrays.forgotten and lattice_in_pieces.backward(arrays.b, *arguments, *out, arrays.forgotten)):
            if arrays.forgotten:
                peaks, likelihood = self._density(group, arrays), arrays.log_likelihood
                folded_lattice.forward(arrays.b, peaks, group.lengths, start, model.transition, *out[:2], likelihood)
            folded_lattice.backward(arrays.b, *arguments, *out)
        return np.zeros(0, np.int64)

    def _redo(
        self,
        group: Group,
        arrays: _Lattice,
        lost: np.ndarray,
        start: np.ndarray,
        smoothing: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """What is at the places `lost`, in logs: alpha, or gamma where there is `smoothing` (weights, starts, xi)."""
        if len(lost) == 0:
            return
        self.model.emission.log_density(group, arrays.b)
        K = len(start)
        with np.errstate(divide="ignore"):
            log_start, log_transition = np.log(start), np.log(self.model.transition)
        weights, *added = smoothing or (np.ones(len(group.members)), np.zeros(K), np.zeros((K, K)))
        for places in [lost] if group.folded else lost[:, None]:
            parts = _places(group, places)
            log_b = np.concatenate([arrays.b[begin : begin + steps, :, lane] for begin, steps, lane in parts])
            alpha, gamma = np.empty_like(log_b), np.empty_like(log_b)
            weight, first = float(weights[places[0]]), 0
            arguments = log_b, log_start, log_transition, weight
            arrays.log_likelihood[places[0]] = logs.forward_backward(*arguments, alpha, gamma, *added)
            for begin, steps, lane in parts:
                here = slice(first, first + steps)
                arrays.alpha[begin : begin + steps, :, lane] = alpha[here] if smoothing is None else weight * gamma[here]
                first += steps

    def _density(self, group: Group, arrays: _Lattice) -> np.ndarray | None:
        """Into the lattice's `b`; the peaks that it is relative to, or None where it is in logs."""
        emission = self.model.emission
        if emission.relative_density(group, arrays.b, arrays.peaks):
            return arrays.peaks
        emission.log_density(group, arrays.b)
        return None

    def _room(self, steps: int) -> _Lattice:
        K = len(self.model.start)
        wide, narrow = (steps, K, LANES), (steps, LANES)
        return _Lattice(np.empty(wide), np.empty(wide), np.empty(narrow), np.empty(narrow), np.empty(0))


def _places(group: Group, places: np.ndarray) -> list[tuple[int, int, int]]:
    """Of each place: the step its section begins at, how many steps it has, and its lane."""
    return [(int(group.begins[p // LANES]), int(group.lengths[p]), int(p % LANES)) for p in places]
