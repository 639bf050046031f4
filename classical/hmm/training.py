"""What a model is fitted to, wherever it lies: arrays in memory, a prepared dataset, or a Spark DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from classical.hmm.fitting import reader_for
from classical.hmm.frames import is_frame
from classical.hmm.initial import sample
from classical.hmm.lanes import Spans
from classical.hmm.packing import packed
from classical.hmm.sequences import Check, Lengths, empty, parts, sampled, sequences_of, unmeasured
from prep.dataset import SequenceDataset
from prep.errors import InputError

SAMPLE_STEPS = 20_000


@dataclass(frozen=True)
class Training:
    """Sequences for `em.fit_several`.

    data    rows in memory, addresses, or what is spread over a cluster
    how     what the driver is told about them: a session, a reader, threads
    sample  some of them, to begin with
    highest (channels,): the largest reading of each
    notes   what was left out by a stated rule, in words
    """

    data: Any
    how: Mapping[str, Any]
    sample: Spans
    highest: np.ndarray
    notes: list[str] = field(default_factory=list)


@contextmanager
def training(
    X: Any,
    lengths: Lengths = None,
    weights: Any = None,
    *,
    check: Check,
    spark: Any = None,
    column: str | None = None,
    threads: int = 1,
    pieces: int = 1,
) -> Iterator[Training]:
    """See the `fit` of estimators for what X may be. What a DataFrame's sequences were packed into is released at the end.

    pieces  in how many parts the data should come, at least, where they can
    """
    if is_frame(X):
        if lengths is not None:
            raise InputError("lengths: a DataFrame has one sequence a row, whose lengths are known")
        found = packed(X, column, weights, check, SAMPLE_STEPS)
        try:
            notes = [f"sequences without a step: {found.empty}, which say nothing"] if found.empty else []
            yield Training(found.chunks, {}, found.sample, found.highest, notes)
        finally:
            found.release()
    elif isinstance(X, SequenceDataset):
        if lengths is not None or weights is not None:
            raise InputError("lengths, weights: the sequences of a dataset are the steps that its rows own, each counting once")
        yield _of_dataset(X, spark, pieces)
    else:
        spans = sequences_of(X, lengths, weights, check=check)
        if not spans.lengths.sum():
            raise InputError("X: there is nothing to fit: no sequence has a step")
        highest = spans.values.max(axis=(0, 1), initial=0)
        yield Training(
            parts(spans, pieces), {"threads": threads}, sampled(spans, SAMPLE_STEPS), highest, empty(spans) + unmeasured(spans)
        )


def _of_dataset(dataset: SequenceDataset, spark: Any, pieces: int) -> Training:
    at_once = 1 if spark is None else int(spark.sparkContext.defaultParallelism)
    addresses = dataset.addresses("train", max(pieces, at_once))
    if not addresses:
        raise InputError(f"{dataset.location}: the training split has no rows: there is nothing to fit")
    reader = reader_for(dataset)
    some = sample(addresses, reader, SAMPLE_STEPS, spark)
    highest = some.values.max(axis=(0, 1), initial=0)
    for number, channel in enumerate(dataset.manifest.channels):
        if channel.vocabulary is not None:
            highest[number] = len(channel.vocabulary.words) - 1
    return Training(addresses, {"spark": spark, "reader": reader}, some, highest)
