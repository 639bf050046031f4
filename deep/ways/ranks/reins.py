"""Limits on Horovod on Spark: its effects on the whole process and on the network, replaced for the length of a run."""

from __future__ import annotations

import codecs
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, partialmethod
from typing import Any

import horovod.runner.common.service.task_service
import horovod.runner.common.util.network
import horovod.runner.gloo_run
import horovod.runner.http.http_server
import horovod.runner.util.threads
import horovod.spark.driver.driver_service
import horovod.spark.gloo_run
import horovod.spark.runner
from horovod.runner.util.threads import in_thread
from horovod.spark.driver.rsh import rsh
from pyspark import RDD, SparkContext
from pyspark.resource import ResourceProfile

from hindcast.deep.ways.listening import ANY, bound
from hindcast.deep.ways.ranks.processes import Processes, Tail
from hindcast.deep.ways.ranks.watch import probed

LOOPBACK = "127.0.0.1"


@contextmanager
def reined(
    ended: threading.Event,
    log: deque[str],
    processes: Processes,
    local: bool,
    description: str,
    profile: ResourceProfile | None,
    ports: Sequence[int] = ANY,
) -> Iterator[None]:
    """Horovod's own globals, replaced for one run.

    Its signal handlers (they demand the main thread and swallow Ctrl-C ever after) give way to `ended`. What its threads raise is
    logged, not printed, and a thread that waits for a lost host does not keep this process from ending. What each rank prints,
    and its exit code, go to `processes`. Where all is `local`, its servers listen on the loopback address alone; they and
    those of its tasks listen on `ports`. Its Spark job is shown by the `description`, and its tasks get the resources of the
    `profile`.
    """
    spark_thread = horovod.spark.runner._make_spark_thread
    replaced: list[tuple[Any, str, Any]] = [
        (horovod.runner.gloo_run, "register_shutdown_event", lambda: ended),
        (horovod.spark.gloo_run, "_exec_command_fn", partial(_starter, log, processes)),
        (horovod.runner.common.util.network, "shutil", Passing),
        (horovod.runner.common.util.network, "socket", Sockets()),
        (horovod.spark.runner, "_make_mapper", partial(_mapper, local, ports)),
        (
            horovod.spark.runner,
            "_make_spark_thread",
            lambda context, *more, **named: spark_thread(Context(context, description, profile), *more, **named),
        ),
        (horovod.spark.runner, "in_thread", partial(_daemon_thread, log)),
        (horovod.runner.util.threads, "in_thread", partial(_daemon_thread, log)),
        (horovod.runner.common.service.task_service, "in_thread", partial(_daemon_thread, log)),
        (threading, "excepthook", partial(_excepthook, threading.excepthook, log)),
    ]
    if not local:
        service = horovod.spark.driver.driver_service.SparkDriverService
        replaced += [(service, "get_common_interfaces", partialmethod(_network_interfaces, service.get_common_interfaces))]
    if local or ports != ANY:
        replaced += [(horovod.runner.http.http_server, "find_port", partial(_port_in_range, local, ports))]
        replaced += [(horovod.runner.common.util.network, "find_port", partial(_port_in_range, local, ports))]
    before = [getattr(module, name) for module, name, _ in replaced]
    for module, name, ours in replaced:
        setattr(module, name, ours)
    try:
        yield
    finally:
        for (module, name, _), theirs in zip(replaced, before, strict=True):
            setattr(module, name, theirs)


def _excepthook(printed: Callable[[Any], Any], log: deque[str], raised: Any) -> None:
    """A threading.excepthook that logs what was raised in Horovod's own code."""
    if any("/horovod/" in frame.filename for frame in traceback.extract_tb(raised.exc_traceback)):
        log.extend(_lines(raised.exc_value))
    else:
        printed(raised)


