"""k-means++: the clusters of readings that states begin as (Arthur and Vassilvitskii 2007)."""

from __future__ import annotations

import numpy as np

ROUNDS = 50


def clusters(readings: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(steps,) which of `count` clusters each of the `readings` (steps, channels) is in; channels weigh the same.

    Repeats exactly for one state of `rng`.
    """
    deviation = readings.std(axis=0)
    scaled = readings / np.where(deviation > 0, deviation, 1.0)
    centres = scaled[[rng.integers(len(scaled))]]
    while len(centres) < count:
        distance = _squared_distances(scaled, centres).min(axis=1)
        total = distance.sum()
        number = rng.choice(len(scaled), p=distance / total) if total > 0 else rng.integers(len(scaled))
        centres = np.concatenate([centres, scaled[[number]]])
    for _ in range(ROUNDS):
        label = _squared_distances(scaled, centres).argmin(axis=1)
        moved = np.stack([scaled[label == k].mean(axis=0) if (label == k).any() else centres[k] for k in range(count)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return _squared_distances(scaled, centres).argmin(axis=1)


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.stack([((points - centre) ** 2).sum(axis=1, dtype=np.float64) for centre in centres], axis=1)
