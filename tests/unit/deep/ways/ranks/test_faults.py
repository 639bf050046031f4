"""Who is named, and how, for each way in which a run can fail; by what the driver has heard, without ranks."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

from hindcast.deep.ways.ranks.faults import Fault, RankError, behind, explained, find
from hindcast.deep.ways.ranks.processes import LOG_LINES, Processes
from hindcast.deep.ways.ranks.watch import Place, RankException, Watch
from hindcast.prep.errors import InputError


def heard(*places: Place, errors: tuple[RankException, ...] = ()) -> Watch:
    """A driver that has heard of these ranks just now, and listens to nobody."""
    watch = Watch("", "", errors=list(errors), places=dict(enumerate(places)))
    watch.moved = watch.worked = watch.first_heard = time.monotonic()
    return watch


def at(step: int, **more: object) -> Place:
    return Place("host", steps=step, at=(1, step) if step else None, **more)  # type: ignore[arg-type]


def broken(how: str, ago: float, step: int = 3) -> Place:
    return at(step, broken=how, broken_when=time.monotonic() - ago)


def raised(rank: int, ago: float, follows: bool = False, input: bool = False) -> RankException:
    return RankException(rank, "host", "Traceback: told", input, follows, time.monotonic() - ago)


def found(watch: Watch, processes: Processes | None = None, silence: float = 30, over: bool = False) -> Fault | None:
    return find(watch, processes or Processes(), 2, silence, 0, over)


def test_a_run_that_goes_on_has_no_fault() -> None:
    assert found(heard(at(3), at(3))) is None


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((at(4), at(5, waits=True)), [0]),  # stopped before it told its step
        ((at(5), at(5, waits=True)), [0]),  # after it: only the other one waits in the collective
        ((at(5, waits=True), at(5, waits=True)), [0, 1]),  # all wait: the network between them
        ((at(5), at(5)), [0, 1]),  # none was heard
        ((at(4, done=True), at(5)), [1]),  # one that is done holds up nobody
    ],
)
def test_the_rank_that_the_others_wait_for_is_named(places: tuple[Place, ...], expected: list[int]) -> None:
    assert behind(heard(*places).places) == expected


def test_what_happens_first_is_the_fault() -> None:
    watch = heard(broken("ended", 0.5), at(3), errors=(raised(1, 1),))
    assert found(watch) == Fault("raised", (1,))
    watch = heard(broken("ended", 1), at(3), errors=(raised(1, 0.5),))
    assert found(watch, Processes(exits={0: 137})) == Fault("ended", (0,))


def test_an_exit_code_is_waited_for_but_not_for_ever() -> None:
    assert found(heard(broken("ended", 1), at(3))) is None
    assert found(heard(broken("ended", 1), at(3)), over=True) == Fault("ended", (0,))
    assert found(heard(broken("ended", 9), at(3))) == Fault("ended", (0,))


def test_all_ranks_of_a_lost_host_are_named() -> None:
    assert found(heard(broken("unreachable", 1), at(3))) is None
    fault = found(heard(broken("unreachable", 1), broken("unreachable", 2)))
    assert fault is not None
    assert (fault.how, fault.ranks) == ("unreachable", (0, 1))


def test_what_follows_from_another_rank_is_a_fault_only_if_that_one_says_nothing() -> None:
    assert found(heard(at(3), at(3), errors=(raised(1, 5, follows=True),))) is None
    assert found(heard(at(3), at(3), errors=(raised(1, 11, follows=True),))) == Fault("raised", (1,))


@pytest.mark.parametrize(("step", "ago", "stopped"), [(3, 19, False), (3, 21, True), (0, 39, False), (0, 41, True)])
def test_a_process_that_gives_no_sign_of_life_is_stopped(step: int, ago: float, stopped: bool) -> None:
    fault = found(heard(at(3), at(step, heard=time.monotonic() - ago)))
    assert (fault is not None and (fault.how, fault.ranks) == ("stopped", (1,))) == stopped


def test_a_process_that_has_ended_in_order_is_not_missed() -> None:
    old = time.monotonic() - 100
    assert found(heard(at(3), at(3, done=True, closed=True, heard=old))) is None
    assert found(heard(at(3), at(3, done=True, heard=old))) is not None, "its host may be lost with what it returns"


def test_a_driver_that_was_away_does_not_take_its_own_absence_for_theirs() -> None:
    watch = heard(at(3, heard=time.monotonic() - 100), at(3))
    watch.moved = time.monotonic() - 100
    assert find(watch, Processes(), 2, 30, time.monotonic()) is None
    assert find(watch, Processes(), 2, 30, 0) is not None


def test_a_rank_that_never_comes_is_named() -> None:
    watch = heard(at(0))
    assert found(watch) is None
    watch.first_heard -= 41
    fault = found(watch)
    assert fault is not None
    assert (fault.how, fault.ranks) == ("absent", (1,))
    assert "rank 1 on far (before the first step) has not reported within 40 s" in said(fault, watch, Processes(hosts={1: "far"}))


@pytest.mark.parametrize(
    ("places", "moved", "worked", "silent"),
    [
        (({"step": 3}, {"step": 3}), 29, 29, False),
        (({"step": 3}, {"step": 3}), 31, 31, True),
        (({"step": 0}, {"step": 0}), 31, 31, True),
        (({"step": 0}, {"step": 0}), 31, 1, False),  # one of them works
        (({"step": 0}, {"step": 0}), 1801, 1, True),  # but not for ever
        ((), 31, 31, False),  # none has come yet
        ((), 301, 301, True),
        (({"step": 3, "done": True}, {"step": 3, "done": True}), 31, 31, False),  # results are on their way
    ],
)
def test_a_run_is_silent_where_no_rank_moves_and_none_works(
    places: tuple[dict[str, Any], ...], moved: float, worked: float, silent: bool
) -> None:
    watch = heard(*(at(**place) for place in places))
    watch.moved -= moved
    watch.worked -= worked
    assert (found(watch) is not None) == silent


def said(fault: Fault | None, watch: Watch, processes: Processes, failure: str = "") -> str:
    error = explained(fault, watch, processes, failure, deque())
    assert isinstance(error, RankError)
    return str(error)


def test_the_last_hundred_lines_of_the_failed_rank_alone_are_in_the_error() -> None:
    processes = Processes()
    for rank in (0, 1):
        out, err = processes.enter(rank, "host")
        for number in range(150):
            out.write(f"[7]<stdout>:line {number} of {rank}\n")
        err.write("[7]<stderr>:no end of a line")
        out.close()
        err.close()
    text = said(Fault("ended", (1,)), heard(at(3), at(3)), processes)
    lines = text.split("The last 100 lines of rank 1's log:\n")[1].splitlines()
    assert lines == [*(f"line {number} of 1" for number in range(51, 150)), "no end of a line"]
    assert len(lines) == LOG_LINES


def test_a_killed_rank_is_told_by_its_signal() -> None:
    text = said(Fault("ended", (1,)), heard(at(3), at(4)), Processes(exits={1: 137}))
    assert text.startswith("rank 1 on host (at epoch 1, step 4) ended with exit code 137 (SIGKILL).")


def test_a_silent_rank_is_told_with_where_it_stands() -> None:
    text = said(Fault("silent", (0,), 30), heard(at(4, stack="  File x, line 1\n"), at(5)), Processes())
    assert text.startswith("no rank has moved for 30 s; the others wait for: rank 0 on host (at epoch 1, step 4).")
    assert "Rank 0 stands at:\n  File x, line 1" in text


def test_a_users_mistake_stays_one() -> None:
    error = explained(Fault("raised", (1,)), heard(at(3), at(3), errors=(raised(1, 1, input=True),)), Processes(), "", deque())
    assert isinstance(error, InputError)
    assert str(error) == "Traceback: told"


def test_what_failed_before_any_rank_came_is_told_as_spark_tells_it() -> None:
    assert "Horovod on Spark failed: Exception: no" in said(None, heard(), Processes(), "Exception: no")


def test_a_process_that_ends_without_a_word_is_named_before_those_that_follow() -> None:
    processes = Processes(exits={0: None, 1: 1}, hosts={1: "far"})
    watch = heard(at(0), errors=(raised(0, 11, follows=True),))
    fault = found(watch, processes)
    assert fault == Fault("ended", (1,))
    assert "rank 1 on far (before the first step) ended with exit code 1" in said(fault, watch, processes)
