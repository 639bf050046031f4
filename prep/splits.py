"""Where training, validation and test begin and end: one set of borders in time for every series."""

from __future__ import annotations

from datetime import UTC, datetime

from prep.dataset import SPLITS, Border
from prep.errors import InputError
from prep.grid import Grid
from prep.spec import SplitSpec


def borders(spec: SplitSpec, grid: Grid, steps: int) -> dict[str, Border]:
    """Borders of a span of `steps`. Raises InputError where a split ends before it begins or after the readings do."""
    found: dict[str, Border] = {}
    start = base = 0
    share = 0.0
    for split in SPLITS:
        value = getattr(spec, split)
        if isinstance(value, float):
            # Successive shares are rounded from their sum, so that shares which make up the whole leave no step over.
            share += value
            stop = base + round(share * steps)
        else:
            stop = base = start + value if isinstance(value, int) else _step_at(value, grid)
            share = 0.0
        if stop < start:
            raise InputError(f"split.{split}: it would end at {grid.time(stop)}, before it begins at {grid.time(start)}")
        if stop > steps:
            raise InputError(
                f"split.{split}: {value!r} would end at {grid.time(stop)}, and the readings end at {grid.time(steps - 1)} "
                f"({steps:,} steps in all)"
            )
        found[split] = Border(start=start, stop=stop, start_time=grid.time(start), stop_time=grid.time(stop))
        start = stop
    return found


def _step_at(time: str, grid: Grid) -> int:
    moment = datetime.fromisoformat(time)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return grid.step_of(round(moment.timestamp() * 1e6))
