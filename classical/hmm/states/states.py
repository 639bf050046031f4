"""The hidden states of a model in the units of the sensors, and their path along a stretch of readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hindcast.classical.hmm.data.training import reader_for
from hindcast.classical.hmm.inference import decoded, smoothed
from hindcast.classical.hmm.kernels.lanes import Spans, owned
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.forecasting.report.contents import States, Stretch
from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

STEPS, CHANNELS = 1500, 3


def describe_states(
    model: HiddenMarkov[Any], dataset: SequenceDataset, stretch: Stretch | None = None, *, name: str = "HMM"
) -> States:
    """Means and deviations of the measured values in each state, weighted by P(state | all readings), over the training split.

    Reads one row group at a time. States keep their numbers: see `HiddenMarkov.ordered`.
    """
    K, C = model.states, len(dataset.channels)
    share, sums, order = np.zeros(K), np.zeros((3, K, C)), model.emission.order
    shift = np.array(dataset.scaling.overall.centre)
    reader = reader_for(dataset)
    for address in dataset.addresses("train"):
        block = reader(address)
        centre, scale = dataset.scaling.of(block.series)
        for group, gamma, _ in smoothed(model, owned(block)):
            measured = np.ones_like(group.values) if group.observed is None else group.observed
            parts = (group.each(array) for array in (gamma, group.values[order:], measured[order:]))
            for (row, weight), (_, values), (_, observed) in zip(*parts, strict=True):
                units = (values + model.emission.centre) * scale[row] + (centre[row] - shift)
                share += weight.sum(axis=0)
                sums += np.stack([weight.T @ (observed * units**power) for power in range(3)])
    weight = np.where(sums[0] > 0, sums[0], 1.0)
    mean = sums[1] / weight
    stay = np.minimum(np.diagonal(model.transition), 1 - 1e-15)
    return States(
        model=name,
        mean=mean + shift,
        deviation=np.sqrt(np.maximum(sums[2] / weight - mean**2, 0.0)),
        share=share / max(share.sum(), 1.0),
        duration=1 / (1 - stay),
        transition=model.transition,
        stretch=stretch,
    )


def decode_stretch(
    model: HiddenMarkov[Any],
    dataset: SequenceDataset,
    split: str = "test",
    series: str | None = None,
    steps: int = STEPS,
    channels: Sequence[str] | None = None,
) -> Stretch:
    """The likeliest path of states along the first `steps` steps of the longest stretch that one row of the split owns.

    `series`: which one; without it, whichever has the longest stretch. `channels`: which to show, the first three by default.
    Raises InputError where the split holds no such stretch.
    """
    names = tuple(channels or dataset.channels[:CHANNELS])
    unknown = set(names) - set(dataset.channels)
    if unknown:
        raise InputError(f"{dataset.location}: no channel {sorted(unknown)[0]!r}; the channels are {', '.join(dataset.channels)}")
    block, row = _longest(model, dataset, split, series)
    spans = owned(block).after_history(model.emission.order)
    begin = int(spans.start[row])
    stop = min(int(spans.stop[row]), begin + steps)
    span = Spans(spans.values, spans.observed, *(np.array([value]) for value in (row, 0, begin, stop)))
    _, path = next(next(group.each(path)) for group, path, _ in decoded(model, span))
    centre, scale = dataset.scaling.of(block.series[[row]])
    columns = [dataset.channels.index(name) for name in names]
    return Stretch(
        series=str(block.series[row]),
        times=block.start[row] + np.arange(begin, stop) * np.timedelta64(dataset.step_micros, "us"),
        channels=names,
        values=(block.values[row, begin:stop] * scale + centre)[:, columns],
        state=path.astype(np.int64),
    )


def _longest(model: HiddenMarkov[Any], dataset: SequenceDataset, split: str, series: str | None) -> tuple[Block, int]:
    best: tuple[int, Block, int] | None = None
    reader = reader_for(dataset)
    for address in dataset.addresses(split):
        block = reader(address)
        lengths = owned(block).after_history(model.emission.order).lengths
        lengths = np.where(block.series == series, lengths, 0) if series is not None else lengths
        row = int(lengths.argmax()) if len(lengths) else 0
        if len(lengths) and lengths[row] > (best[0] if best else 0):
            best = int(lengths[row]), block, row
    if best is None:
        of = f" of series {series!r}" if series is not None else ""
        raise InputError(f"{dataset.location}: the {split} split has no stretch{of} longer than {model.emission.order} steps")
    return best[1], best[2]
