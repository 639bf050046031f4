"""The true regime of every step, which is known of simulated data alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Truth:
    """`times` (steps,) datetime64 and, by series, `regimes` (steps,): indices of `names`."""

    times: np.ndarray
    regimes: dict[str, np.ndarray]
    names: tuple[str, ...]

    def along(self, series: str, times: np.ndarray) -> np.ndarray:
        """(steps,) the true regime of a series at these of its times."""
        return self.regimes[series][np.searchsorted(self.times, times)]
