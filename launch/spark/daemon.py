"""The process that Spark forks its Python workers from: pyspark's own, with a shorter module path and sockets that do not wait.

Java sends a worker a task in two pieces, and holds the second back until the first is acknowledged (Nagle 1984); the worker's
kernel acknowledges 40 milliseconds later, in case there is something to send with it. So every task waited for 40 milliseconds.
"""

from __future__ import annotations

import io
import os
import socket
from typing import Any

from hindcast.prep.spark.workers import forget_archives


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
    from pyspark import daemon

    work = daemon.worker_main

    def work_without_waiting(given: Any, out: Any) -> None:
        connection = socket.socket(fileno=os.dup(given.fileno()))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with io.BufferedReader(Acknowledging(connection), int(os.environ.get("SPARK_BUFFER_SIZE", "65536"))) as tasks:
            work(tasks, out)

    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        daemon.worker_main = work_without_waiting
    daemon.manager()


if __name__ == "__main__":
    run()
