"""How this process was started. Read before TensorFlow is imported, which takes seconds."""

from __future__ import annotations

import os


def started_by_horovod() -> bool:
    """Whether this process is one of several that horovodrun (or Horovod on Spark) started."""
    return "HOROVOD_RANK" in os.environ and "HOROVOD_SIZE" in os.environ


def first_rank() -> bool:
    """Whether this process is the one that prints: the first rank, or the only process."""
    return not started_by_horovod() or os.environ["HOROVOD_RANK"] == "0"
