"""The true regimes of simulated data, held against the states that an HMM found."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.hmm.states.states import decode_stretch
from hindcast.forecasting.report.contents import Stretch
from hindcast.forecasting.truth import Truth
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError


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
        np.add.at(together, (other.state, truth.along(other.series, other.times)), 1)
    state_of = best_matching(together)
    agreeing = sum(together[state, regime] for regime, state in enumerate(state_of) if state >= 0)
    return replace(
        stretch, truth=state_of[truth.along(stretch.series, stretch.times)], agreement=float(agreeing / max(together.sum(), 1))
    )


def best_matching(together: np.ndarray) -> np.ndarray:
    """(regimes,): the state matched with each regime, -1 for none. `together` (states, regimes) counts steps with both."""
    states, regimes = together.shape
    padded = [*range(states), *[-1] * max(0, regimes - states)]
    best = max(permutations(padded, regimes), key=lambda choice: sum(together[s, r] for r, s in enumerate(choice) if s >= 0))
    return np.array(best)
