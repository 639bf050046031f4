"""Sequences of a Spark DataFrame, packed once for a fit, and stored on the nodes that packed them.

What Spark keeps for Python, Java reads anew in every pass and pushes through a socket, and Python unpickles it: on 50 million
steps that takes 0.2 seconds of every core. So a chunk of sequences becomes an entry of its node's cache
(prep/files/cached_arrays.py), which any process there maps, and Spark is given the entry's name.
"""

from __future__ import annotations

import logging
import pickle
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hindcast.classical.hmm.data.frames import must_be_weights, quoted, sequence_column, spans_of
from hindcast.classical.hmm.data.sequences import STEPS_AT_ONCE, Check, counts, must_count, sampled
from hindcast.classical.hmm.kernels.lanes import Spans, concatenated
from hindcast.classical.passing import Task
from hindcast.prep.errors import InputError
from hindcast.prep.files.cache import boot, cache_directory
from hindcast.prep.files.cached_arrays import GoneError, keep, mapped, remove
from hindcast.prep.spark.descriptions import described

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import DataFrame, Row

log = logging.getLogger(__name__)
LEAST_SAMPLE = 200
# Spark needs about 10 milliseconds for a task beside its work, in which a core goes through some 100 thousand steps.
STEPS_A_TASK = 2_000_000
# In the cache, and there once more when entries have gone. Where that happens again, the cache does not hold them (it is too
# small, or nodes come and go), and they are left to Spark, which is slower and loses nothing.
IN_CACHE = (True, True, False)
REMOVALS = 3


@dataclass(frozen=True)
class Packed:
    """Sequences of a DataFrame, stored on the nodes until `release`.

    chunks      of some hundred thousand steps each, without the sequences that have no step
    sample      about as many steps as `packed` was asked for, drawn by the tasks from all parts of the data
    highest     (channels,): the largest reading of each
    empty       how many sequences have no step
    cpu_seconds processor time that the tasks took
    """

    chunks: Chunks
    sample: Spans
    highest: np.ndarray
    empty: int
    cpu_seconds: float

    def release(self) -> None:
        self.chunks.release()


