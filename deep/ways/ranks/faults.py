"""Faults that end a run: the ranks that caused them, and the message about them."""

from __future__ import annotations

import signal
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

from hindcast.deep.ways.ranks.processes import Processes
from hindcast.deep.ways.ranks.watch import UNREACHABLE_SECONDS, Place, Watch
from hindcast.prep.errors import InputError, RunError

# For all ranks to be started, and for their results to come.
START_SECONDS = 300.0
# Before its first step a rank may import, read and trace for long; one that does nothing else is ended all the same.
WORK_SECONDS = 1800.0
# Ranks are started together: one that has not reported so long after the first is lost.
JOIN_SECONDS = 40.0
# A process says every second that it lives. Importing TensorFlow from a cold disk may keep its threads from that.
STOPPED_SECONDS, STOPPED_AT_START_SECONDS = 20.0, 40.0
# Not all ranks of a lost host are found lost in one instant, and an exit code comes a moment after the line breaks.
SETTLE_SECONDS, EXIT_SECONDS = 1.5, 8.0
# Ranks that end because another did say so first; the other has this long to say why.
GRACE_SECONDS = 10.0
LOGS = 4  # of so many ranks at most


class RankError(RunError):
    """A rank raised, died, or went silent. The message names the rank, its host, its last step and the last lines it printed.

    `host_lost`: whether the host of a rank does not answer.
    """

    def __init__(self, message: str, host_lost: bool = False) -> None:
        super().__init__(message)
        self.host_lost = host_lost


@dataclass(frozen=True)
class Fault:
    """The reason why a run is ended, and the ranks that caused it.

    raised          the function raised an exception
    ended           the process is gone
    unreachable     the host, or the network to it, is gone
    damaged         the messages are not those of a rank
    stopped         the process gives no sign of life, though its host answers
    silent          no rank takes a step, and the others wait for these
    absent          the rank never reported
    """

    how: Literal["raised", "ended", "unreachable", "damaged", "stopped", "silent", "absent"]
    ranks: tuple[int, ...]
    seconds: float = 0.0


def find(
    watch: Watch, processes: Processes, ranks: int, silence_seconds: float, since: float, over: bool = False
) -> Fault | None:
    """The fault that a run is to be ended for, or None.

    `since`: the time (monotonic) from which the driver has listened without a break. `over`: the run has ended, so there is
    nothing more to wait for.
    """
    return (
        _raised_or_broken(watch, processes, over)
        or _exited(watch, processes)
        or _followed(watch, over)
        or _stopped(watch, since)
        or _absent(watch, processes, ranks, since)
        or _silent(watch, ranks, silence_seconds, since)
    )


def _raised_or_broken(watch: Watch, processes: Processes, over: bool) -> Fault | None:
    """The first of what ranks raised and of the lines that broke: what comes after follows from it."""
    now = time.monotonic()
    events = [(error.when, "raised", error.rank) for error in watch.errors if not error.follows]
    events += [(place.broken_when, place.broken, rank) for rank, place in watch.places.items() if place.broken]
    if not events:
        return None
    when, how, rank = min(events)
    if how == "unreachable":
        lost = tuple(sorted(rank for rank, place in watch.places.items() if place.broken == how))
        return Fault("unreachable", lost, UNREACHABLE_SECONDS) if over or now - when > SETTLE_SECONDS else None
    if how == "ended" and not (over or rank in processes.exits or now - when > EXIT_SECONDS):
        return None
    return Fault(how, (rank,))  # type: ignore[arg-type]


def _exited(watch: Watch, processes: Processes) -> Fault | None:
    """A process that ended and left its line open, to a child of it, or before it had one."""
    failed = [rank for rank, code in sorted(processes.exits.items()) if code]
    broken = any(place.broken for place in watch.places.values())
    return Fault("ended", (failed[0],)) if failed and not broken else None


def _followed(watch: Watch, over: bool) -> Fault | None:
    """What only follows from another rank, where that one says nothing."""
    late = watch.errors and (over or time.monotonic() - watch.errors[0].when > GRACE_SECONDS)
    return Fault("raised", (watch.errors[0].rank,)) if late else None


def _stopped(watch: Watch, since: float) -> Fault | None:
    now = time.monotonic()
    for limit, stepping in ((STOPPED_SECONDS, True), (STOPPED_AT_START_SECONDS, False)):
        places = [(rank, place) for rank, place in sorted(watch.places.items()) if (place.at is not None) == stepping]
        lives = [(rank, place) for rank, place in places if not place.closed and not place.broken]
        if still := tuple(rank for rank, place in lives if now - max(place.heard, since) > limit):
            return Fault("stopped", still, limit)
    return None


