"""What the test starts as a driver: two ranks that step to the end, though one is lost. Not a test itself.

python outliving.py MASTER ADDRESS: prints "stepping" once they do, and at the end each rank's number of ranks and its checkpoint.
"""

from __future__ import annotations

import sys

from hindcast.deep.ways.ranks import elastic
from hindcast.deep.ways.ranks.elastic import run_elastic
from hindcast.deep.ways.ranks.watch import Line
from hindcast.launch.spark.session import spark_session

STEPS = 200
elastic.SLOTS_SECONDS = 2.0  # no other host will come


def stepping(line: Line, checkpoint: bytes | None) -> tuple[int, int]:
    import time

    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    first = int(checkpoint or b"0")
    for step in range(first + 1, STEPS + 1):
        line.step(1, step)
        hvd.allreduce(tf.constant(1), op=hvd.Sum)
        if hvd.rank() == 0 and step % 10 == 0:
            line.checkpoint(str(step).encode())
        if step == 20:
            line.record({"step": 20.0})
        time.sleep(0.1)
    return hvd.size(), first


if __name__ == "__main__":
    master, address = sys.argv[1:]
    more = {"spark.driver.host": address, "spark.driver.bindAddress": address, "spark.executor.memory": "600m"}
    more |= {"spark.network.timeout": "20s", "spark.executor.heartbeatInterval": "4s", "spark.network.timeoutInterval": "5s"}
    with spark_session(master, more=more) as spark:
        results = run_elastic(
            spark, stepping, ranks=2, least_ranks=1, silence_seconds=40, on_record=lambda record: print("stepping", flush=True)
        )
        print(*results, flush=True)