class Context:
    """In the place of the SparkContext that Horovod starts its tasks by."""

    def __init__(self, context: SparkContext, description: str, profile: ResourceProfile | None) -> None:
        self._context, self._description, self._profile = context, description, profile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def setJobGroup(self, group: str, _: str, interruptOnCancel: bool) -> None:
        self._context.setJobGroup(group, self._description, interruptOnCancel)

    def range(self, *bounds: int, numSlices: int) -> RDD[int]:
        tasks = self._context.range(*bounds, numSlices=numSlices)
        return tasks.withResources(self._profile) if self._profile else tasks


class Sockets:
    """In the place of `socket` where Horovod's clients connect: a wait for a lost host ends with an error."""

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    @staticmethod
    def socket(*kind: Any) -> socket.socket:
        return probed(socket.socket(*kind))


class Passing:
    """In the place of `shutil` where Horovod brings in what ranks print: it would wait for 64 KB, or for the rank's end."""

    @staticmethod
    def copyfileobj(source: Any, tail: Tail) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while piece := source.stream.read1(1 << 16):
                tail.write(decoder.decode(piece))
        finally:
            tail.close()


def _starter(
    log: deque[str], processes: Processes, driver: Any, key: Any, settings: Any, environment: dict[str, str], *_: Any
) -> Callable[..., Any]:
    """In the place of Horovod's `_exec_command_fn`: what starts a rank and waits for its exit code, unless it is given up."""

    def start(command: Any, slot: Any, events: list[threading.Event]) -> tuple[int | None, float]:
        out, err = processes.enter(slot.rank, slot.hostname.rpartition("-")[0])  # Horovod adds a hash

        def wait() -> None:
            processes.exits[slot.rank] = rsh(
                driver.addresses(), key, slot.hostname, command, environment, slot.local_rank, settings.verbose, out, err,
                prefix_output_with_timestamp=False, background=False, events=events,
            )  # fmt: skip

        thread = _daemon_thread(log, wait)
        while thread.is_alive() and slot.rank not in processes.abandoned:
            thread.join(0.1)
        return processes.exits.get(slot.rank), time.time()

    return start


def _daemon_thread(
    log: deque[str],
    target: Callable[..., Any],
    args: tuple[Any, ...] = (),
    name: str | None = None,
    daemon: bool = True,
    silent: bool = False,
) -> threading.Thread:
    def logged(*args: Any) -> None:
        try:
            target(*args)
        except Exception as error:  # that of a lost host comes when the run is long over
            log.extend(_lines(error))

    return in_thread(logged, args, name, daemon=True, silent=silent)


def _lines(error: Any) -> list[str]:
    return [line for line in str(error).splitlines() if not line.startswith("\tat ")]


def _port_in_range(local: bool, ports: Sequence[int], make_server: Callable[[tuple[str, int]], Any]) -> tuple[Any, int]:
    """In the place of Horovod's `find_port`, which takes any port, and binds all interfaces."""
    server = bound(make_server, LOOPBACK if local else "", ports)
    return server, server.socket.getsockname()[1]


def _network_interfaces(service: Any, theirs: Callable[[Any], set[str]]) -> set[str]:
    """In the place of Horovod's `get_common_interfaces`: ranks that share a host have the loopback one in common too, by which
    they would not find a driver that is elsewhere."""
    interfaces = theirs(service)
    return interfaces - {"lo", "lo0"} or interfaces


def _mapper(
    local: bool, ports: Sequence[int], driver_addresses: Any, settings: Any, use_gloo: bool, is_elastic: bool
) -> Callable[..., Iterator[Any]]:
    """In the place of Horovod's `_make_mapper`: the same task, held back likewise in the process that runs it."""
    key = settings.key

    def mapper(index: int, _: Any) -> Iterator[Any]:
        threading.excepthook = partial(_excepthook, threading.__excepthook__, deque(maxlen=1))
        if local or ports != ANY:
            horovod.runner.common.util.network.find_port = partial(_port_in_range, local, ports)
        yield horovod.spark.runner._task_fn(index, driver_addresses, key, settings, use_gloo, is_elastic)

    return mapper
