"""The true regimes of simulated data, held against the states that an HMM found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

from classical.hmm.model import HiddenMarkov
from classical.hmm.states import decode_stretch
from forecasting.report.contents import Stretch
from prep.dataset import SequenceDataset
from prep.errors import InputError


@dataclass(frozen=True)
class Truth:
    """`times` (steps,) datetime64 and, by series, `regimes` (steps,): indices of `names`."""

    times: np.ndarray
    regimes: dict[str, np.ndarray]
    names: tuple[str, ...]

    def along(self, stretch: Stretch) -> np.ndarray:
        """(steps,) the true regime at every step of a stretch."""
        return self.regimes[stretch.series][np.searchsorted(self.times, stretch.times)]


def with_truth(stretch: Stretch, model: HiddenMarkov[Any], dataset: SequenceDataset, truth: Truth) -> Stretch:
    """The stretch with the true regime beside it, and how often state and regime agree over every series' longest test stretch.

    States have no names of their own: the one-to-one matching that agrees most often is taken.
    """
    together = np.zeros((model.states, len(truth.names)), np.int64)
    for series in truth.regimes:
        try:
            other = decode_stretch(model, dataset, series=series, steps=len(truth.times))
        except InputError:  # a series may be too short, or missing from the test split
            continue
        np.add.at(together, (other.state, truth.along(other)), 1)
    state_of = best_matching(together)
    agreeing = sum(together[state, regime] for regime, state in enumerate(state_of) if state >= 0)
    return replace(stretch, truth=state_of[truth.along(stretch)], agreement=float(agreeing / max(together.sum(), 1)))


def best_matching(together: np.ndarray) -> np.ndarray:
    """(regimes,): the state matched with each regime, -1 for none. `together` (states, regimes) counts steps with both."""
    states, regimes = together.shape
    padded = [*range(states), *[-1] * max(0, regimes - states)]
    best = max(permutations(padded, regimes), key=lambda choice: sum(together[s, r] for r, s in enumerate(choice) if s >= 0))
    return np.array(best)
