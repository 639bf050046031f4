"""Where EM begins: labels found on a sample, and one M-step from them.

Gaussian states begin as clusters of readings (k-means++, Arthur and Vassilvitskii 2007). Autoregressive states begin as bands of
how badly one regression for all states fits over a short run: calm stretches, ..., wild ones. Both repeat exactly for one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from classical.hmm.emissions.autoregressive import Autoregressive
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.lanes import Spans, groups, owned
from classical.hmm.model import HiddenMarkov
from classical.hmm.settings import Family
from classical.hmm.vector import LANES
from prep.blocks import Address, Block
from prep.errors import InputError

CERTAINTY = 0.9  # of a label: the rest is shared by all states, so that none begins empty
RUN = 12  # steps over which the misfit is averaged
BLOCKS = 8


def sample(addresses: Sequence[Address], reader: Callable[[Address], Block], steps: int = 20_000) -> Spans:
    """About `steps` owned steps, in whole rows or beginnings of rows, from a few blocks evenly spaced over the data."""
    chosen = [addresses[i] for i in np.unique(np.linspace(0, len(addresses) - 1, BLOCKS).round().astype(int))]
    parts = []
    for address in chosen:
        spans = owned(reader(address))
        lengths = spans.lengths
        rows = max(1, int(np.ceil(steps / len(chosen) / max(1.0, float(lengths.mean())))))
        kept = np.unique(np.linspace(0, len(lengths) - 1, min(rows, len(lengths))).round().astype(int))
        observed = np.ones((len(kept), *spans.values.shape[1:]), np.uint8) if spans.observed is None else spans.observed[kept]
        stop = np.minimum(spans.stop[kept], spans.start[kept] + max(1, steps // len(chosen)))
        parts.append((spans.values[kept], observed, spans.first[kept], spans.start[kept], stop))
    values, observed, first, start, stop = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Spans(values, None if observed.all() else observed, np.arange(len(first)), first, start, stop)


def initialise(
    family: Family, spans: Spans, states: int, *, order: int = 0, seed: int | None = 0, variance_floor: float = 1e-6
) -> HiddenMarkov[Any]:
    """A model to begin with, from a sample. `variance_floor` is relative to the variance of each channel in the sample.

    Raises InputError where no sequence is longer than `order`.
    """
    order = order if family == "autoregressive" else 0
    spans = spans.after_history(order)
    if not (spans.lengths > 0).any():
        raise InputError(f"no sequence is longer than {order} steps: give longer sequences, or a lower order")
    readings, seen = _stacked(spans.values, spans), None if spans.observed is None else _stacked(spans.observed, spans) > 0
    mean, variance = _moments(readings, seen)
    floor = variance_floor * np.where(variance > 0, variance, 1.0)
    one = _template(family, mean, np.maximum(variance, floor), floor, order)
    if family == "autoregressive":
        one = one.m_step(_summed(one, spans, [np.zeros(length, np.int64) for length in spans.lengths], 1))
        labels = _misfit_bands(one, spans, states)
    else:
        labels = _clusters(readings, spans.lengths, states, np.random.default_rng(seed))
    many = one.permuted(np.zeros(states, np.int64))
    emission = replace(many.m_step(_summed(many, spans, labels, states)), floored=0)
    return HiddenMarkov(*_chain(labels, states), emission)


def _template(family: Family, mean: np.ndarray, variance: np.ndarray, floor: np.ndarray, order: int) -> Any:
    if family == "autoregressive":
        return Autoregressive(mean[None], np.zeros((1, len(mean), order)), variance[None], floor)
    return Gaussian(mean[None], np.diag(variance)[None] if family == "full" else variance[None], floor)


def _stacked(rows: np.ndarray, spans: Spans) -> np.ndarray:
    return np.concatenate([rows[r, a:b] for r, a, b in zip(spans.row, spans.start, spans.stop, strict=True)])


def _moments(readings: np.ndarray, seen: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if seen is None:
        return readings.mean(axis=0, dtype=np.float64), readings.var(axis=0, dtype=np.float64)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, readings, 0).sum(axis=0, dtype=np.float64) / count
    return mean, (np.where(seen, readings - mean, 0) ** 2).sum(axis=0) / count


def _summed(emission: Any, spans: Spans, labels: Sequence[np.ndarray], states: int) -> Any:
    sums = emission.no_sums()
    for group in groups(spans, emission.order, emission.centre):
        gamma = np.zeros((group.steps, states, LANES))
        for lane in np.flatnonzero(group.members >= 0):
            length = group.lengths[lane]
            gamma[:length, :, lane] = (1 - CERTAINTY) / states
            gamma[np.arange(length), labels[group.members[lane]], lane] += CERTAINTY
        emission.add_sums(group, gamma, sums)
    return emission.statistics(sums)


def _misfit_bands(one: Autoregressive, spans: Spans, states: int) -> list[np.ndarray]:
    misfit: list[np.ndarray] = [np.empty(0)] * len(spans.row)
    for group in groups(spans, one.order, one.centre):
        density = np.empty((group.steps, 1, LANES))
        one.log_density(group, density)
        for lane in np.flatnonzero(group.members >= 0):
            here = -density[: group.lengths[lane], 0, lane]
            run = np.ones(min(RUN, len(here)))
            misfit[group.members[lane]] = np.convolve(here, run, "same") / np.convolve(np.ones_like(here), run, "same")
    borders = np.quantile(np.concatenate(misfit), np.arange(1, states) / states)
    return [np.searchsorted(borders, here) for here in misfit]


def _clusters(readings: np.ndarray, lengths: np.ndarray, states: int, rng: np.random.Generator) -> list[np.ndarray]:
    scaled = readings / np.where(readings.std(axis=0) > 0, readings.std(axis=0), 1.0)
    centres = scaled[[rng.integers(len(scaled))]]
    while len(centres) < states:
        distance = _squared_distances(scaled, centres).min(axis=1)
        total = distance.sum()
        chosen = rng.choice(len(scaled), p=distance / total) if total > 0 else rng.integers(len(scaled))
        centres = np.concatenate([centres, scaled[[chosen]]])
    for _ in range(50):
        label = _squared_distances(scaled, centres).argmin(axis=1)
        moved = np.stack([scaled[label == k].mean(axis=0) if (label == k).any() else centres[k] for k in range(states)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    label = _squared_distances(scaled, centres).argmin(axis=1)
    return np.split(label, np.cumsum(lengths)[:-1])


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.stack([((points - centre) ** 2).sum(axis=1, dtype=np.float64) for centre in centres], axis=1)


def _chain(labels: Sequence[np.ndarray], states: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and transition probabilities counted from labels, one of each added so that nothing begins as impossible."""
    visits, moves = np.ones(states), np.ones((states, states))
    for label in labels:
        visits += np.bincount(label, minlength=states)
        np.add.at(moves, (label[:-1], label[1:]), 1)
    return visits / visits.sum(), moves / moves.sum(axis=1, keepdims=True)
