"""The regular time grid that readings are put on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Grid:
    """Step k of every series is the time origin + k · step, in microseconds since the epoch."""

    origin_micros: int
    step_micros: int

    def time(self, step: int) -> str:
        """The time of a step, ISO 8601, UTC."""
        return iso(self.origin_micros + step * self.step_micros)

    def nearest(self, micros: int) -> int:
        """The step nearest to a time; the later of two."""
        return (2 * (micros - self.origin_micros) + self.step_micros) // (2 * self.step_micros)

    def step_of(self, micros: int) -> int:
        """The first step at or after a time."""
        return -((self.origin_micros - micros) // self.step_micros)


def iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None).isoformat(sep=" ")


def bins(first: int, step: int) -> Grid:
    """The grid whose steps begin at multiples of the step since the epoch, from the one that holds `first` (microseconds).

    For steps that a day is a multiple of, these are the bins of pandas' resample.
    """
    return Grid(first // step * step, step)
