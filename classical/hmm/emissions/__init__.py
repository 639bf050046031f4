"""Emission families: what a hidden state says about a reading. One family a file, all with the verbs of `Emission`."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np

from classical.hmm.lanes import Group, Spans

EMPTY = 1e-200  # an expected count under which nothing is estimated: sums of it lose digits


class Emission(Protocol):
    """Immutable parameters of one family for all states.

    order     how many earlier steps a density is conditioned on
    centre    (channels,): what `Group.values` are less, so that sums of squares do not cancel
    repairs   what the last M-step did beyond maximum likelihood, in words
    fault     what is wrong with the parameters, in words; None where nothing is
    """

    @property
    def states(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def order(self) -> int: ...

    @property
    def centre(self) -> np.ndarray: ...

    @property
    def parameters(self) -> int: ...

    @property
    def repairs(self) -> tuple[str, ...]: ...

    @property
    def fault(self) -> str | None: ...

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Of each sequence, which of so many states its steps begin in. Asked of one state that was fitted to all of them."""
        ...

    def log_density(self, group: Group, out: np.ndarray) -> None:
        """Writes log p(reading | state, history) into `out` (steps, states, LANES); any finite number after a lane's end."""
        ...

    def no_sums(self) -> np.ndarray:
        """Zeros, for `add_sums` to add to and `statistics` to make statistics of."""
        ...

    def add_sums(self, group: Group, gamma: np.ndarray, sums: np.ndarray) -> None:
        """Adds what a group says, weighted by `gamma` (steps, states, LANES), which is 0 after a lane's end."""
        ...

    def statistics(self, sums: np.ndarray) -> Any:
        """Additive statistics."""
        ...

    def m_step(self, statistics: Any) -> Self:
        """The likeliest parameters. A state without weight keeps those it has."""
        ...

    def permuted(self, order: np.ndarray) -> Self: ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to make the same emission again: keyword arguments of its class."""
        ...
