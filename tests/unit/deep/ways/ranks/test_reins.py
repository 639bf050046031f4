from __future__ import annotations

import threading
from collections import deque

from hindcast.deep.ways.ranks.processes import Processes
from hindcast.deep.ways.ranks.reins import reined


def test_horovods_own_ways_are_back_after_a_run() -> None:
    import horovod.runner.common.util.network
    import horovod.runner.gloo_run
    import horovod.runner.http.http_server
    import horovod.spark.gloo_run
    import horovod.spark.runner

    def ways() -> list[object]:
        return [
            threading.excepthook,
            horovod.runner.gloo_run.register_shutdown_event,
            horovod.runner.http.http_server.find_port,
            horovod.spark.runner._make_mapper,
            horovod.spark.gloo_run._exec_command_fn,
            horovod.runner.common.util.network.shutil,
            horovod.runner.common.util.network.socket,
        ]

    before, ended = ways(), threading.Event()
    with reined(ended, deque(), Processes(), local=True, description="ranks", profile=None):
        assert horovod.runner.gloo_run.register_shutdown_event() is ended
        assert not any(now is then for now, then in zip(ways(), before, strict=True))
    assert ways() == before
