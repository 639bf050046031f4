"""The places of sequences while GPUs take the E-steps of a fit: each in the memory of the GPU it was first sent to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from numba import cuda

from hindcast.classical.additive import pairwise_sum
from hindcast.classical.hmm.gpu import e_step
from hindcast.classical.hmm.gpu.e_step import OnGpu
from hindcast.classical.hmm.gpu.layout import SIMULATED
from hindcast.classical.hmm.kernels.lanes import Spans, owned
from hindcast.classical.hmm.model import HiddenMarkov, RemoteSequences, Statistics
from hindcast.classical.passing import Reader, Task
from hindcast.prep.dataset.blocks import Address
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described
from hindcast.prep.spark.gpus import gpus_a_task, gpus_of_task
from hindcast.prep.spark.slots import SLOTS_SECONDS, slots_within
from hindcast.prep.spark.workers import workers_apart

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from hindcast.prep.dataset.sequence_dataset import SequenceDataset

log = logging.getLogger(__name__)
RESIDENT_SHARE = 0.4  # of a GPU's memory, for sequences that stay; the lattice of a batch may take half
Result = TypeVar("Result")


@contextmanager
def on_gpus(
    dataset: SequenceDataset, reader: Reader, order: int, spark: SparkSession | None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The data and options of `em.fit_several` for a training split: on the GPUs of Spark's executors, or, without these, on the
    first one that this process sees. Their memory is freed at the end.

    Raises InputError where Spark's executors have no GPUs, or this process sees none.
    """
    profile = None if spark is None else gpus_a_task(spark)
    placed = ResidentReader(reader, order, uuid4().hex)
    if spark is None or profile is None:
        must_see_a_gpu()
        try:
            yield dataset.addresses("train", 1), {"reader": placed}
        finally:
            let_go()
        return
    executors = slots_within(spark, 1, SLOTS_SECONDS, profile)  # a task takes all GPUs of one
    if not executors:
        raise InputError(f"Spark ({spark.sparkContext.master}) has given no executor with GPUs within {SLOTS_SECONDS:g} s")
    gpus = int(spark.sparkContext.getConf().get("spark.executor.resource.gpu.amount"))
    addresses = dataset.addresses("train", executors * gpus)
    # Spark remembers where it has computed what it keeps, and sends the next iteration's tasks there.
    rdd = spark.sparkContext.parallelize(addresses, min(len(addresses), executors)).map(lambda address: address).persist()
    on_executors = _OnExecutors(rdd.withResources(profile), placed)
    try:
        yield on_executors, {}
    finally:
        on_executors.release()


