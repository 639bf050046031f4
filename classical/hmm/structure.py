"""The possible starts and transitions of a chain. A probability that begins as 0 stays 0 in every EM iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Structure:
    """start (states,) and transition (states, states): True where possible; `in_order`: states follow each other in time."""

    start: np.ndarray
    transition: np.ndarray
    in_order: bool = False

    @classmethod
    def of(cls, description: Any, states: int) -> Structure:
        """The structure of a `description`:

        "ergodic"       everything is possible
        "left-right"    begins in state 0, and never goes back (Bakis; Rabiner 1989, equations 45-47)
        an array        (states, states): possible where not 0

        Raises InputError for anything else, and for a state that can go nowhere.
        """
        if isinstance(description, str):
            if description == "left-right":
                return cls(np.arange(states) == 0, np.triu(np.ones((states, states), bool)), in_order=True)
            if description != "ergodic":
                raise InputError(
                    f"structure: found {description!r}, expected 'ergodic', 'left-right' or an array of what is possible"
                )
            return cls(np.ones(states, bool), np.ones((states, states), bool))
        possible = np.asarray(description) != 0
        if possible.shape != (states, states):
            raise InputError(f"structure: found shape {possible.shape}, expected {(states, states)}")
        stuck = np.flatnonzero(~possible.any(axis=1))
        if len(stuck):
            raise InputError(f"structure: state {stuck[0]} can go nowhere: let it stay, or go on")
        return cls(np.ones(states, bool), possible)

    def chain(self, visits: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start (states,) and transition (states, states) from counts, one of each added so that nothing possible begins as 0."""
        start, transition = np.where(self.start, visits + 1.0, 0.0), np.where(self.transition, moves + 1.0, 0.0)
        return start / start.sum(), transition / transition.sum(axis=1, keepdims=True)

    def stretches(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Of each sequence, its states where each gets an equal stretch of the time (Rabiner 1989, section V.C)."""
        states = len(self.start)
        return [np.arange(length) * states // max(1, length) for length in lengths]
