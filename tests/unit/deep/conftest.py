"""Windows over readings held in memory, and a dataset that stands in for one on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.scaling.affine import Affine, Scaling

HOUR = 3_600_000_000

Over = Callable[..., Windows]


@pytest.fixture
def over() -> Over:
    """`over(values, context, horizon, observed=None, lead=0)`: all windows of `values` (steps, channels), stored as one row."""
    return windows_over


def windows_over(values: np.ndarray, context: int, horizon: int, observed: np.ndarray | None = None, lead: int = 0) -> Windows:
    steps = len(values)
    count = max(0, steps - context - lead - horizon + 1)
    layout = Layout(context=context, horizon=horizon, lead=lead, stride=1, windows_per_row=max(1, count))
    zero = np.zeros(1, np.int32)
    block = Block(
        values=np.asarray(values, np.float32)[None],
        observed=(np.ones(values.shape, np.uint8) if observed is None else observed.astype(np.uint8))[None],
        covariates=np.zeros((1, steps, 0), np.float32),
        covariates_observed=np.zeros((1, steps, 0), np.uint8),
        labels=np.zeros((1, steps, 0), np.int32),
        attributes=np.zeros((1, 0), np.float32),
        series=np.array(["a"]),
        start=np.array(["2020-01-01"], "datetime64[us]"),
        windows=zero + count,
        own_start=zero,
        own_stop=zero + steps,
    )
    return Windows.over([block], layout, HOUR)


def waves(steps: int, channels: int = 2, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Sines of period 12, a phase a channel, with noise: (steps, channels)."""
    phase = np.arange(channels)
    clean = np.sin(2 * np.pi * (np.arange(steps)[:, None] / 12 + phase / 3))
    return clean + noise * np.random.default_rng(seed).normal(size=(steps, channels))


@dataclass(frozen=True)
class InMemory:
    """What fitting asks of a SequenceDataset."""

    splits: dict[str, Windows]
    channels: tuple[str, ...]
    kind: Literal["real", "count", "category"] = "real"
    location: str = "memory"
    step_micros: int = HOUR
    digest: str = "0" * 64
    covariates: tuple[Column, ...] = ()
    attributes: tuple[Column, ...] = ()
    preparation: None = None

    @property
    def layout(self) -> Layout:
        return self.splits["train"].layout

    @property
    def scaling(self) -> Scaling:
        count = len(self.channels)
        return Scaling(method="none", overall=Affine(centre=(0.0,) * count, scale=(1.0,) * count))

    @property
    def manifest(self) -> Any:
        channels = tuple(Column(name=name, kind=self.kind) for name in self.channels)
        return SimpleNamespace(
            channels=channels, covariates=self.covariates, attributes=self.attributes, count=lambda name, *splits: 0
        )

    def blocks(self, split: str) -> Iterator[Block]:
        return self.splits[split].rows()

    def windows(self, split: str, on_block: object = None) -> Windows:
        return self.splits[split]


@pytest.fixture(scope="session")
def wave_dataset() -> InMemory:
    """Two channels of period 12, noise 0.1; context 24, horizon 12."""
    values = waves(1200)
    splits = {"train": values[:800], "validation": values[764:1000], "test": values[964:]}
    return InMemory({name: windows_over(part, 24, 12) for name, part in splits.items()}, ("left", "right"))
