"""Products of families: the channels of a step are split among families that are independent given the state.

    log p(x | k) = sum over parts of log p(x[channels of the part] | k)

Every verb is that of the parts: statistics are the tuple of theirs, missing readings are what they are to their part,
and all parts are conditioned on as many earlier steps as the one that needs the most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.kernels.lanes import Group, Spans, groups
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.forecasting.distributions.marginals import Components

FAR = 20.0  # logarithms of density below the best state's: further says no more of the state


@dataclass(frozen=True)
class Product(Emission):
    """Families side by side.

    parts       families, all with the same number of states
    columns     of each part, which channels it has, in its own order; each channel belongs to one part
    fixed       parameters of parts that an M-step leaves as they are, by the part's number and the field: "0.means"; those that a
                part itself says are fixed are too
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("parts",)
    parts: tuple[Any, ...]
    columns: tuple[tuple[int, ...], ...]

    @classmethod
    def begin(
        cls,
        readings: np.ndarray,
        seen: np.ndarray | None,
        *,
        parts: Sequence[Callable[[np.ndarray, np.ndarray | None], Emission]],
        columns: Sequence[Sequence[int]],
    ) -> Product:
        """One state. `parts`: how each part begins, of readings (steps, its channels) and which of them were seen."""
        arrays = [np.array(numbers, np.int64) for numbers in columns]
        begun = (part(readings[:, c], None if seen is None else seen[:, c]) for part, c in zip(parts, arrays, strict=True))
        return cls(tuple(begun), tuple(tuple(c.tolist()) for c in arrays))

    @property
    def states(self) -> int:
        return self.parts[0].states

    @property
    def channels(self) -> int:
        return sum(part.channels for part in self.parts)

    @property
    def order(self) -> int:
        return max(part.order for part in self.parts)

    @cached_property
    def centre(self) -> np.ndarray:
        centre = np.zeros(self.channels)
        for part, columns in zip(self.parts, self.columns, strict=True):
            centre[list(columns)] = part.centre
        return centre

    def above_floor(self) -> Product:
        return replace(self, parts=tuple(part.above_floor() for part in self.parts))

    def anchored(self) -> Product:
        return replace(self, parts=tuple(part.anchored() for part in self.parts))

    def released(self) -> Product:
        return replace(self, parts=tuple(part.released() for part in self.parts))

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def repairs(self) -> tuple[str, ...]:
        return tuple(f"part {i}: {note}" for i, part in enumerate(self.parts) for note in part.repairs)

    @property
    def fault(self) -> str | None:
        if not self.parts or len(self.parts) != len(self.columns):
            return f"expected columns for each part, and at least one, found {len(self.parts)} parts and {len(self.columns)}"
        for i, (part, columns) in enumerate(zip(self.parts, self.columns, strict=True)):
            if part.fault:
                return f"part {i}: {part.fault}"
            if part.states != self.states:
                return f"part {i}: found {part.states} states, expected {self.states} as in part 0"
            if part.channels != len(columns):
                return f"part {i}: found {len(columns)} columns for its {part.channels} channels"
        if sorted(c for columns in self.columns for c in columns) != list(range(self.channels)):
            return f"columns: expected each of 0 … {self.channels - 1} once, found {self.columns}"
        names = {"parts"} | {f"{i}.{name}" for i, part in enumerate(self.parts) for name in part.PARAMETERS}
        unknown = sorted(self.fixed - names)
        return f"fixed: found {', '.join(unknown)}, expected some of {', '.join(sorted(names))}" if unknown else None

    @property
    def log_prior(self) -> float:
        return float(sum(part.log_prior for part in self.parts))

    @property
    def landmarks(self) -> np.ndarray:
        return np.concatenate([np.asarray(part.landmarks).reshape(self.states, -1) for part in self.parts], axis=1)

    def first_states(self, spans: Spans, states: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Of each part's own beginning, and of clusters of what all parts then say, the one whose mixture is the likeliest.

        A part may not tell the states apart at all, or only together with another.
        """
        spans = spans.after_history(self.order)
        shares = [_columns_of(spans, columns) for columns in self.columns]
        labels = [part.first_states(share, states, rng) for part, share in zip(self.parts, shares, strict=True)]
        splits = [self._split(spans, labelling, states, rng) for labelling in labels]
        densities = [_densities(split.parts[i], shares[i]) for i, split in enumerate(splits)]
        densities = [np.maximum(density - density.max(axis=1, keepdims=True), -FAR) for density in densities]
        joint = clusters(np.concatenate(densities, axis=1), states, rng)
        labels.append(np.split(joint, np.cumsum(spans.lengths)[:-1]))
        splits.append(self._split(spans, labels[-1], states, rng))
        return labels[
            int(np.argmax([_mixture(split, spans, labelling) for split, labelling in zip(splits, labels, strict=True)]))
        ]

    def separated(self, spans: Spans, labels: Sequence[np.ndarray], rng: np.random.Generator) -> Self:
        shares = [_columns_of(spans, columns) for columns in self.columns]
        return replace(
            self, parts=tuple(part.separated(share, labels, rng) for part, share in zip(self.parts, shares, strict=True))
        )

    def log_density(self, group: Group, out: np.ndarray) -> None:
        density = np.empty_like(out) if len(self.parts) > 1 else out
        for i, part in enumerate(self.parts):
            part.log_density(self._share(group, i), density if i else out)
            if i:
                out += density

    def no_sums(self) -> tuple[Any, ...]:
        return tuple(part.no_sums() for part in self.parts)

    def add_sums(self, group: Group, gamma: np.ndarray, sums: tuple[Any, ...]) -> None:
        for i, part in enumerate(self.parts):
            part.add_sums(self._share(group, i), gamma, sums[i])

    def statistics(self, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.statistics(part_sums) for part, part_sums in zip(self.parts, sums, strict=True))

    def m_step(self, statistics: tuple[Any, ...]) -> Product:
        parts = []
        for i, (part, part_statistics) in enumerate(zip(self.parts, statistics, strict=True)):
            here = {name for name in part.PARAMETERS if f"{i}.{name}" in self.fixed}
            parts.append(replace(replace(part, fixed=part.fixed | here).m_step(part_statistics), fixed=part.fixed))
        return self.moved(parts=tuple(parts))

    def marginals(self) -> tuple[np.ndarray, tuple[Components, ...]]:
        """Components are the combinations of those of the parts that come together in any state."""
        weights, combined = np.ones((self.states, 1)), np.zeros((1, 0), np.int64)
        of_parts = [part.marginals() for part in self.parts]
        for of_part, _ in of_parts:
            joint = weights[:, :, None] * of_part[:, None, :]
            first, second = np.nonzero(joint.any(axis=0))
            weights, combined = joint[:, first, second], np.column_stack([combined[first], second])
        alone: dict[int, Components] = {}
        for i, (_, kinds) in enumerate(of_parts):
            single = [kind.subset(slice(c, c + 1), combined[:, i]) for kind in kinds for c in range(kind.channels)]
            alone.update(zip(self.columns[i], single, strict=True))
        return weights, tuple(alone[column] for column in sorted(alone))

    def sample(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = np.empty((len(states), self.channels))
        for part, columns in zip(self.parts, self.columns, strict=True):
            out[:, list(columns)] = part.sample(states, rng)
        return out

    def permuted(self, order: np.ndarray) -> Self:
        return replace(self, parts=tuple(part.permuted(order) for part in self.parts))

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by the part's number and the names of their fields: "0.means"."""
        return {f"{i}.{name}": array for i, part in enumerate(self.parts) for name, array in part.arrays().items()}

    def _share(self, group: Group, i: int) -> Group:
        """What a part sees of a group: its channels, with no more history than it needs."""
        late, columns = self.order - self.parts[i].order, self.columns[i]
        observed = None if group.observed is None else _picked(group.observed[late:], columns, axis=1)
        return replace(group, values=_picked(group.values[late:], columns, axis=1), observed=observed)

    def _split(self, spans: Spans, labels: Sequence[np.ndarray], states: int, rng: np.random.Generator) -> Product:
        """So many states, each fitted to the steps that have its label."""
        many = self.permuted(np.zeros(states, np.int64)).separated(spans, labels, rng)
        sums = many.no_sums()
        for group in groups(spans, self.order, self.centre):
            gamma = np.zeros((group.steps, states, LANES))
            for lane in np.flatnonzero(group.members >= 0):
                here = labels[group.members[lane]]
                gamma[np.arange(len(here)), here, lane] = 1.0
            many.add_sums(group, gamma, sums)
        return many.m_step(many.statistics(sums))


def _picked(array: np.ndarray, columns: tuple[int, ...], axis: int) -> np.ndarray:
    """Some columns along an axis; neighbours are not copied."""
    first, stop = columns[0], columns[0] + len(columns)
    if columns == tuple(range(first, stop)):
        return array[(slice(None),) * axis + (slice(first, stop),)]
    return array.take(columns, axis=axis)


def _columns_of(spans: Spans, columns: tuple[int, ...]) -> Spans:
    observed = None if spans.observed is None else _picked(spans.observed, columns, axis=2)
    return replace(spans, values=_picked(spans.values, columns, axis=2), observed=observed)


def _densities(emission: Emission, spans: Spans) -> np.ndarray:
    """(steps, states) of all sequences, one after the other."""
    out = np.empty((int(spans.lengths.sum()), emission.states))
    starts = np.cumsum(spans.lengths) - spans.lengths
    for group in groups(spans, emission.order, emission.centre):
        density = np.empty((group.steps, emission.states, LANES))
        emission.log_density(group, density)
        for sequence, of_sequence in group.each(density):
            out[starts[sequence] : starts[sequence] + len(of_sequence)] = of_sequence
    return out


def _mixture(emission: Emission, spans: Spans, labels: Sequence[np.ndarray]) -> float:
    """The log-likelihood of steps taken one by one, of states as frequent as their labels."""
    visits = np.bincount(np.concatenate(labels), minlength=emission.states)
    with np.errstate(divide="ignore"):
        return float(np.logaddexp.reduce(_densities(emission, spans) + np.log(visits / visits.sum()), axis=1).sum())
