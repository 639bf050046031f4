"""Where a dataset's sequences lie while GPUs take the E-steps of a fit: each in the memory of the one that read it first."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from numba import config, cuda

from classical.hmm.gpu import e_step
from classical.hmm.gpu.e_step import OnGpu
from classical.hmm.lanes import owned
from classical.passing import Reader, Task
from prep.blocks import Address
from prep.describing import described
from prep.errors import InputError
from prep.gpus import gpus_of_task, one_gpu_a_task
from prep.slots import SLOTS_SECONDS, slots_within

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from prep.dataset import SequenceDataset

log = logging.getLogger(__name__)
KEPT = 0.4  # of a GPU's memory, for sequences that stay; the lattice of a batch may take half


@contextmanager
def on_gpus(
    dataset: SequenceDataset, reader: Reader, order: int, spark: SparkSession | None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The training split for `em.fit_several`, and what to tell it: on the GPUs of Spark's executors, or, without these, on the
    first one that this process sees. They are let go at the end.

    Raises InputError where Spark's executors have no GPUs, or this process sees none.
    """
    fit, profile = uuid4().hex, None if spark is None else one_gpu_a_task(spark)
    placed = Placed(reader, order, fit)
    if spark is None or profile is None:
        must_see_a_gpu()
        try:
            yield dataset.addresses("train", 1), {"reader": placed}
        finally:
            let_go()
        return
    gpus = slots_within(spark, 1, SLOTS_SECONDS, profile)
    if not gpus:
        raise InputError(f"Spark ({spark.sparkContext.master}) has given no executor with GPUs within {SLOTS_SECONDS:g} s")
    addresses = dataset.addresses("train", gpus)
    # Spark remembers where it has computed what it keeps, and sends the next iteration's tasks there.
    rdd = spark.sparkContext.parallelize(addresses, min(len(addresses), gpus)).map(lambda one: one).persist()
    on_executors = _OnExecutors(rdd.withResources(profile), placed)
    try:
        yield on_executors, {}
    finally:
        on_executors.release()


def must_see_a_gpu() -> None:
    """Raises InputError where numba finds none."""
    try:
        seen = cuda.is_available()
    except Exception as error:  # whatever a driver that does not fit raises
        raise InputError(f"a GPU was asked for, and numba cannot use any here: {error}") from None
    if not seen:
        raise InputError(
            "a GPU was asked for, and numba sees none here (nvidia-smi shows those there are, CUDA_VISIBLE_DEVICES may hide "
            "them, and the extra `gpu` installs what numba needs): mend that, or leave cluster.gpus_per_worker out"
        )


@dataclass(frozen=True)
class Placed:
    """A reader whose blocks stay on the GPU of the task, or of the process, that read them, as long as there is room.

    reader  what makes a block of an address
    order   how many steps before it each step is conditioned on
    fit     whose they are: those of another are let go
    """

    reader: Reader
    order: int
    fit: str

    def __call__(self, address: Address) -> OnGpu:
        gpu = _select()
        if _held.fit != self.fit:
            let_go()
            _held.fit = self.fit
        found = _held.sequences.get((gpu, address))
        if found is None:
            found = OnGpu(owned(self.reader(address)), self.order)
            _, total = cuda.current_context().get_memory_info()
            # What came first stays: every pass reads all in the same order, so what was used least lately comes next.
            if sum(one.bytes for (where, _), one in _held.sequences.items() if where == gpu) + found.bytes <= KEPT * total:
                _held.sequences[gpu, address] = found
        return found


def let_go() -> None:
    """Gives the memory back that fits have kept in this process."""
    _held.sequences.clear()
    e_step.forget_room()
    _held.fit = ""


@dataclass
class _Held:
    fit: str = ""
    sequences: dict[tuple[int, Address], OnGpu] = field(default_factory=dict)


_held = _Held()


def _select() -> int:
    """The number of the GPU that this task was given, which numba then uses; 0 outside of tasks."""
    given = gpus_of_task()
    if config.ENABLE_CUDASIM or not given:
        return 0
    must_see_a_gpu()
    number = int(given[0]) if given[0].isdecimal() else _numbered(given[0])
    cuda.select_device(number)
    return number


def _numbered(uuid: str) -> int:
    found = [str(gpu.uuid) for gpu in cuda.gpus]
    if uuid not in found:
        raise InputError(f"GPU {uuid}, which Spark gave a task, is none of those that numba sees: {', '.join(found)}")
    return found.index(uuid)


@dataclass(frozen=True)
class _OnExecutors:
    """An RDD of addresses, each read by the task that has a GPU for it: a `Spread`."""

    rdd: Any
    reader: Placed

    def through(self, task: Task, description: str) -> list[Any]:
        reader = self.reader
        with described(self.rdd.context, description):
            found: list[Any] = self.rdd.mapPartitions(lambda addresses: task(reader(one) for one in addresses)).collect()
        return found

    def release(self) -> None:
        """Where tasks run again; from other workers it goes when Spark ends them, after a minute without work."""
        try:
            with described(self.rdd.context, "GPUs' memory is given back"):
                self.rdd.foreachPartition(lambda _: let_go())
            self.rdd.unpersist()
        except Exception as error:  # what the fit has found, or how it failed, is worth more
            log.warning("the GPUs' memory could not be given back: %s", error)
