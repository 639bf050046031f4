"""Probabilities of a few outcomes, one set a row: estimated from counts, with a Dirichlet prior, and checked."""

from __future__ import annotations

import numpy as np

from hindcast.classical.hmm.emissions.emission import EMPTY


def estimated(counts: np.ndarray, before: np.ndarray, prior: float | np.ndarray) -> np.ndarray:
    """The most probable, along the last axis, after expected `counts`; as `before` where there is nothing to go by.

    prior   concentrations of a Dirichlet density, 1 or more; 1 is none. What was 0 before stays 0
    """
    counts = np.where(before > 0, counts + (np.asarray(prior) - 1.0), 0.0)
    total = counts.sum(axis=-1, keepdims=True)
    counted = total > EMPTY
    return np.where(counted, counts / np.where(counted, total, 1.0), before)


def log_dirichlet(probabilities: np.ndarray, prior: float | np.ndarray) -> float:
    """Of all rows together, up to a constant; of the outcomes that are possible."""
    possible = probabilities > 0
    return float((np.where(possible, np.asarray(prior) - 1.0, 0.0) * np.log(np.where(possible, probabilities, 1.0))).sum())


def not_probabilities(p: np.ndarray) -> str | None:
    """What is wrong with probabilities (states, symbols), in words."""
    if p.ndim != 2:
        return f"expected probabilities of shape (states, symbols), found shape {p.shape}"
    wrong = np.flatnonzero(~(np.isfinite(p) & (p >= 0)).all(axis=1) | ~np.isclose(p.sum(axis=1), 1.0))
    if not len(wrong):
        return None
    return f"state {wrong[0]}: expected probabilities that add up to 1, found {p[wrong[0]].tolist()}"


def not_a_dirichlet(prior: float | np.ndarray, shape: tuple[int, ...]) -> str | None:
    """What is wrong with concentrations for probabilities of a shape, in words."""
    concentrations = np.asarray(prior)
    if concentrations.shape not in ((), shape[1:], shape):
        return f"prior: expected a number, or shape {shape[1:]} or {shape}, found shape {concentrations.shape}"
    fine = np.isfinite(concentrations).all() and (concentrations >= 1).all()
    return None if fine else f"prior: expected concentrations of 1 or more, found {concentrations.tolist()}"
