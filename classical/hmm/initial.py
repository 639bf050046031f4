"""The beginning of EM: labels that the emission family finds on a sample, and one M-step. One seed gives one beginning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.kernels.lanes import Spans, groups, owned, stacked
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.hmm.structure import Structure
from hindcast.prep.dataset.blocks import Address, Block
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described

CERTAINTY = 0.9  # of a label: the rest is shared by all states, so that none begins empty
BLOCKS = 8

# (readings (steps, channels), seen: the same shape, or None where everything was measured) -> the family, with one state.
Begin = Callable[[np.ndarray, np.ndarray | None], Emission]


def sample(
    addresses: Sequence[Address], reader: Callable[[Address], Block], steps: int, spark: Any = None
) -> tuple[Spans, float]:
    """About `steps` owned steps, in whole rows or beginnings of rows, from a few blocks evenly spaced over the data.

    `spark`: a session, whose tasks then read the blocks. Returns the sample, and the processor seconds of these tasks.
    """
    sampled = [addresses[i] for i in np.unique(np.linspace(0, len(addresses) - 1, BLOCKS).round().astype(int))]
    share = max(1, steps // len(sampled))

    def from_block(address: Address) -> tuple[np.ndarray, ...]:
        began = time.process_time()
        spans = owned(reader(address))
        lengths = spans.lengths
        rows = max(1, int(np.ceil(share / max(1.0, float(lengths.mean())))))
        rows_kept = np.unique(np.linspace(0, len(lengths) - 1, min(rows, len(lengths))).round().astype(int))
        observed = (
            np.ones((len(rows_kept), *spans.values.shape[1:]), np.uint8) if spans.observed is None else spans.observed[rows_kept]
        )
        stop = np.minimum(spans.stop[rows_kept], spans.start[rows_kept] + share)
        took = np.array([time.process_time() - began])
        return spans.values[rows_kept], observed, spans.first[rows_kept], spans.start[rows_kept], stop, took

    parts: Iterable[tuple[np.ndarray, ...]]
    if spark is None:
        parts = map(from_block, sampled)
    else:
        with described(spark.sparkContext, "EM: a sample to begin from"):
            parts = spark.sparkContext.parallelize(sampled, len(sampled)).map(from_block).collect()
    values, observed, first, start, stop, took = (np.concatenate(column) for column in zip(*parts, strict=True))
    spans = Spans(values, None if observed.all() else observed, np.arange(len(first)), first, start, stop)
    return spans, 0.0 if spark is None else float(took.sum())


def initialise(
    begin: Begin,
    spans: Spans,
    states: int,
    *,
    order: int = 0,
    seed: int | list[int] | None = 0,
    structure: Structure | None = None,
) -> HiddenMarkov[Any]:
    """The model that EM begins with, from a sample. `begin` makes the family; `order`: how many steps it is conditioned on.

    Raises InputError where no sequence is longer than `order`, or there are fewer steps than states.
    """
    spans = spans.after_history(order)
    if not (spans.lengths > 0).any():
        raise InputError(f"no sequence is longer than {order} steps: give longer sequences, or a lower order")
    steps = int(spans.lengths.sum())
    if steps < states:
        raise InputError(f"found {steps} steps, and {states} states: a state needs at least one step to begin with")
    readings, observed = stacked(spans.values, spans), None if spans.observed is None else stacked(spans.observed, spans) > 0
    single = begin(readings, observed)
    if single.fault:
        raise InputError(single.fault)
    single = single.m_step(_summed(single, spans, [np.zeros(length, np.int64) for length in spans.lengths], 1))
    rng = np.random.default_rng(seed)
    structure = Structure.of("ergodic", states) if structure is None else structure
    labels = structure.stretches(spans.lengths) if structure.in_order else single.first_states(spans, states, rng)
    many = single.permuted(np.zeros(states, np.int64)).separated(spans, labels, rng)
    emission = many.m_step(_summed(many, spans, labels, states))
    return HiddenMarkov(*structure.chain(*_counted(labels, states)), emission)


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


def _counted(labels: Sequence[np.ndarray], states: int) -> tuple[np.ndarray, np.ndarray]:
    """Visits (states,) and moves (states, states)."""
    visits, moves = np.zeros(states), np.zeros((states, states))
    for label in labels:
        visits += np.bincount(label, minlength=states)
        np.add.at(moves, (label[:-1], label[1:]), 1)
    return visits, moves