def _absent(watch: Watch, processes: Processes, ranks: int, since: float) -> Fault | None:
    if time.monotonic() - max(watch.first_heard, since) <= JOIN_SECONDS or len(watch.places) == ranks:
        return None
    return Fault("absent", tuple(sorted(set(range(ranks)) - set(watch.places))), JOIN_SECONDS)


def _silent(watch: Watch, ranks: int, silence_seconds: float, since: float) -> Fault | None:
    """No rank moved for so long, and none that is starting worked."""
    idle = silence_seconds if watch.at_work(ranks) else max(START_SECONDS, silence_seconds)
    now = time.monotonic()
    for limit, last in ((idle, max(watch.moved, watch.worked)), (max(WORK_SECONDS, silence_seconds), watch.moved)):
        if now - max(last, since) > limit:
            return Fault("silent", tuple(behind(watch.places)), limit)
    return None


def behind(places: dict[int, Place]) -> list[int]:
    """The ranks that the others wait for: those with the fewest steps, and among these the ones that do not wait themselves.

    Where one stops before it tells its step, the others wait one step ahead; where it stops after that, all are at the same step,
    and only those that the others wait for do not stand in a collective.
    """
    going = {rank: place for rank, place in sorted(places.items()) if not place.done}
    fewest = min((place.steps for place in going.values()), default=0)
    last = [rank for rank, place in going.items() if place.steps == fewest]
    return [rank for rank in last if not going[rank].waits] or last


def explained(fault: Fault | None, watch: Watch, processes: Processes, failure: str, log: deque[str]) -> Exception:
    """The error that a run ends with. `failure` and `log`: the messages of Horovod and Spark themselves."""
    if fault is None:
        return RankError(f"Horovod on Spark failed: {failure}" + _log_text("its log", list(log)))
    if fault.how == "raised":
        raised = next(error for error in watch.errors if error.rank == fault.ranks[0])
        if raised.input:
            return InputError(raised.text)
        message = f"{_name(raised.rank, watch, processes)} raised, {_where(raised.rank, watch)}:\n{raised.text.rstrip()}"
    else:
        message = _SENTENCES[fault.how].format(
            ranks=", ".join(f"{_name(rank, watch, processes)} ({_where(rank, watch)})" for rank in fault.ranks)
            or "none has started",
            seconds=f"{fault.seconds:g} s",
            exit=_exit(processes.exits.get(fault.ranks[0])) if fault.ranks else "",
        )
    for rank in fault.ranks[:LOGS]:
        place = watch.places.get(rank)
        if fault.how == "silent" and place and place.stack:
            message += f"\nRank {rank} stands at:\n{place.stack.rstrip()}"
        message += _log_text(f"rank {rank}'s log", processes.log(rank))
    return RankError(message, host_lost=fault.how in ("unreachable", "absent"))


_SENTENCES = {
    "ended": "{ranks} ended{exit}. The run was ended",
    "unreachable": "{ranks} is lost: its host, or the network to it, has not answered for {seconds}. The run was ended",
    "damaged": "{ranks} sent what no rank sends, or it was damaged on its way. The run was ended",
    "stopped": "{ranks} has given no sign of life for {seconds}, though its host has: its process is stopped. The run was ended",
    "silent": "no rank has moved for {seconds}; the others wait for: {ranks}. The run was ended",
    "absent": "{ranks} has not reported within {seconds} of the first. The run was ended",
}


def _name(rank: int, watch: Watch, processes: Processes) -> str:
    place = watch.places.get(rank)
    host = place.host if place else processes.hosts.get(rank)
    return f"rank {rank} on {host}" if host else f"rank {rank}"


def _where(rank: int, watch: Watch) -> str:
    place = watch.places.get(rank)
    return "at epoch {}, step {}".format(*place.at) if place and place.at else "before the first step"


def _exit(code: int | None) -> str:
    if code is None:
        return "; its exit code is not known"
    name = f" ({signal.Signals(code - 128).name})" if code > 128 and code - 128 in set(signal.Signals) else ""
    return f" with exit code {code}{name}"


def _log_text(whose: str, lines: list[str]) -> str:
    return f"\nThe last {len(lines)} lines of {whose}:\n" + "\n".join(lines) if lines else ""
