"""Operations over all ranks, behind one small interface: for Horovod's ranks, and for a single process."""

from __future__ import annotations

import json
import os
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

# Every so many milliseconds Horovod's ranks ask each other whether there is something to sum; by default in each. Where that
# takes its time from the cores that compute, fewer questions are worth the longer wait for an answer: docs/lstm.md.
CYCLE_ON_CORES = "3"


class Collective(Protocol):
    """Operations over all ranks. Every rank must call the same methods in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor's sum over ranks, the same bits on every rank. May be called inside a tf.function."""
        ...

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Rank 0's arrays."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank, on every rank, once all have called it. Values are what JSON can hold."""
        ...


class OneProcess:
    """A single process as the only rank: a sum is its own tensor, a gathered list has its own value alone."""

    rank, size = 0, 1

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return tensors

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return arrays

    def gather(self, value: Any) -> list[Any]:
        return [value]


class HorovodRanks:
    """The processes that horovodrun or Horovod on Spark started; made once a process, before TensorFlow computes anything.

    Where TF_NUM_INTRAOP_THREADS does not say how many threads a rank has, the cores of its host are shared out over its ranks.
    Without GPUs, HOROVOD_CYCLE_TIME is 3 ms where nobody has said otherwise.
    """

    def __init__(self) -> None:
        # Imported here: a single process needs no Horovod.
        import horovod.tensorflow as hvd

        self._hvd = hvd
        if not tf.config.list_physical_devices("GPU"):
            os.environ.setdefault("HOROVOD_CYCLE_TIME", CYCLE_ON_CORES)
        hvd.init()
        if "TF_NUM_INTRAOP_THREADS" not in os.environ:
            threads = max(1, len(os.sched_getaffinity(0)) // hvd.local_size())
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return self._hvd.grouped_allreduce(tensors, op=self._hvd.Sum)

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [self._hvd.broadcast(tf.constant(array), root_rank=0).numpy() for array in arrays]

    def gather(self, value: Any) -> list[Any]:
        # JSON, not Horovod's allgather_object: that unpickles what comes over the network.
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = self._hvd.allgather(tf.constant([len(text)], tf.int64)).numpy()
        texts = self._hvd.allgather(tf.constant(text)).numpy()
        return [json.loads(part.tobytes()) for part in np.split(texts, np.cumsum(lengths)[:-1])]
