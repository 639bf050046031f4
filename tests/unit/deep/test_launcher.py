from __future__ import annotations

import threading
from collections import deque

import pytest

from deep.launcher import visible_devices
from deep.reins import reined


@pytest.mark.parametrize(
    ("addresses", "already", "expected"),
    [(["1"], None, "1"), (["0"], "", "0"), (["1"], "4,6", "6"), (["0", "1"], "GPU-a,GPU-b", "GPU-a,GPU-b")],
)
def test_a_ranks_gpus_are_those_that_its_executor_sees(addresses: list[str], already: str | None, expected: str) -> None:
    assert visible_devices(addresses, already) == expected


def test_horovods_own_ways_are_back_after_a_run() -> None:
    import horovod.runner.gloo_run
    import horovod.runner.http.http_server
    import horovod.spark.runner

    def ways() -> list[object]:
        return [
            threading.excepthook,
            horovod.runner.gloo_run.register_shutdown_event,
            horovod.runner.http.http_server.find_port,
            horovod.spark.runner._make_mapper,
        ]

    before, ended = ways(), threading.Event()
    with reined(ended, deque(), local=True):
        assert horovod.runner.gloo_run.register_shutdown_event() is ended
        assert not any(now is then for now, then in zip(ways(), before, strict=True))
    assert ways() == before
