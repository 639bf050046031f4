"""What the test starts as a driver: two ranks that go on for ever; prints their process numbers. Not a test itself."""

from __future__ import annotations

import os
import time

from hindcast.deep.ways.ranks.launcher import run_on_ranks
from hindcast.deep.ways.ranks.watch import Line
from hindcast.launch.spark.session import spark_session


def endless(line: Line) -> None:
    line.record({"pid": float(os.getpid())})
    for step in range(1, 10_000):
        line.step(1, step)
        time.sleep(0.1)


if __name__ == "__main__":
    with spark_session("local[2]") as spark:
        run_on_ranks(spark, endless, ranks=2, silence_seconds=60, on_record=lambda record: print(int(record["pid"]), flush=True))
