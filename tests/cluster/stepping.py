"""What the test starts as a driver: two ranks that step together for ever. Not a test itself.

python stepping.py MASTER ADDRESS: prints "stepping" once they do, and then the error that ended them.
"""

from __future__ import annotations

import socket
import sys
import time

from hindcast.deep.ways.ranks.launcher import RankError, run_on_ranks
from hindcast.deep.ways.ranks.watch import Line
from hindcast.launch.spark.session import spark_session


def stepping(line: Line) -> None:
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    for step in range(1, 10_000):
        line.step(1, step)
        print(f"step {step} on {socket.gethostname()}", flush=True)
        if step == 20:
            line.record({"step": 20.0})
        hvd.allreduce(tf.constant(1), op=hvd.Sum)
        time.sleep(0.05)


if __name__ == "__main__":
    master, address = sys.argv[1:]
    addresses = {"spark.driver.host": address, "spark.driver.bindAddress": address, "spark.executor.memory": "600m"}
    with spark_session(master, more=addresses) as spark:
        try:
            run_on_ranks(spark, stepping, ranks=2, silence_seconds=40, on_record=lambda record: print("stepping", flush=True))
        except RankError as error:
            print(str(error), "told", sep="\n", flush=True)
