"""New training windows, each a mixture of two measured ones by an angle.

A window about its last value is cos a · itself + sin a · another. Where values are normal the result is distributed as they are,
whatever the angle, so second moments stay what they were, and there is no end of windows to learn them from: a relative of mixup
(Zhang et al. 2018, arXiv:1710.09412) that leaves the variance alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hindcast.prep.dataset.windows import WindowBatch


def partners(windows: int, count: int, seed: int, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The partner of each of a step's windows, (count,), and the angle, (count,): the same for any number of ranks."""
    rng = np.random.default_rng((seed, epoch, step, 1))
    return rng.integers(windows, size=count), rng.uniform(-np.pi, np.pi, count)


def mixed(batch: WindowBatch, other: WindowBatch, angle: np.ndarray) -> WindowBatch:
    """Each window of `batch` mixed with that of `other` by `angle` (rows,). A value of the mixture is observed where both are.
    Covariates, attributes and names stay those of `batch`."""
    cosine, sine = (turn(angle).astype(np.float32)[:, None] for turn in (np.cos, np.sin))
    last, others = batch.context[:, -1], other.context[:, -1]
    level = last - cosine * last - sine * others

    def turned(array: np.ndarray, partner: np.ndarray) -> np.ndarray:
        # A window as one row: numpy's loops over a few channels would take longer than their sums.
        mixture = cosine * array.reshape(len(array), -1)
        mixture += sine * partner.reshape(len(partner), -1)
        mixture = mixture.reshape(array.shape)
        mixture += level[:, None]
        return mixture

    return replace(
        batch,
        context=turned(batch.context, other.context),
        target=turned(batch.target, other.target),
        context_observed=batch.context_observed & other.context_observed,
        target_observed=batch.target_observed & other.target_observed,
    )
