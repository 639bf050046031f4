"""Gaps: how far apart readings may be and still belong together, and the stretches between gaps."""

from __future__ import annotations

import numpy as np

from hindcast.prep.grid.grid import Grid
from hindcast.prep.spec import GridSpec, duration_micros


def most_steps_apart(grid: Grid, spec: GridSpec) -> int:
    """How many steps two successive readings of one stretch may lie apart."""
    if spec.fill == "none":
        return 1
    return max(1, duration_micros(spec.max_gap) // grid.step_micros if spec.max_gap else 3)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
