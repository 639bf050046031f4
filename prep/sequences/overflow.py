"""Refuses what float32 does not hold, as it is or once it is scaled, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hindcast.prep.errors import InputError
from hindcast.prep.scaling.affine import Scaling
from hindcast.prep.scaling.float32 import MOST, OVERFLOW
from hindcast.prep.sequences.work import Work


class BeyondFloat32Error(InputError):
    """A value that is to be stored is not finite in float32: by `scaling`, that of the channels, or None: as it is."""

    def __init__(self, message: str, scaling: Scaling | None) -> None:
        super().__init__(message)
        self.scaling = scaling


def refuse_overflow(work: Work, names: Sequence[str], scalings: Sequence[Scaling] = ()) -> None:
    """Raises BeyondFloat32Error for a value to be stored that is not finite in float32; of several, the largest is named.

    `names` are those of the channels and then of the joined covariates. `scalings` are of the channels and of the covariates:
    with them, values are looked at as they are stored; without, as they are on the grid, where several readings may have been
    added up.
    """
    if not _may_overflow(work.ledger.extremes, scalings):
        return
    largest = work.largest_overflow(scalings)
    if largest is not None:
        raise BeyondFloat32Error(_message(work, names, scalings, *largest), scalings[0] if scalings else None)


def _message(
    work: Work, names: Sequence[str], scalings: Sequence[Scaling], series: str, step: int, column: int, value: float
) -> str:
    where = f"series {series!r}, {work.plan.grid.time(step)}: {names[column]!r} is {value!r}"
    if abs(value) >= OVERFLOW:
        return f"{where}; expected a number up to {MOST}. Mend the readings of that step, or leave them out"
    centre, scale = (
        np.concatenate(numbers, axis=1)[0, column] for numbers in zip(*(s.of([series]) for s in scalings), strict=True)
    )
    return (
        f"{where}, and ({value:g} - {centre:g}) / {scale:g}, as it would be stored, is more than {MOST}. Mend that reading, or "
        "leave it out"
    )


def _may_overflow(extremes: np.ndarray, scalings: Sequence[Scaling]) -> bool:
    """Whether any value might, by the lowest and the highest of all series and the widest of their maps."""
    if not extremes.size:
        return False
    largest = np.where(extremes[0] <= extremes[1], np.abs(extremes).max(axis=0), 0.0)
    if not scalings:
        return bool((largest >= OVERFLOW).any())
    furthest, least = (np.concatenate(numbers) for numbers in zip(*map(_widest, scalings), strict=True))
    with np.errstate(over="ignore"):
        return bool(((largest + furthest) / least >= OVERFLOW).any())


def _widest(scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """(furthest centre, least scale) of each column in any of the maps."""
    centres, scales = [np.array([scaling.overall.centre])], [np.array([scaling.overall.scale])]
    if scaling.each_series:
        centre, scale = scaling.by_series.arrays()
        centres.append(centre)
        scales.append(scale)
    return np.abs(np.concatenate(centres)).max(axis=0), np.concatenate(scales).min(axis=0)
