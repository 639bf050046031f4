from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hindcast.deep.ways.ranks import standing
from hindcast.deep.ways.ranks.standing import Work
from hindcast.deep.ways.ranks.standing import standing as where


def told_while(
    call: Callable[[queue.SimpleQueue[None], threading.Lock], object], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Where a process stands whose main thread is in `call`, which waits for the lock. Both are compiled: no frame is theirs."""
    ready, go_on = queue.SimpleQueue[None](), threading.Lock()
    go_on.acquire()
    thread = threading.Thread(target=call, args=(ready, go_on))
    monkeypatch.setattr(standing.threading, "main_thread", lambda: thread)
    thread.start()
    try:
        ready.get(timeout=60)
        return where()
    finally:
        go_on.release()
        thread.join(60)


def test_a_process_in_its_own_python_does_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep(ready: queue.SimpleQueue[None], go_on: threading.Lock) -> None:
        ready.put(None)
        go_on.acquire()

    told = told_while(asleep, monkeypatch)
    assert not told["waits"]
    assert ", in asleep\n" in told["stack"]


def test_a_process_in_tensorflow_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wrapper that was compiled from a string, as those of Horovod's operations are."""
    names: dict[str, Any] = {}
    exec(compile("def operation(ready, go_on):\n    ready.put(None)\n    go_on.acquire()", "<string>", "exec"), names)
    code = "def execute(ready, go_on):\n    operation(ready, go_on)"
    exec(compile(code, "/site-packages/tensorflow/python/eager/execute.py", "exec"), names)
    assert told_while(names["execute"], monkeypatch)["waits"]


def test_a_process_whose_feed_stands_still_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def fed(ready: queue.SimpleQueue[None], go_on: threading.Lock) -> None:
        def batches() -> Iterator[np.ndarray]:
            yield np.zeros(1, np.float32)
            ready.put(None)
            go_on.acquire()

        list(tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec((1,), tf.float32)))

    told = told_while(fed, monkeypatch)
    assert not told["waits"]
    assert ", in batches\n" in told["stack"]


def test_only_the_main_threads_time_is_work() -> None:
    work, over = Work(), threading.Event()
    spin(0.3)
    assert work.worked()
    other = threading.Thread(target=lambda: spin(60, over))
    other.start()
    time.sleep(0.5)
    asleep = work.worked()
    over.set()
    other.join()
    assert not asleep


def spin(seconds: float, over: threading.Event | None = None) -> None:
    """Uses a processor for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until and not (over and over.is_set()):
        pass
