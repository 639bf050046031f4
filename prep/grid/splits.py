"""Where training, validation and test begin and end: borders in time that all series share, or whole series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from hindcast.prep.errors import InputError
from hindcast.prep.grid.grid import Grid
from hindcast.prep.spec import SplitSpec, duration_micros

SPLITS = ("train", "validation", "test")


class Border(BaseModel):
    """A split's steps on the grid, [start, stop), and the times they stand for (ISO 8601, UTC)."""

    model_config = ConfigDict(frozen=True)
    start: int
    stop: int
    start_time: str
    stop_time: str


class SeriesSplit(BaseModel):
    """Which split a whole series belongs to: the one it is `named` in, or the first whose bound its draw lies `below`."""

    model_config = ConfigDict(frozen=True)
    seed: int
    named: dict[str, str] = {}
    below: dict[str, float] = {}

    def of(self, series: str) -> str | None:
        if not self.below:
            return self.named.get(series)
        drawn = draw(self.seed, series)
        return next((split for split, bound in self.below.items() if drawn < bound), None)


def borders(spec: SplitSpec, grid: Grid, steps: int, origin: int = 0) -> dict[str, Border]:
    """Borders of a span of `steps`, for one of the spec's origins: 0 is the last of them, and each before lies `every` earlier.

    Raises InputError where a split ends before it begins or after the readings do.
    """
    if spec.by == "series":
        return {split: border(grid, 0, steps) for split in SPLITS}
    stops = _stops(spec, grid, steps)
    back = origin * _every(spec, grid, stops)
    embargo = _steps_of(spec.embargo, grid)
    by_split: dict[str, Border] = {}
    start = before = 0
    for split, end in stops.items():
        stop = end - back
        if stop == before:  # a split that was not asked for
            start = stop
        if stop < start:
            moved = f" with the borders moved {back:,} steps back for origin {origin}" if back else ""
            raise InputError(f"split.{split}: it would end at {grid.time(stop)}, before it begins at {grid.time(start)}{moved}")
        by_split[split] = border(grid, start, stop)
        before, start = stop, stop + embargo
    return by_split


def border(grid: Grid, start: int, stop: int) -> Border:
    return Border(start=start, stop=stop, start_time=grid.time(start), stop_time=grid.time(stop))


def assign(spec: SplitSpec, series: Iterable[str]) -> SeriesSplit:
    """Which split each series belongs to. Shares are of the series in an order drawn by the seed, rounded from their sums.

    Raises InputError where a series that was named is not there.
    """
    if isinstance(spec.train, tuple):
        named = {name: split for split in SPLITS for name in getattr(spec, split)}
        absent = sorted({*named} - {*series})
        if absent:
            raise InputError(f"split: there is no series {absent[0]!r} ({len(absent)} of those named are not among the readings)")
        return SeriesSplit(seed=spec.seed, named=named)
    drawn = sorted(draw(spec.seed, name) for name in series)
    below, share = {}, 0.0
    for split in SPLITS:
        share += getattr(spec, split)
        taken = round(share * len(drawn))
        # Halfway between two draws, so that a series which comes later is drawn into a split by the same rule.
        below[split] = (
            1.0 if share > 1 - 1e-9 else (drawn[taken - 1] + drawn[taken]) / 2 if 0 < taken < len(drawn) else float(taken > 0)
        )
    return SeriesSplit(seed=spec.seed, below=below)


def draw(seed: int, series: str) -> float:
    """A number in [0, 1) that depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {series}".encode()).digest()[:6], "big") / 2**48


def _stops(spec: SplitSpec, grid: Grid, steps: int) -> dict[str, int]:
    """Where each split ends, the embargo after a border not counted to any."""
    stops: dict[str, int] = {}
    start = base = 0
    share = 0.0
    for split in SPLITS:
        value: Any = getattr(spec, split)
        if isinstance(value, float):
            # Successive shares are rounded from their sum, so that shares which make up the whole leave no step over.
            share += value
            stop = base + round(share * steps)
        else:
            stop = base = start + value if isinstance(value, int) else _step_at(value, grid)
            share = 0.0
        if stop > steps:
            raise InputError(
                f"split.{split}: {value!r} would end at {grid.time(stop)}, and the readings end at {grid.time(steps - 1)} "
                f"({steps:,} steps in all)"
            )
        stops[split] = start = stop
    return stops


def _every(spec: SplitSpec, grid: Grid, stops: dict[str, int]) -> int:
    if spec.every is not None:
        return _steps_of(spec.every, grid)
    return stops["test"] - stops["validation"]


def _steps_of(extent: int | str, grid: Grid) -> int:
    """Steps, as they are or in a duration, rounded up."""
    return extent if isinstance(extent, int) else -(-duration_micros(extent) // grid.step_micros)


def _step_at(time: str, grid: Grid) -> int:
    moment = datetime.fromisoformat(time)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return grid.step_of(round(moment.timestamp() * 1e6))
