"""The state of this process's Python: the stack of its main thread, whether it waits for other ranks, whether it works.

The first two distinguish the rank that stopped from those that wait for it; the third, a long preparation from a stop.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any

# A rank that waits for others does so inside of these; one that stopped stands in somebody's Python, or in a function that
# TensorFlow calls back (a generator that feeds it).
WAITING_ROOMS = ("/tensorflow/", "/horovod/")
CALLED_BACK = "/tensorflow/python/ops/script_ops.py"
FRAMES = 12
# Of a processor's time. Waiting for Horovod to begin takes the main thread a tenth of this, and its own threads much more.
WORK_SHARE = 0.05


class Work:
    """Whether the main thread works. Other threads do not count: Horovod's are busy even while they wait for a stopped rank."""

    def __init__(self) -> None:
        # Where a thread's time cannot be learnt, it is taken to work.
        measurable = hasattr(time, "pthread_getcpuclockid")
        self._clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0) if measurable else None
        self._when, self._spent = time.monotonic(), self._cpu_seconds()

    def worked(self) -> bool:
        """Whether the main thread has worked since the last call."""
        when, spent = time.monotonic(), self._cpu_seconds()
        worked = self._clock is None or spent - self._spent > WORK_SHARE * (when - self._when)
        self._when, self._spent = when, spent
        return worked

    def _cpu_seconds(self) -> float:
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)


def standing() -> dict[str, Any]:
    """`stack`: the innermost frames of the main thread, or of what TensorFlow called back; `waits`: whether it is in TensorFlow
    or Horovod, as a rank in a collective is."""
    frames = sys._current_frames()
    main = frames.pop(threading.main_thread().ident or 0, None)
    busy = [frame for frame in frames.values() if _called_back(frame) and not _in_waiting_room(frame)]
    where = busy[0] if busy else main
    stack = "".join(traceback.format_stack(where)[-FRAMES:]) if where else ""
    return {"stack": stack, "waits": not busy and main is not None and _in_waiting_room(main)}


def _in_waiting_room(frame: FrameType | None) -> bool:
    """By the innermost frame that is of a file: TensorFlow's wrappers of operations are compiled from strings."""
    while frame is not None and frame.f_code.co_filename.startswith("<"):
        frame = frame.f_back
    return frame is not None and any(room in frame.f_code.co_filename for room in WAITING_ROOMS)


def _called_back(frame: FrameType | None) -> bool:
    while frame is not None:
        if CALLED_BACK in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
