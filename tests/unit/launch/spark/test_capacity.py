from __future__ import annotations

import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from hindcast.launch.cli.explaining import explain
from hindcast.launch.spark import capacity
from hindcast.launch.spark.capacity import ExecutorRequest, Worker, absence_message, misfit, must_answer, shortage_message
from hindcast.prep.errors import InputError

SMALL = Worker("small", cores=2, memory=2048)
LARGE = Worker("large", cores=8, memory=6000, gpus=2)
MASTER = "spark://h:7077"


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (ExecutorRequest(6001), "spark.executor.memory 6,001 MiB: is more than any worker of spark://h:7077 has"),
        (ExecutorRequest(1024, cores=9), "spark.executor.cores 9: is more cores than any worker"),
        (ExecutorRequest(1024, task_cores=9), "spark.task.cpus 9: is more cores than any worker"),
        (
            ExecutorRequest(1024, gpus=3),
            "spark.executor.resource.gpu.amount (cluster.gpus_per_worker) 3: is more than any worker",
        ),
        (ExecutorRequest(1024, cores=4, most_cores=3), "spark.cores.max 3: is less than an executor is to have"),
    ],
)
def test_what_no_worker_can_hold_is_named_with_what_the_workers_have(asked: ExecutorRequest, fault: str) -> None:
    said = misfit(asked, [SMALL, LARGE], MASTER)
    assert said is not None
    assert said.startswith(fault)
    assert "large with cores 8, MiB 6,000, GPUs 2; small with cores 2, MiB 2,048." in said


def test_what_only_two_workers_together_have_fits_none() -> None:
    other = replace(LARGE, memory=1000)
    said = misfit(ExecutorRequest(2000, cores=4), [SMALL, other], MASTER)
    assert said is not None
    assert said.startswith("no worker of spark://h:7077 has all that an executor asks for")


def test_what_others_have_taken_is_waited_for() -> None:
    assert misfit(ExecutorRequest(2048, cores=2), [SMALL], MASTER) is None
    assert shortage_message([SMALL]).startswith(
        "Others may have taken what there is, or workers have died (lately it had small with cores 2"
    )
    assert shortage_message([]).startswith("It has no workers. Start some, or wait for longer")
    assert shortage_message(None).startswith(
        "Its queue may be full, or no host there has as much. Ask for less, or wait for longer"
    )


@pytest.mark.parametrize(
    ("silence", "applications", "why"),
    [
        ("[Errno 111] Connection refused", None, "No master answers there ([Errno 111] Connection refused)"),
        ("", None, "Somebody is there, and does not answer as the active master of a cluster"),
        ("", ["app-1"], "Its master was started anew, and does not know of this application"),
        ("", ["app-1", "app-2"], "It has no workers. Start some, or wait for longer (cluster.wait_seconds)"),
    ],
)
def test_what_a_master_says_and_does_not_say_is_why_nothing_came(
    silence: str, applications: list[str] | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark: Any = SimpleNamespace(sparkContext=SimpleNamespace(master=MASTER, applicationId="app-2"))
    known = [SimpleNamespace(id=lambda name=name: name) for name in applications or []]
    state = None if applications is None else SimpleNamespace(activeApps=lambda: known, workers=list)
    monkeypatch.setattr(capacity, "_silence", lambda _: silence)
    monkeypatch.setattr(capacity, "_state", lambda _: state)
    monkeypatch.setattr(capacity, "executor_request", lambda _: ExecutorRequest(1024))
    assert absence_message(spark, 5) == (
        f"{MASTER} has given no executor within 5 s; each was asked for with spark.executor.memory 1,024 MiB. {why}"
    )


@pytest.mark.parametrize(
    ("asked", "gpu_each", "slots"),
    [
        (ExecutorRequest(1024), False, 2 + 8),  # one executor a worker, with all cores
        (ExecutorRequest(1024, cores=1), False, 2 + 5),  # as many as there is memory for
        (ExecutorRequest(3000, cores=2), False, 2 * 2),
        (ExecutorRequest(1024, cores=2, task_cores=2), False, 1 + 4),
        (ExecutorRequest(1024, most_cores=3), False, 3),
        (ExecutorRequest(1024, cores=4, gpus=1), True, 2),
        (ExecutorRequest(1024, gpus=2), True, 2),
        (ExecutorRequest(7000), False, 0),
    ],
)
def test_slots_of_a_whole_cluster(asked: ExecutorRequest, gpu_each: bool, slots: int) -> None:
    assert asked.slots_on([SMALL, LARGE], gpu_each) == slots


def test_a_master_that_does_not_answer_is_named_at_once_and_one_of_two_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "ANSWER_SECONDS", 0.1)
    with socket.socket() as listening, socket.socket() as deaf:
        for one in (listening, deaf):
            one.bind(("127.0.0.1", 0))
        listening.listen()
        there, not_there = (f"127.0.0.1:{one.getsockname()[1]}" for one in (listening, deaf))
        must_answer(f"spark://{not_there},{there}")
        with pytest.raises(InputError, match=rf"^spark://{not_there}: no master answers there \(.*refused\)"):
            must_answer(f"spark://{not_there}")
    must_answer("local[2]")
    with pytest.raises(InputError, match=r"^spark://host: expected the address of a master with its port"):
        must_answer("spark://host")


def test_what_java_raised_is_said_and_not_where() -> None:
    error = RuntimeError("An error occurred while calling o1.x.\n: java.lang.IllegalStateException: stopped\n\tat a.b(C.java:1)")
    assert explain(error)[0].startswith("RuntimeError: java.lang.IllegalStateException: stopped (a defect, or")
