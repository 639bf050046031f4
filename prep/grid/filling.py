"""How missing values are filled: by the value before them, by a line between both sides, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hindcast.prep.spec import GridSpec


def fill(values: np.ndarray, how: tuple[str, ...], most_apart: int) -> tuple[np.ndarray, np.ndarray]:
    """(filled, usable): `values` (steps, channels) with holes between known values closed, and the steps at which none is left.

    `how` says for each channel whether a hole takes the value before it ("previous"), a line between its two sides ("linear"), or
    stays ("none"). A hole is closed where the known values on either side lie at most `most_apart` steps apart; nothing is
    extrapolated.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, np.ones(len(values), bool)
    channel, step = np.nonzero(missing.T)
    begins = (np.diff(channel, prepend=-1) != 0) | (np.diff(step, prepend=-1) != 1)
    hole, first = np.cumsum(begins) - 1, np.flatnonzero(begins)
    before, after = step[first] - 1, step[np.append(first[1:], len(step)) - 1] + 1
    rules = np.array(how)
    closed = (before >= 0) & (after < len(values)) & (after - before <= most_apart) & (rules[channel[first]] != "none")
    cells = np.flatnonzero(closed[hole])
    channel, step, before, after = channel[cells], step[cells], before[hole[cells]], after[hole[cells]]
    left, right = values[before, channel], values[after, channel]
    between = left + (right - left) * (step - before) / (after - before)
    filled = values.copy()
    filled[step, channel] = np.where((rules == "linear")[channel], between, left)
    missing[step, channel] = False
    return filled, ~missing.any(axis=1)


def fills_of(spec: GridSpec, kinds: Sequence[str]) -> tuple[str, ...]:
    """How holes of each channel are closed: no line is drawn between counts, or codes."""
    return tuple("previous" if kind != "real" and spec.fill == "linear" else spec.fill for kind in kinds)
