"""A rank's program: `hindcast` with the arguments given, in which rank 1 stops at its third step."""

import os
import time

from deep import training
from launch.cli import main

if os.environ["HOROVOD_RANK"] == "1":
    step = training.Recorder.on_train_batch_begin

    def stop_at_the_third(self: training.Recorder, batch: int, logs: object = None) -> None:
        if batch == 2:
            time.sleep(600)
        step(self, batch)

    training.Recorder.on_train_batch_begin = stop_at_the_third  # type: ignore[method-assign]

main()
