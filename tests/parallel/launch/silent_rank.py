"""A rank's program: `hindcast` with the arguments given, in which rank 1 does at its third step what FAULT says."""

import os
import signal
import time

from deep import training, watchdog
from launch.cli import main

watchdog.STOPPED_SECONDS = 8.0

if os.environ["HOROVOD_RANK"] == "1":
    step = training.Recorder.on_train_batch_begin

    def stop_at_the_third(self: training.Recorder, batch: int, logs: object = None) -> None:
        if batch == 2 and os.environ["FAULT"] == "sleep":
            time.sleep(600)
        if batch == 2:
            os.kill(os.getpid(), signal.Signals[os.environ["FAULT"]])
        step(self, batch)

    training.Recorder.on_train_batch_begin = stop_at_the_third  # type: ignore[method-assign]

main()
