"""Where the Python of this process stands, and whether it only waits for others: tells who stopped from whom it stops."""

from __future__ import annotations

import sys
import threading
import traceback
from types import FrameType
from typing import Any

# A rank that waits for others does so inside of these; one that stopped stands in somebody's Python, or in a function that
# TensorFlow calls back (a generator that feeds it).
WAITING_ROOMS = ("/tensorflow/", "/horovod/")
CALLED_BACK = "/tensorflow/python/ops/script_ops.py"
FRAMES = 12


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
