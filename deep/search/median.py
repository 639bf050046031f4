"""Median stopping (Golovin et al. 2017, "Google Vizier", section 3.2), as a function of the trials' losses alone.

A trial is stopped after an epoch if its best loss so far is worse than the median over the trials before it. Of each of these the
mean of its losses up to that epoch counts, if it came so far or is complete. For trials that run one after another this is
Vizier's rule.

Trials that run side by side get the same verdicts, whichever of them is quicker. Where an earlier trial has not reached the epoch
yet, the later one does not wait: it is stopped at once if no loss that may still come can save it, and goes on otherwise. The
verdict on that epoch follows when it is certain; if it is to stop, the epochs after it do not count.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

# Fewer trials before have no median worth the name.
LEAST_OTHERS = 2


@dataclass
class Course:
    """The progress of one trial.

    losses   of its epochs, validation
    ended    no more of them will come; `complete`: because it had come to its own end
    passed   so many epochs are certain not to have stopped it
    stopped  the epoch that did, once that is certain
    """

    epochs: int
    losses: tuple[float, ...] = ()
    ended: bool = False
    complete: bool = False
    passed: int = 0
    stopped: int | None = None

    @property
    def counts(self) -> int:
        """Epochs that are certain to count."""
        return self.stopped or min(self.passed + 1, len(self.losses))

    def mean(self, epoch: int) -> float | None:
        """The mean of its losses up to an epoch; None where it never comes so far, NaN where that is not known yet."""
        if self.counts >= epoch:
            return statistics.fmean(self.losses[:epoch])
        if self.stopped:
            return None
        if self.ended and self.passed >= len(self.losses):
            return statistics.fmean(self.losses) if self.complete and self.losses else None
        return math.nan


@dataclass
class Race:
    """Trials in the order of their numbers; `epochs` are what each may train at most, `grace` how many each is given before a
    first verdict. Losses may come from several threads, in any order between trials, and more than once."""

    epochs: Sequence[int]
    grace: int = 1
    courses: list[Course] = field(init=False)

    def __post_init__(self) -> None:
        self.courses, self._lock = [Course(epochs) for epochs in self.epochs], threading.Lock()

    def report(self, trial: int, losses: Sequence[float]) -> bool:
        """Records all losses of a trial so far. Returns whether the trial is to stop."""
        with self._lock:
            course = self.courses[trial]
            if len(losses) > len(course.losses):
                course.losses = tuple(losses)
            self._settle()
            return course.stopped is not None

    def end(self, trial: int, losses: Sequence[float], complete: bool) -> None:
        """A trial has ended: `complete`, or because it failed or was stopped."""
        with self._lock:
            course = self.courses[trial]
            course.losses, course.ended, course.complete = tuple(losses), True, complete
            self._settle()

    def _settle(self) -> None:
        """Every verdict that is certain by now. In order: a verdict hangs on those on the trials before."""
        for number, course in enumerate(self.courses):
            while course.stopped is None and course.passed < len(course.losses):
                epoch = course.passed + 1
                stops = self._verdict(number, epoch)
                if stops is None:
                    break
                if stops:
                    course.stopped = epoch
                else:
                    course.passed = epoch

    def _verdict(self, trial: int, epoch: int) -> bool | None:
        """Whether an epoch stops a trial; None where that is not certain yet."""
        course = self.courses[trial]
        if epoch < self.grace or epoch >= course.epochs:  # the last epoch has nothing after it to be saved
            return False
        means = [mean for other in self.courses[:trial] if (mean := other.mean(epoch)) is not None]
        certain_means = [mean for mean in means if not math.isnan(mean)]
        unknown, best = len(means) - len(certain_means), min(course.losses[:epoch])
        if len(means) < LEAST_OTHERS:
            return False
        if len(certain_means) >= LEAST_OTHERS and best > statistics.median(certain_means + [math.inf] * unknown):
            return True
        if best <= statistics.median(certain_means + [-math.inf] * unknown):
            return False
        return None
