"""A rank's program: `hindcast` with the arguments given, in which rank 1 does what FAULT says: at its third step, or
"early", when it has read its first row group."""

import os
import signal
import time

from hindcast.deep.ways.ranks import watchdog
from hindcast.launch.cli.main import main

watchdog.STOPPED_SECONDS = 8.0

if os.environ["HOROVOD_RANK"] == "1" and os.environ["FAULT"] == "early":
    watchdog.Watchdog.reads = lambda self: time.sleep(600)  # type: ignore[method-assign]
elif os.environ["HOROVOD_RANK"] == "1":
    told = watchdog.Watchdog.step

    def stop_at_the_third(self: watchdog.Watchdog, epoch: int, step: int) -> None:
        if step == 3 and os.environ["FAULT"] == "sleep":
            time.sleep(600)
        if step == 3:
            os.kill(os.getpid(), signal.Signals[os.environ["FAULT"]])
        told(self, epoch, step)

    watchdog.Watchdog.step = stop_at_the_third  # type: ignore[method-assign]

main()
