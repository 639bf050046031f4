"""The sequences of a fit: of arrays in memory, of a prepared dataset, or of a Spark DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xxhash

from hindcast.classical.hmm.data.frames import is_frame
from hindcast.classical.hmm.data.packing import packed
from hindcast.classical.hmm.data.sequences import Check, Lengths, empty, parts, sampled, sequences_of, unmeasured
from hindcast.classical.hmm.initial import sample
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.passing import Reader
from hindcast.forecasting.card import Sequences
from hindcast.prep.dataset.blocks import Address, Block, read
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

SAMPLE_STEPS = 20_000
# The data and the options of `em.fit_several`.
DriverInput = tuple[Any, Mapping[str, Any]]


@dataclass(frozen=True)
class ReadingsSummary:
    """Facts about all readings that a family may need before it begins.

    highest (channels,): the largest reading of each
    filled  whether missing values were filled by a rule, so that regressions may use them
    """

    highest: np.ndarray
    filled: bool = False

    def of(self, columns: Sequence[int]) -> ReadingsSummary:
        """The summary of these channels."""
        return replace(self, highest=self.highest[list(columns)])


@dataclass(frozen=True)
class Training:
    """Sequences for `em.fit_several`.

    data        rows in memory, addresses, or what is spread over a cluster
    options     of the driver: a session, a reader, threads
    sample      some of them, to begin with
    summary     of all of their readings
    origin      the card's description of their dataset; None where they are of none
    digest      () -> a digest of their contents, wherever they lie; None where there is none
    on_gpus     (order of the model) -> other input for the driver, with which GPUs take the E-steps; None where they cannot
    repairs     data that were left out by a rule, in words
    notes       on how sequences were made of the data, in words
    cpu_seconds processor time that tasks took before the first pass
    """

    data: Any
    options: Mapping[str, Any]
    sample: Spans
    summary: ReadingsSummary
    origin: Sequences | None = None
    digest: Callable[[], str] | None = None
    on_gpus: Callable[[int], AbstractContextManager[DriverInput]] | None = None
    repairs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    @contextmanager
    def placed(self, model: HiddenMarkov[Any], gpus: bool) -> Iterator[DriverInput]:
        """The input of the driver. With `gpus`, GPUs take the E-steps where they can; a note says where they cannot.

        Raises InputError where no GPU is found.
        """
        fault = self._not_on_gpus(model) if gpus else None
        if fault:
            self.notes.append(f"E-steps were taken by processors: {fault}")
        if not gpus or fault or self.on_gpus is None:
            yield self.data, self.options
            return
        with self.on_gpus(model.emission.order) as driver_input:
            yield driver_input

    def _not_on_gpus(self, model: HiddenMarkov[Any]) -> str | None:
        from hindcast.classical.hmm.gpu import e_step

        return "GPUs take those of datasets and of arrays" if self.on_gpus is None else e_step.fault(model)


@contextmanager
def training(
    X: Any,
    lengths: Lengths = None,
    weights: Any = None,
    *,
    check: Check,
    spark: Any = None,
    partitions: int | None = None,
    column: str | None = None,
    threads: int = 1,
    pieces: int = 1,
) -> Iterator[Training]:
    """The sequences of X, as `Estimator.fit` takes it. The packed sequences of a DataFrame are released at the end.

    pieces  in how many parts the data should come, at least, where they can
    """
    if is_frame(X):
        if lengths is not None:
            raise InputError("lengths: a DataFrame has one sequence a row, whose lengths are known")
        sequences = packed(X, column, weights, check, SAMPLE_STEPS)
        try:
            repairs = [f"sequences without a step: {sequences.empty}, which say nothing"] if sequences.empty else []
            summary, seconds = ReadingsSummary(sequences.highest), sequences.cpu_seconds
            yield Training(sequences.chunks, {}, sequences.sample, summary, repairs=repairs, cpu_seconds=seconds)
        finally:
            sequences.release()
    elif isinstance(X, SequenceDataset):
        if lengths is not None or weights is not None:
            raise InputError("lengths, weights: the sequences of a dataset are the steps that its rows own, each counting once")
        yield _of_dataset(X, check, spark, partitions, threads, pieces)
    else:
        yield _of_arrays(sequences_of(X, lengths, weights, check=check), threads, pieces)


def reader_for(dataset: SequenceDataset) -> Reader:
    """The reader of a dataset's rows as sequences. In the plain layout, where a row owns few steps, each row is taken whole."""
    return read_whole_rows if dataset.layout.windows_per_row == 1 else read