def packed(frame: DataFrame, column: str | None, weights: str | None, check: Check, steps: int) -> Packed:
    """Reads the DataFrame once.

    column      of arrays of numbers (one channel), or of arrays of arrays (steps of channels); the only such one by default. Null
                numbers and NaN are missing readings
    weights     a column that says how often each sequence counts
    steps       of the sample

    Raises InputError where the column cannot be read, or a reading is not one that the family can emit: it names the partition,
    the row within it, step and channel.
    """
    column = sequence_column(frame, column)
    if weights is not None:
        must_be_weights(frame, weights)
    chunks = Chunks(frame.select(*(quoted(name) for name in (column, weights) if name is not None)), check)
    try:
        chunk_facts = chunks.pack()
        full = [chunk for chunk in chunk_facts if chunk.steps]
        if weights is not None and chunk_facts:
            must_count(any(c.weighted for c in chunk_facts), bool(full), any(c.counts for c in chunk_facts))
        if not full:
            raise InputError(f"column {column!r}: there is nothing to fit: no sequence has a step")
        for chunk in full:
            if chunk.channels != full[0].channels:
                raise InputError(
                    f"{chunk.place}: steps of {chunk.channels} channels, and those of {full[0].place}, have {full[0].channels}"
                )
        share = max(LEAST_SAMPLE, steps // len(full))
        samples = chunks.through(
            lambda spans: (_own(sampled(part_spans, share)) for part_spans in spans), "a sample to begin with"
        )
    except BaseException:
        chunks.release()
        raise
    highest = np.max([chunk.highest for chunk in full], axis=0)
    empty, cpu_seconds = sum(chunk.empty for chunk in chunk_facts), sum(chunk.cpu_seconds for chunk in chunk_facts)
    return Packed(chunks, joined(samples), highest, empty, cpu_seconds)


class Chunks:
    """The sequences of a DataFrame in chunks of some hundred thousand steps: a `Spread` that packs lost entries again."""

    def __init__(self, frame: DataFrame, check: Check) -> None:
        self._frame, self._check = frame, check
        self._context = frame.sparkSession.sparkContext
        self._names = f"packed-{uuid4().hex}"
        self._in_cache = iter(IN_CACHE)
        self._persisted: RDD | None = None
        self._sources: RDD | None = None  # of chunks: each the name of an entry, or sequences
        self._nodes: set[str] = set()

    def pack(self) -> list[Row]:
        """Packs all sequences, also where they were packed before. Returns the row of facts of each chunk: see `_KINDS`.

        Raises InputError where a row cannot be packed.
        """
        from pyspark import StorageLevel

        self._unpersist()
        check, names = self._check, self._names if next(self._in_cache) else None
        rows = self._frame.mapInArrow(lambda batches: _packed(batches, check, names), _PACKED).rdd
        self._persisted = rows.map(_parted).persist(StorageLevel.DISK_ONLY)
        with described(self._context, "packing sequences"):
            chunk_facts: list[Row] = self._persisted.keys().collect()
        for fault in sorted(chunk.fault for chunk in chunk_facts if chunk.fault):
            raise InputError(fault)
        full = [chunk for chunk in chunk_facts if chunk.steps]
        in_cache, nodes = [chunk for chunk in full if chunk.entry], {chunk.node for chunk in full if chunk.entry}
        self._nodes |= nodes
        tasks = max(self._context.defaultParallelism, -(-sum(chunk.steps for chunk in full) // STEPS_A_TASK))
        if full and len(in_cache) == len(full) and len(nodes) == 1:
            # Any task finds all of them: they are shared out evenly, however uneven the DataFrame's partitions are.
            shares = _shared_out([c.entry for c in full], [c.steps for c in full], self._context.defaultParallelism)
            self._sources = self._context.parallelize(shares, len(shares)).flatMap(lambda share: share)
            self._unpersist()
            return chunk_facts
        # Spark keeps the names where the entries are, and sends tasks there. What a lost node had packed is packed again by the
        # tasks that need it, where they run. Tasks that take several partitions would have some from elsewhere.
        together = not in_cache and tasks < self._persisted.getNumPartitions()
        source = self._persisted.coalesce(tasks) if together else self._persisted
        self._sources = source.filter(lambda chunk: chunk[0].steps > 0).values()
        return chunk_facts

    def through(self, task: Task, description: str) -> list[Any]:
        """The results that `task` yields, in the order of the chunks. Where entries are lost, all chunks are packed again."""
        while True:
            try:
                with described(self._context, description):
                    return self._through(task)
            except GoneError as gone:
                log.warning("%s: the sequences are packed again", gone)
                self.pack()

    def release(self) -> None:
        """Removes all entries from the nodes that can be reached; on others the cache drops them in time, as it drops all that
        is not used."""
        names, count, nodes = self._names, self._context.defaultParallelism, self._nodes
        try:
            self._unpersist()
            # Spark spreads tasks over all nodes that have a core to spare.
            for _ in range(REMOVALS):
                with described(self._context, "removing packed sequences"):
                    removed = self._context.parallelize(range(count), count).map(lambda _: _removed(names)).collect()
                nodes = nodes - set(removed)
                if not nodes:
                    break
        except Exception as error:  # what the fit has found, or how it failed, is worth more
            log.warning("entries %s of the nodes' caches could not be removed: %s", names, error)

    def _through(self, task: Task) -> list[Any]:
        def guarded(part: int, sources: Iterator[str | Spans]) -> Iterator[tuple[int, list[Any] | GoneError]]:
            # Not raised: Spark would give up, or try the same elsewhere.
            try:
                yield part, list(task(_opened(source) for source in sources))
            except GoneError as gone:
                yield part, gone

        assert self._sources is not None
        tasks, missing = self._sources.mapPartitionsWithIndex(guarded), None
        results: dict[int, Any] = {}
        while True:
            answers = dict(self._context.runJob(tasks, list, missing))
            results |= answers
            gone = [part for part, what in answers.items() if isinstance(what, GoneError)]
            if not gone:
                return [result for _, what in sorted(results.items()) for result in what]
            # A task may have gone to a node that was idle, and not to the one that has its entries. Of those tasks that are left,
            # some find theirs when they are alone; where none does, there is nothing to find.
            if len(gone) == len(answers):
                raise results[gone[0]]
            missing = gone

    def _unpersist(self) -> None:
        if self._persisted is not None:
            self._persisted.unpersist()
            self._persisted = None


def joined(parts: list[Spans]) -> Spans:
    """The sequences of all parts, each of which has one row, as one."""
    values = np.concatenate([part.values[0] for part in parts])
    observed = None
    if any(part.observed is not None for part in parts):
        every = (np.ones(part.values[0].shape, np.uint8) if part.observed is None else part.observed[0] for part in parts)
        observed = np.concatenate(list(every))
    return concatenated(values, np.concatenate([part.lengths for part in parts]), observed)


def compact(spans: Spans) -> Spans:
    """The same sequences, with whole numbers in as few bytes as they need: every pass reads them again."""
    values = spans.values
    if values.dtype.kind in "iu" and values.size:
        lowest, highest = int(values.min()), int(values.max())
        values = values.astype(np.promote_types(np.min_scalar_type(lowest), np.min_scalar_type(highest)))
    return replace(spans, values=values)


# The facts of a chunk, and its sequences where they are no entry. `weighted`: a weight is above 0; `counts`: of a sequence with
# steps.
_KINDS = {
    "fault": pa.string(),
    "place": pa.string(),
    "entry": pa.string(),
    "node": pa.string(),
    "steps": pa.int64(),
    "channels": pa.int64(),
    "highest": pa.list_(pa.float64()),
    "empty": pa.int64(),
    "weighted": pa.bool_(),
    "counts": pa.bool_(),
    "cpu_seconds": pa.float64(),
    "spans": pa.binary(),
}
_PACKED = (
    "fault string, place string, entry string, node string, steps long, channels long, highest array<double>, empty long, "
    "weighted boolean, counts boolean, cpu_seconds double, spans binary"
)


def _packed(batches: Iterator[pa.RecordBatch], check: Check, names: str | None) -> Iterator[pa.RecordBatch]:
    """A row a chunk. `names`: how the names of entries begin; None: Spark is given the sequences themselves."""
    from pyspark import TaskContext

    context, rows = TaskContext.get(), 0
    part = context.partitionId() if context else 0
    for batch in batches:
        for first, few in _few(batch):
            began, place = time.process_time(), f"partition {part}, from row {rows + first}"
            weights = few.column(1).to_numpy(zero_copy_only=False) if few.num_columns > 1 else None
            try:
                spans = compact(spans_of(few.column(0), weights, check, place))
                # A task that is run again writes the same under the same name.
                entry = _cache_entry(spans, f"{names}-{part}-{rows + first}") if names and spans.lengths.any() else {}
            except InputError as error:
                yield pa.RecordBatch.from_pylist([{"fault": str(error), "steps": 0}], pa.schema(_KINDS))
                return
            steps = int(spans.lengths.sum())
            facts = {
                "spans": pickle.dumps(spans, 5) if steps and not entry else None,
                "place": place,
                "steps": steps,
                "channels": spans.values.shape[2],
                "highest": spans.values.max(axis=(0, 1), initial=0).tolist(),
                "empty": int((spans.lengths == 0).sum()),
                "weighted": spans.weight is None or bool((spans.weight > 0).any()),
                "counts": counts(spans),
                "cpu_seconds": time.process_time() - began,
                **entry,
            }
            yield pa.RecordBatch.from_pylist([facts], pa.schema(_KINDS))
        rows += batch.num_rows


def _few(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a batch, about STEPS_AT_ONCE steps at a time, and the number of the first."""
    ends = np.cumsum(pc.fill_null(pc.list_value_length(batch.column(0)), 0).to_numpy(zero_copy_only=False))
    first = 0
    while first < batch.num_rows:
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + STEPS_AT_ONCE, side="right")))
        yield first, batch.slice(first, last - first)
        first = last


def _cache_entry(spans: Spans, name: str) -> dict[str, str]:
    """Which entry of which node's cache holds them; nothing where none can."""
    arrays = {"values": spans.values[0], "lengths": spans.lengths}
    if spans.observed is not None:
        arrays["observed"] = spans.observed[0]
    if spans.weight is not None:
        arrays["weight"] = spans.weight
    try:
        return {"entry": name, "node": _node()} if keep(cache_directory(), name, arrays) else {}
    except InputError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
        return {}


def _opened(source: str | Spans) -> Spans:
    if isinstance(source, Spans):
        return source
    try:
        arrays = mapped(cache_directory(), source)
    except InputError as error:
        raise GoneError(str(error)) from None
    spans = concatenated(arrays["values"], arrays["lengths"], arrays.get("observed"))
    return replace(spans, weight=arrays.get("weight"))


def _removed(names: str) -> str | None:
    """The node that has none of them any more."""
    try:
        remove(cache_directory(), names)
        return _node()
    except (InputError, FileNotFoundError):  # there is no cache here
        return None


def _node() -> str:
    """Tells the caches of nodes from each other, and those of containers on one."""
    status = cache_directory().lstat()
    return f"{boot()}-{status.st_dev}-{status.st_ino}"


def _parted(row: Row) -> tuple[Row, str | Spans | None]:
    """What is told of a chunk, and its entry or sequences. These as Python's own: rows, Java would take apart in every pass."""
    from pyspark.sql import Row as Facts

    facts = Facts(**{name: row[name] for name in _KINDS if name != "spans"})
    return facts, row.entry if row.spans is None else pickle.loads(row.spans)


def _shared_out(entries: list[str], steps: list[int], tasks: int) -> list[list[str]]:
    """Neighbours together, with about as many steps in each task."""
    ends = np.cumsum(steps)
    of = ((ends - np.array(steps) / 2) * tasks / ends[-1]).astype(int)
    cuts = np.flatnonzero(np.diff(of)) + 1
    return [entries[a:b] for a, b in zip([0, *cuts], [*cuts, len(entries)], strict=True)]


def _own(spans: Spans) -> Spans:
    """The same sequences, without the rest of the array that they lie in."""
    pieces = [slice(int(a), int(b)) for a, b in zip(spans.start, spans.stop, strict=True)] or [slice(0, 0)]
    values = np.concatenate([spans.values[0, piece] for piece in pieces])
    observed = None if spans.observed is None else np.concatenate([spans.observed[0, piece] for piece in pieces])
    return concatenated(values, spans.lengths, observed)
