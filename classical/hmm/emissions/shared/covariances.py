"""Covariances of Gaussian states, of four kinds: what they stand for, the likeliest ones, and what can be wrong with them.

spherical   (states,)                       one variance a state, the same for every channel
diag        (states, channels)              one variance a state and channel
full        (states, channels, channels)    all covariances of each state
tied        (channels, channels)            one covariance that all states share; where `ties` (states,) say which of several each
                                            state has, (groups, channels, channels)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

Covariance = Literal["spherical", "diag", "full", "tied"]
KINDS: tuple[str, ...] = get_args(Covariance)
RESOLUTION = 1e-13  # of a matrix's largest eigenvalue: what lies below is rounding, and could be negative
SYMMETRY = 1e-8  # between correlations


def independent(kind: Covariance) -> bool:
    """Whether channels are independent in each state: variances, not matrices."""
    return kind in ("spherical", "diag")


def shape_of(kind: Covariance, states: int, channels: int, groups: int | None = None) -> tuple[int, ...]:
    """The shape of `covars`. `groups`: how many covariances are shared, where `ties` say by whom."""
    return {
        "spherical": (states,),
        "diag": (states, channels),
        "full": (states, channels, channels),
        "tied": (channels, channels) if groups is None else (groups, channels, channels),
    }[kind]


def expanded(kind: Covariance, covars: np.ndarray, states: int, channels: int, ties: np.ndarray | None) -> np.ndarray:
    """Of each state: variances (states, channels) where channels are independent, else (states, channels, channels)."""
    if kind == "spherical":
        return np.repeat(covars[:, None], channels, axis=1)
    if kind == "tied":
        return np.repeat(covars[None], states, axis=0) if ties is None else covars[ties]
    return covars


def free(kind: Covariance, covars: np.ndarray) -> int:
    """How many numbers of `covars` are free."""
    if independent(kind):
        return covars.size
    C = covars.shape[-1]
    return covars.size // (C * C) * (C * (C + 1) // 2)


def whitening(matrices: np.ndarray) -> np.ndarray:
    """W (n, channels, channels), lower triangular, with W S W' = 1 for each S of `matrices`: inverse Cholesky factors."""
    correlations, deviation = _correlations(matrices)
    return np.tril(np.linalg.inv(np.linalg.cholesky(correlations))) / deviation[:, None, :]


def estimated(
    kind: Covariance, scatter: np.ndarray, weight: np.ndarray, seen: np.ndarray, before: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest `covars` that are nowhere below diag(floor), and how many variances of each were raised to it.

    scatter     (n, channels), or (n, channels, channels): weighted squares, or products, of deviations from the mean
    weight      (n, channels), or (n,)
    seen        of weight's shape: whether there is anything to estimate of; else it stays as it was `before`
    floor       (channels,); that of a spherical covariance is its largest
    """
    if kind == "spherical":
        scatter, weight, seen, floor = scatter.sum(axis=1), weight.sum(axis=1), seen.any(axis=1), floor.max()
    weight = np.where(seen, weight, 1.0)
    if independent(kind):
        covars = scatter / weight
        low = seen & (covars < floor)
        return np.where(seen, np.maximum(covars, floor), before), low.reshape(len(low), -1).sum(axis=1)
    covars, raised = _raise_eigenvalues(scatter / weight[:, None, None], floor)
    previous = before.reshape(covars.shape)
    return np.where(seen[:, None, None], covars, previous).reshape(before.shape), np.where(seen, raised, 0)


def above(kind: Covariance, covars: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """`covars`, raised where they are below diag(floor)."""
    if independent(kind):
        return np.maximum(covars, floor.max() if kind == "spherical" else floor)
    matrices = covars.reshape(-1, *covars.shape[-2:])
    return _raise_eigenvalues(matrices, floor)[0].reshape(covars.shape) if (floor > 0).all() else covars


def fault(kind: Covariance, covars: np.ndarray, shape: tuple[int, ...], name: Callable[[int], str]) -> str | None:
    """What is wrong with `covars`, in words, where `name` says whose the n-th is; None where nothing is."""
    if covars.shape != shape:
        return f"covars: found shape {covars.shape}, expected {shape} for covariances that are {kind}"
    for n, covar in enumerate(covars[None] if kind == "tied" and covars.ndim == 2 else covars):
        if not np.isfinite(covar).all():
            return f"covars of {name(n)}: expected finite numbers, found {covar.tolist()}"
        variances = covar if independent(kind) else np.diagonal(covar)
        if not (variances > 0).all():
            return f"covars of {name(n)}: expected variances above 0, found {variances.tolist()}"
        if independent(kind):
            continue
        correlations, _ = _correlations(covar)
        if not np.allclose(correlations, correlations.T, rtol=0, atol=SYMMETRY):
            return f"covars of {name(n)}: not symmetric: {covar.tolist()}"
        least = float(np.linalg.eigvalsh(correlations)[0])
        if not least > 0:
            return f"covars of {name(n)}: not positive definite: the least eigenvalue of its correlations is {least:g}"
    return None


def moments(readings: np.ndarray, seen: np.ndarray | None, variance_floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(channels,) each: mean, variance at or above the floor, and the floor, relative to the variance where there is one."""
    if seen is None:
        mean, variance = readings.mean(axis=0, dtype=np.float64), readings.var(axis=0, dtype=np.float64)
    else:
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, readings, 0).sum(axis=0, dtype=np.float64) / count
        variance = (np.where(seen, readings - mean, 0) ** 2).sum(axis=0) / count
    floor = variance_floor * np.where(variance > 0, variance, 1.0)
    return mean, np.maximum(variance, floor), floor


def raised(count: int, whose: Sequence[str] = ()) -> tuple[str, ...]:
    """What was repaired, in words, and of whom."""
    of = f" of {', '.join(whose)}" if whose else ""
    return (f"{count} variances{of} were raised to the floor",) if count else ()


def _raise_eigenvalues(covars: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest covariances that are nowhere below diag(floor), and how many directions of each were raised to it."""
    root = np.sqrt(floor)
    values, vectors = np.linalg.eigh(covars / root[:, None] / root)
    least = np.maximum(1.0, RESOLUTION * values[:, -1:])
    low = values < least
    raised = (vectors * np.where(low, least, values)[:, None, :]) @ vectors.swapaxes(1, 2) * root[:, None] * root
    raised = (raised + raised.swapaxes(1, 2)) / 2
    return np.where(low.any(axis=1)[:, None, None], raised, covars), low.sum(axis=1)


def _correlations(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., channels, channels), and deviations (..., channels): channels may be of any scale."""
    deviation = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    return matrices / deviation[..., :, None] / deviation[..., None, :], deviation
