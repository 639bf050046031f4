"""Clusters of readings of which some channels are missing."""

from __future__ import annotations

import numpy as np

from hindcast.classical.hmm.emissions.shared.clusters import clusters
from hindcast.classical.hmm.kernels.lanes import Spans, stacked

ENOUGH = 20  # complete steps a cluster, to find the clusters of them alone


def readings_of(spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """The steps of all sequences, one after the other, float64, and whether each channel was observed: (steps, channels)."""
    readings = stacked(spans.values, spans).astype(np.float64)
    return readings, np.ones(readings.shape, bool) if spans.observed is None else stacked(spans.observed, spans) > 0


def filled(readings: np.ndarray, seen: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The readings, and the mean of its channel for what was not observed; `otherwise` (channels,) where nothing of it was."""
    count = seen.sum(axis=0)
    mean = np.where(seen, readings, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(seen, readings, np.where(count > 0, mean, otherwise))


def incomplete_clusters(readings: np.ndarray, seen: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """As `clusters`. Steps that lack channels join the nearest of the clusters of complete ones, by what was observed.

    Where too few are complete, means stand for what is missing.
    """
    complete = seen.all(axis=1)
    if complete.all() or complete.sum() < ENOUGH * count:
        return clusters(filled(readings, seen, np.zeros(readings.shape[1])), count, rng)
    cluster = clusters(readings[complete], count, rng)
    deviation = readings[complete].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    distance = np.full((len(readings), count), np.inf)
    for k in np.unique(cluster):
        away = (readings - readings[complete][cluster == k].mean(axis=0)) / scale
        distance[:, k] = (np.where(seen, away, 0.0) ** 2).sum(axis=1)
    labels = distance.argmin(axis=1)
    labels[complete] = cluster
    return labels
