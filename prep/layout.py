"""Where rows and windows lie on a stretch of readings: pure arithmetic, shared by the writer and the reader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict


class Layout(BaseModel):
    """The shape of windows and stored rows, in steps.

    A window is `context` steps and the `horizon` steps after them. A row holds `windows_per_row` windows at offsets
    0, stride, 2·stride …, so consecutive rows start `advance` steps apart and overlap by `length − advance`.
    """

    model_config = ConfigDict(frozen=True)
    context: int
    horizon: int
    stride: int
    windows_per_row: int

    @property
    def window(self) -> int:
        return self.context + self.horizon

    @property
    def advance(self) -> int:
        return self.windows_per_row * self.stride

    @property
    def length(self) -> int:
        """Steps in a row. Where windows lie further apart than they are long, a row also holds the steps between them."""
        return max(self.window, self.stride) + (self.windows_per_row - 1) * self.stride

    def windows_in(self, steps: int) -> int:
        """How many windows start in a stretch of this many steps."""
        return max(0, (steps - self.window) // self.stride + 1)

    def rows_in(self, steps: int) -> int:
        """How many rows cover a stretch of this many steps: every step is in one at least."""
        return 1 + max(0, -(-(steps - self.length) // self.advance))


@dataclass(frozen=True)
class Rows:
    """The rows of one stretch: `start` within it, `windows` that start in each, and the steps [own_start, own_stop) each owns."""

    start: np.ndarray
    windows: np.ndarray
    own_start: np.ndarray
    own_stop: np.ndarray


def rows_of(layout: Layout, steps: int, look_back: int) -> Rows:
    """The rows of a stretch of `steps`, of which the first `look_back` are context owned by the split before.

    Every step from `look_back` on is owned by exactly one row: the last that has all the history a row can give it.
    """
    row = np.arange(layout.rows_in(steps))
    start = row * layout.advance
    return Rows(
        start=start,
        windows=np.clip(layout.windows_in(steps) - row * layout.windows_per_row, 0, layout.windows_per_row),
        own_start=np.where(row == 0, look_back, layout.length - layout.advance),
        own_stop=np.minimum(layout.length, steps - start),
    )


def best_windows_per_row(layout: Layout, stretches: dict[int, int], most: int = 4096) -> int:
    """The packing that stores the fewest steps, padding included, for stretches given as {steps: how many}.

    Overlap shrinks as rows grow, and padding grows: short stretches want short rows.
    """

    def stored(windows_per_row: int) -> int:
        candidate = layout.model_copy(update={"windows_per_row": windows_per_row})
        return sum(count * candidate.rows_in(steps) * candidate.length for steps, count in stretches.items())

    longest = max((layout.windows_in(steps) for steps in stretches), default=1)
    candidates = {max(1, round(min(most, longest) / divisor)) for divisor in np.geomspace(1, min(most, max(longest, 1)), 60)}
    return min(sorted(candidates), key=stored)
