"""The process that Spark forks its Python workers from: pyspark's own, with a shorter module path, with modules that are there
before a worker is, with sockets that do not wait, and without a search for garbage in what a task imported.

What preparation and every reader of a dataset need takes a worker most of a second to import. Here it is imported once, and all
workers have it from the first, in memory that they share.

Java sends a worker a task in two pieces, and holds the second back until the first is acknowledged (Nagle 1984); the worker's
kernel acknowledges 40 milliseconds later, in case there is something to send with it. So every task waited for 40 milliseconds.

After every task pyspark looks for garbage. A worker that once imported TensorFlow had to look through all of that, which took it
0.17 seconds of processor time.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import socket
import sys
from typing import Any

from hindcast.prep.spark.workers import forget_archives

# Not TensorFlow, which does not live on in a process that was forked.
SHARED = ("hindcast.prep.sequences.work", "pyspark.sql.pandas.serializers", "pyspark.worker")
# A task after which there are so many more has imported TensorFlow or its like.
MANY_MODULES = 500


class Acknowledging(io.RawIOBase):
    """Reads a socket and acknowledges at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._connection.recv_into(buffer)
        # The kernel forgets it whenever something is sent.
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def close(self) -> None:
        if not self.closed:
            self._connection.close()
        super().close()


def run() -> None:
    """Serves Spark until it says that it is done."""
    forget_archives()
    for module in SHARED:
        importlib.import_module(module)
    # What is never looked through for garbage is not written to, and stays shared.
    gc.freeze()
    from pyspark import daemon

    work = daemon.worker_main

    def work_without_waiting(inlet: Any, outlet: Any) -> None:
        connection = socket.socket(fileno=os.dup(inlet.fileno()))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with io.BufferedReader(Acknowledging(connection), int(os.environ.get("SPARK_BUFFER_SIZE", "65536"))) as tasks:
            before = len(sys.modules)
            work(tasks, outlet)
        spare_modules(before)

    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        daemon.worker_main = work_without_waiting
    daemon.manager()


def spare_modules(before: int) -> None:
    """What is there after a task that found `before` modules and left many more is not looked through for garbage again.

    A model that such a task has loaded and kept is part of it: should it go, what of it refers to itself stays until the worker
    ends.
    """
    if len(sys.modules) - before >= MANY_MODULES:
        gc.collect()
        gc.freeze()


if __name__ == "__main__":
    run()
