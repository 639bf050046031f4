"""What a family of emissions has to do, and the parameters that it holds: `Emission`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from hindcast.classical.hmm.kernels.lanes import Group, Spans
from hindcast.forecasting.distributions.marginals import Components
from hindcast.prep.errors import InputError

EMPTY = 1e-200  # an expected count under which nothing is estimated: sums of it lose digits


@dataclass(frozen=True)
class Emission(ABC):
    """Immutable parameters of one family for all states.

    fixed       parameters that an M-step leaves as they are, by the names of their fields
    origin      (channels,): what statistics are about, where those of several models shall add up; None for what is best now
    PARAMETERS  the names of all fields that an M-step estimates; the first dimension of each is the states
    """

    fixed: frozenset[str] = field(default=frozenset(), kw_only=True)
    origin: np.ndarray | None = field(default=None, kw_only=True)
    PARAMETERS: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def states(self) -> int: ...

    @property
    @abstractmethod
    def channels(self) -> int: ...

    @property
    def order(self) -> int:
        """How many earlier steps a density is conditioned on."""
        return 0

    @property
    def centre(self) -> np.ndarray:
        """(channels,): what `Group.values` are less, so that sums of squares do not cancel."""
        return self.middle if self.origin is None else self.origin

    @property
    def middle(self) -> np.ndarray:
        """(channels,): where the readings lie, as the parameters have it."""
        return np.zeros(self.channels)

    @property
    @abstractmethod
    def parameters(self) -> int:
        """How many numbers are free."""

    @property
    def repairs(self) -> tuple[str, ...]:
        """What the last M-step did beyond maximum likelihood, in words."""
        return ()

    @property
    @abstractmethod
    def fault(self) -> str | None:
        """What is wrong with the parameters, in words; None where nothing is."""

    @property
    def log_prior(self) -> float:
        """Logarithm of the parameters' prior density, up to a constant: what the M-step maximises beside the likelihood."""
        return 0.0

    @property
    @abstractmethod
    def landmarks(self) -> np.ndarray:
        """(states, numbers): what states are told apart by, and put in order by, the first number first."""

    @abstractmethod
    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Of each sequence, which of so many states its steps begin in. Asked of one state that was fitted to all of them."""

    def separated(self, spans: Spans, labels: Sequence[np.ndarray], rng: np.random.Generator) -> Self:
        """With what no M-step could tell apart, the components of a state, begun as different. Asked of equal states before the
        first M-step, with the states that each sequence's steps begin in."""
        return self

    @abstractmethod
    def log_density(self, group: Group, out: np.ndarray) -> None:
        """Writes log p(reading | state, history) into `out` (steps, states, LANES); any finite number after a lane's end."""

    def relative_density(self, group: Group, out: np.ndarray, peaks: np.ndarray) -> bool:
        """Whether it wrote, in place of logarithms, densities relative to the likeliest state's into `out`, and the logarithm of
        that state's into `peaks` (steps, LANES): a family that looks densities up spares the lattice the exponentials."""
        return False

    @abstractmethod
    def no_sums(self) -> Any:
        """Zeros, for `add_sums` to add to and `statistics` to make statistics of."""

    @abstractmethod
    def add_sums(self, group: Group, gamma: np.ndarray, sums: Any) -> None:
        """Adds what a group says, weighted by `gamma` (steps, states, LANES), which is 0 after a lane's end."""

    @abstractmethod
    def statistics(self, sums: Any) -> Any:
        """Additive statistics."""

    @abstractmethod
    def m_step(self, statistics: Any) -> Self:
        """The likeliest parameters, or the most probable where there is a prior. A state without weight keeps those it has."""

    @abstractmethod
    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Readings (steps, channels), one drawn from each of the `states` (steps,)."""

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        """What a state says of each channel by itself, as a mixture of N components that all states share.

        The weights (states, N) of the components in each state, and the components, of some channels a kind, in the order of the
        channels. Of a family that is no mixture in a state, they are the identity and a component a state. Raises InputError for
        a family with memory: what that says depends on the readings before.
        """
        raise InputError(
            f"{type(self).__name__}: what a state says depends on the readings before, and has no distribution alone"
        )

    def permuted(self, order: np.ndarray) -> Self:
        """The same family with state `order[k]` called k; a state may be taken several times."""
        return replace(self, **{name: getattr(self, name)[order] for name in self.PARAMETERS})

    def above_floor(self) -> Self:
        """With no variance below the floor, if the family has one: what an M-step makes of it is then never less likely."""
        return self

    def anchored(self) -> Self:
        """The same, and all that M-steps make of it, with statistics about where they are about now."""
        return replace(self, origin=self.centre)

    def released(self) -> Self:
        """The same, not anchored."""
        return replace(self, origin=None)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by the names of their fields."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    def moved(self, **values: Any) -> Self:
        """With new values, but for the parameters that are fixed."""
        return replace(self, **{name: value for name, value in values.items() if name not in self.fixed})
