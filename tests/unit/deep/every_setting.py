"""Trains a step of every setting in this process, and says which before it begins: what kills a process raises nothing.

python -m tests.unit.deep.every_setting

Prints a line of JSON for each of GROUPS, and after it the kinds of operations that its compiled step is made of.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.collective import OneProcess
from hindcast.deep.training.learner import Learner, Step
from hindcast.deep.training.training import new_learner
from hindcast.deep.ways.local import train_on
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.readings.vocabulary import Vocabulary
from tests.unit.deep.conftest import HOUR, InMemory, waves, windows_over

ALWAYS = {"units": 8, "batch": 32, "epochs": 1}
# Settings that go together, so that few networks have to be traced.
GROUPS: tuple[dict[str, Any], ...] = (
    {},
    {
        "loss": "mae", "spectrum": 0.5, "mixing": True, "covariates": False, "members": 2, "line": 0.5, "ridge": 0.1,
        "embedding": "dense", "segment": 6, "channel_embedding": True, "clip_norm": 1.0, "weight_decay": 0.01, "seed": 7,
    },
    {
        "loss": "huber", "delta": 0.5, "spectrum": 1.0, "skip": "linear", "series_embedding": 3, "mask": True, "dropout": 0.3,
        "schedule": "constant", "learning_rate": 1e-2, "warmup": 0.5, "precision": "mixed",
    },
    {"network": "plain", "layers": 2, "head": "gaussian", "normalise": "mean", "averaging": 0.0, "schedule": "halving"},
    {"network": "encoder-decoder", "layers": 2, "head": "student", "normalise": "none", "precision": "mixed", "mask": True},
    {"head": "quantiles", "levels": (0.1, 0.5, 0.9), "batch_of": "rank", "precision": "float32"},
    {"patience": 1, "checkpoint_steps": 1, "max_seconds": 600.0, "silence_seconds": 600.0, "averaging": 1.0},
)  # fmt: skip


def dataset() -> InMemory:
    """Two channels with holes, a covariate and a category of which one is known in advance, and attributes of both kinds."""
    word = Vocabulary(by_split={"train": ("calm", "storm")})
    beside = (Column(name="wind", known=True), Column(name="sky", kind="category", vocabulary=word))
    values, splits = waves(120), {"train": slice(0, 80), "validation": slice(60, 110), "test": slice(80, 120)}
    windows = {split: _with_companions(windows_over(values[some], 24, 12)) for split, some in splits.items()}
    return InMemory(windows, ("left", "right"), covariates=beside, attributes=beside)


def _with_companions(windows: Windows) -> Windows:
    (block,), rng = windows.blocks, np.random.default_rng(0)
    shape = (*block.values.shape[:2], 2)
    numbers = np.stack([rng.normal(size=shape[:2]), rng.integers(0, 2, shape[:2])], axis=-1).astype(np.float32)
    observed = (rng.random(block.values.shape) < 0.9).astype(np.uint8)
    there = (rng.random(shape) < 0.9).astype(np.uint8)
    block = replace(block, observed=observed, covariates=numbers, covariates_observed=there, attributes=numbers[:, 0])
    return Windows.over([block], windows.layout, HOUR, known=(0,))


def operations(step: Any, batch: Any) -> set[str]:
    """Of a compiled step that has taken this batch, the functions that it calls included."""
    graph = step.get_concrete_function(*batch).graph.as_graph_def()
    nodes = chain(graph.node, *(function.node_def for function in graph.library.function))
    return {node.op for node in nodes}


def main() -> None:
    taken: list[tuple[Any, Any]] = []

    def noting(*arguments: Any) -> Learner:
        learner = new_learner(*arguments)
        step = learner.train_step

        def noted(*batch: Any) -> Step:
            taken.append((step, batch))
            return step(*batch)

        learner.train_step = noted
        return learner

    for group in GROUPS:
        print(json.dumps(group), flush=True)
        train_on(dataset(), LstmSettings(**ALWAYS | group), OneProcess(), make=noting)
        print(*sorted(operations(*taken[-1])), flush=True)


if __name__ == "__main__":
    main()