@contextmanager
def on_gpu(parts: Sequence[Spans], order: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The data and options of `em.fit_several` for sequences in memory, on the first GPU that this process sees. As many as it
    has room for stay there, the others are sent in every pass. Its memory is freed at the end.

    Raises InputError where this process sees none.
    """
    must_see_a_gpu()
    _resident.belong_to(uuid4().hex)
    _, total = cuda.current_context().get_memory_info()
    placed: list[OnGpu | _Transient] = []
    try:
        for part in parts:
            placed.append(OnGpu(part, order))
            if sum(sequences.bytes for sequences in placed if isinstance(sequences, OnGpu)) > RESIDENT_SHARE * total:
                placed[-1] = _Transient(part, order)
        yield placed, {}
    finally:
        placed.clear()
        let_go()


@dataclass(frozen=True)
class _Transient:
    """Sequences that are sent to the GPU for each E-step."""

    spans: Spans
    order: int

    def e_step(self, model: HiddenMarkov[Any]) -> Statistics:
        return OnGpu(self.spans, self.order).e_step(model)


def must_see_a_gpu() -> None:
    """Raises InputError where numba finds none."""
    if why_not := why_no_gpu():
        raise InputError(
            f"a GPU was asked for, and {why_not} (nvidia-smi shows those there are, CUDA_VISIBLE_DEVICES may hide them, and the "
            "extra `gpu` installs what numba needs): mend that, or leave cluster.gpus_per_worker out"
        )


def why_no_gpu() -> str | None:
    """The reason why numba sees no GPU, in words; None where it sees one."""
    try:
        return None if cuda.is_available() else "numba sees none here"
    except Exception as error:  # whatever a driver that does not fit raises
        return f"numba cannot use any here: {error}"


@dataclass(frozen=True)
class ResidentReader:
    """A reader whose blocks stay on a GPU of this process, as long as there is room.

    reader  (address) -> block
    order   how many steps before it each step is conditioned on
    fit     the name of the fit that the blocks belong to: those of another fit are dropped
    """

    reader: Reader
    order: int
    fit: str

    def __call__(self, address: Address, gpu: int = 0) -> OnGpu:
        """The sequences at an address, on the GPU of this number, which must be the current one of this thread."""
        _resident.belong_to(self.fit)
        sequences = _resident.sequences.get((gpu, address))
        if sequences is None:
            sequences = OnGpu(owned(self.reader(address)), self.order, gpu)
            _, total = cuda.current_context().get_memory_info()
            # What came first stays: every pass reads all in the same order, so what was used least lately comes next.
            if _resident.bytes_on(gpu) + sequences.bytes <= RESIDENT_SHARE * total:
                _resident.sequences[gpu, address] = sequences
        return sequences

    def on_all(self, addresses: Iterable[Address], gpus: Sequence[int]) -> Iterator[RemoteSequences]:
        """The sequences at the addresses, as many at a time as there are GPUs, one on each."""
        _resident.belong_to(self.fit)
        rest = iter(addresses)
        while few := list(islice(rest, len(gpus))):
            yield _Together(_on_each(gpus, few, self))


def let_go() -> None:
    """Frees the GPU memory of all fits in this process."""
    _resident.belong_to("")


@dataclass(frozen=True)
class _Together:
    """Sequences on several GPUs, which take their E-steps at the same time."""

    parts: Sequence[OnGpu]

    def e_step(self, model: HiddenMarkov[Any]) -> Statistics:
        gpus = [part.gpu for part in self.parts]
        total: Statistics = pairwise_sum(_on_each(gpus, self.parts, lambda part, gpu: part.e_step(model)))
        return total


def _on_each(gpus: Sequence[int], arguments: Sequence[Any], function: Callable[[Any, int], Result]) -> list[Result]:
    """`function(argument, gpu)` of each, in a thread for which its GPU is chosen: the calls of one wait for no other."""

    def run(argument: Any, gpu: int) -> Result:
        cuda.select_device(gpu)
        return function(argument, gpu)

    if len(arguments) == 1:
        return [run(arguments[0], gpus[0])]
    with ThreadPoolExecutor(len(arguments), thread_name_prefix="hindcast-gpu") as pool:
        return list(pool.map(run, arguments, gpus))


@dataclass
class _Resident:
    """What this process keeps on its GPUs, and of which fit that is."""

    fit: str = ""
    sequences: dict[tuple[int, Address], OnGpu] = field(default_factory=dict)

    def belong_to(self, fit: str) -> None:
        if self.fit != fit:
            self.sequences.clear()
            e_step.forget_room()
            self.fit = fit

    def bytes_on(self, gpu: int) -> int:
        return sum(sequences.bytes for (where, _), sequences in list(self.sequences.items()) if where == gpu)


_resident = _Resident()


def _gpus_of_task() -> list[int]:
    """By the numbers that they have in this process."""
    if SIMULATED:  # there is one
        return [0]
    must_see_a_gpu()
    return [int(address) if address.isdecimal() else _numbered(address) for address in gpus_of_task()]


def _numbered(uuid: str) -> int:
    uuids = [str(gpu.uuid) for gpu in cuda.gpus]
    if uuid not in uuids:
        raise InputError(f"GPU {uuid}, which Spark gave a task, is none of those that numba sees: {', '.join(uuids)}")
    return uuids.index(uuid)


@dataclass(frozen=True)
class _OnExecutors:
    """An RDD of addresses, with a task for each executor, whose one process keeps what it reads: a `Spread`."""

    rdd: Any
    placed: ResidentReader

    def through(self, task: Task, description: str) -> list[Any]:
        placed = self.placed
        with described(self.rdd.context, description), workers_apart(self.rdd.context, placed.fit):
            on_gpus = self.rdd.mapPartitions(lambda addresses: task(placed.on_all(addresses, _gpus_of_task())))
            results: list[Any] = on_gpus.collect()
        return results

    def release(self) -> None:
        """Frees the memory of the executors' GPUs. Spark ends workers that have had no task for a minute."""
        try:
            with described(self.rdd.context, "GPUs' memory is given back"), workers_apart(self.rdd.context, self.placed.fit):
                self.rdd.foreachPartition(lambda _: let_go())
            self.rdd.unpersist()
        except Exception as error:  # what the fit has found, or how it failed, is worth more
            log.warning("the GPUs' memory could not be given back: %s", error)
