"""What runs in the process of a rank: its line to the driver, the GPUs it may see, and then the function."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any

from horovod.spark.task import get_available_devices

from hindcast.deep.lean import import_lean
from hindcast.deep.ways.listening import Address
from hindcast.deep.ways.ranks.watch import Line
from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import visible_devices

EXIT_STATUS = 75


def run_rank(
    address: Address, function: Callable[..., Any], arguments: tuple[Any, ...], gpus: str | None, own_gpus: list[str] | None
) -> Any:
    """Runs `function(line, *arguments)` in the process of a rank, and reports its exception to the driver.

    gpus        how many GPUs Spark was asked for a task, if any
    own_gpus    the GPU of each rank, where Spark gives none and all ranks are on one machine
    """
    import_lean()
    rank = int(os.environ["HOROVOD_RANK"])
    line = Line(address, rank, partial(_leave, rank))
    result = None
    try:
        addresses = get_available_devices() if own_gpus is None else [own_gpus[rank]]
        see_gpus(gpus, addresses, os.environ)  # before TensorFlow is imported, which looks once
        result = function(line, *arguments)
    except BaseException as error:  # SystemExit too: the others would wait for this rank
        input_error = isinstance(error, InputError)
        line.error(str(error) if input_error else traceback.format_exc(), input=input_error, follows=_follows(error))
    line.done()
    return result


def _leave(rank: int, ended: bool) -> None:
    """Nobody is left to tell when the driver is gone, and the main thread may wait in the collective for ever."""
    if not ended:
        sys.stderr.write(f"hindcast: rank {rank} on {socket.gethostname()} has lost its driver, and ends\n")
        sys.stderr.flush()
    os._exit(EXIT_STATUS)


def _follows(error: BaseException) -> bool:
    """Whether an error is only what a rank sees of another's end."""
    return type(error).__name__ == "HorovodInternalError" or "Horovod has been shut down" in str(error) or "gloo" in str(error)


def see_gpus(amount: str | None, addresses: list[str], environment: MutableMapping[str, str]) -> None:
    """Limits this process to the GPUs at `addresses`, which Spark gave its task. `amount`: how many Spark was asked for.

    Raises InputError where Spark was asked for GPUs and gave none.
    """
    if addresses:
        environment["CUDA_VISIBLE_DEVICES"] = visible_devices(addresses, environment.get("CUDA_VISIBLE_DEVICES"))
    elif amount is not None and float(amount) > 0:
        raise InputError(
            f"rank {environment.get('HOROVOD_RANK')} on {socket.gethostname()}: a GPU was asked for "
            f"(spark.task.resource.gpu.amount is {amount}), and Spark gave its task none. Give executors GPUs "
            "(spark.executor.resource.gpu.amount and a discovery script; local[…] has none), or ask for none"
        )