def read_whole_rows(address: Address) -> Block:
    """The rows at an address, each owning all its steps."""
    block = read(address)
    return replace(block, own_start=np.zeros_like(block.own_start))


def _of_dataset(
    dataset: SequenceDataset, check: Check, spark: Any, partitions: int | None, threads: int, pieces: int
) -> Training:
    at_once = 1 if spark is None else partitions or int(spark.sparkContext.defaultParallelism)
    addresses = dataset.addresses("train", max(pieces, at_once))
    if not addresses:
        raise InputError(f"{dataset.location}: the training split has no rows: there is nothing to fit")
    reader = reader_for(dataset)
    spans, cpu_seconds = sample(addresses, reader, SAMPLE_STEPS, spark)
    _must_be(spans, check, dataset)
    highest = spans.values.max(axis=(0, 1), initial=0)
    for number, channel in enumerate(dataset.manifest.channels):
        if channel.vocabulary is not None:
            highest[number] = len(channel.vocabulary.words) - 1
    how = {"spark": spark, "reader": reader, "threads": threads} | ({"partitions": partitions} if partitions else {})
    plain = "plain layout: each stored row is one sequence, so steps in several rows count several times"

    def on_gpus(order: int) -> AbstractContextManager[DriverInput]:
        from hindcast.classical.hmm.gpu.placing import on_gpus

        return on_gpus(dataset, reader, order, spark)

    summary = ReadingsSummary(highest, dataset.manifest.spec.grid.fill != "none")
    return Training(
        addresses, how, spans, summary, Sequences.of(dataset), lambda: dataset.digest, on_gpus,
        notes=[plain] if reader is read_whole_rows else [], cpu_seconds=cpu_seconds,
    )  # fmt: skip


def _must_be(spans: Spans, check: Check, dataset: SequenceDataset) -> None:
    """Raises InputError where a reading of a sample is none that the family emits: a mean of counts may be none."""
    for row, start, stop in zip(spans.row, spans.start, spans.stop, strict=True):
        readings = spans.values[row, start:stop]
        fine, expected = check(readings)
        wrong = ~fine if spans.observed is None else ~fine & (spans.observed[row, start:stop] > 0)
        if wrong.any():
            step, channel = np.argwhere(wrong)[0]
            fault = f"channel {dataset.channels[channel]!r}: found {readings[step, channel]:g}, expected {expected}"
            raise InputError(
                f"{dataset.location}: {fault}: choose another family, or prepare the dataset "
                "anew (a mean of counts is none: see grid.aggregate)"
            )


def _of_arrays(spans: Spans, threads: int, pieces: int) -> Training:
    if not spans.lengths.sum():
        raise InputError("X: there is nothing to fit: no sequence has a step")
    summary = ReadingsSummary(spans.values.max(axis=(0, 1), initial=0))
    part_spans = parts(spans, pieces)

    def on_gpus(order: int) -> AbstractContextManager[DriverInput]:
        from hindcast.classical.hmm.gpu.placing import on_gpu

        return on_gpu(part_spans, order)

    return Training(
        part_spans, {"threads": threads}, sampled(spans, SAMPLE_STEPS), summary, digest=lambda: _digest(spans),
        on_gpus=on_gpus, repairs=empty(spans) + unmeasured(spans),
    )  # fmt: skip


def _digest(spans: Spans) -> str:
    """Of sequences in memory: the same for the same numbers, whatever they are stored as."""
    digest = xxhash.xxh3_128()
    observed = np.ones(spans.values.shape, np.uint8) if spans.observed is None else spans.observed
    often = np.ones(len(spans.row)) if spans.weight is None else spans.weight
    for array, kind in ((spans.values, np.float64), (observed, np.uint8), (spans.lengths, np.int64), (often, np.float64)):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array, kind).data)
    return digest.hexdigest()
