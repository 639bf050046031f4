"""Oracles: every quantity of a small hidden Markov model by enumeration of all paths, in plain NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.prep.dataset.blocks import Block

FAMILIES = ("diagonal", "full", "autoregressive")


@dataclass(frozen=True)
class Enumerated:
    """Of one sequence: filtered and smoothed (steps, states), pairs (states, states), the best path and its log-probability."""

    log_likelihood: float
    filtered: np.ndarray
    smoothed: np.ndarray
    pairs: np.ndarray
    path: np.ndarray
    log_probability: float


@dataclass(frozen=True)
class Oracle:
    """Plain-NumPy densities and sums over all paths."""

    def log_density(self, emission: Any, values: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        """(steps, states) of `values` (order + steps, channels)."""
        order = emission.order
        seen = np.ones_like(values) if observed is None else observed
        out = np.zeros((len(values) - order, emission.states))
        for t, k in np.ndindex(*out.shape):
            now = values[t + order]
            if isinstance(emission, Gaussian) and emission.full:
                e = now - emission.means[k]
                determinant = np.linalg.slogdet(2 * np.pi * emission.covars[k])[1]
                out[t, k] = -0.5 * (determinant + e @ np.linalg.solve(emission.covars[k], e))
                continue
            if isinstance(emission, Gaussian):
                mean, variance = emission.means[k], emission.covars[k]
            else:
                past = values[t : t + order]
                mean, variance = emission.intercepts[k] + np.einsum("cl,lc->c", emission.weights[k], past), emission.variances[k]
            scored = seen[t : t + order + 1].min(axis=0)
            out[t, k] = (scored * -0.5 * (np.log(2 * np.pi * variance) + (now - mean) ** 2 / variance)).sum()
        return out

    def enumerate(self, start: np.ndarray, transition: np.ndarray, log_b: np.ndarray) -> Enumerated:
        T, K = log_b.shape
        with np.errstate(divide="ignore"):
            log_start, log_transition = np.log(start), np.log(transition)

        def logs(steps: int) -> tuple[np.ndarray, np.ndarray]:
            paths = np.array(list(itertools.product(range(K), repeat=steps)))
            joint = log_start[paths[:, 0]] + log_b[np.arange(steps), paths].sum(axis=1)
            return paths, joint + log_transition[paths[:, :-1], paths[:, 1:]].sum(axis=1)

        paths, joint = logs(T)
        weight = np.exp(joint - np.logaddexp.reduce(joint))
        smoothed = np.stack([np.bincount(paths[:, t], weight, K) for t in range(T)])
        pairs = np.zeros((K, K))
        for t in range(1, T):
            np.add.at(pairs, (paths[:, t - 1], paths[:, t]), weight)
        filtered = np.empty((T, K))
        for t in range(T):
            some, part = logs(t + 1)
            filtered[t] = np.bincount(some[:, -1], np.exp(part - np.logaddexp.reduce(part)), K)
        best = int(joint.argmax())
        return Enumerated(float(np.logaddexp.reduce(joint)), filtered, smoothed, pairs, paths[best], float(joint[best]))


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture(scope="session")
def random_model() -> Callable[..., HiddenMarkov[Any]]:
    """A random stable model: (family, states, channels, order, seed)."""

    def make(family: str, states: int = 3, channels: int = 2, order: int = 2, seed: int = 0) -> HiddenMarkov[Any]:
        rng = np.random.default_rng(seed)
        start, transition = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)
        floor = np.full(channels, 1e-9)
        means, variances = rng.normal(0, 1.5, (states, channels)), rng.uniform(0.3, 1.5, (states, channels))
        if family == "autoregressive":
            weights = rng.uniform(-1, 1, (states, channels, order)) * 0.9 / order
            return HiddenMarkov(start, transition, Autoregressive(means, weights, variances, floor))
        if family == "diagonal":
            return HiddenMarkov(start, transition, Gaussian(means, variances, floor))
        roots = rng.normal(0, 0.6, (states, channels, channels)) + np.eye(channels)
        return HiddenMarkov(start, transition, Gaussian(means, roots @ roots.swapaxes(1, 2), floor, "full"))

    return make


@pytest.fixture(scope="session")
def block_of() -> Callable[..., Block]:
    """A block in memory of `values` (rows, length, channels), every row owning [own_start, own_stop)."""

    def make(
        values: np.ndarray, own_start: Any = 0, own_stop: Any = None, observed: np.ndarray | None = None, windows: Any = 0
    ) -> Block:
        rows, length = values.shape[:2]
        return Block(
            values=values.astype(np.float32),
            observed=np.ones(values.shape, np.uint8) if observed is None else observed.astype(np.uint8),
            covariates=np.zeros((rows, length, 0), np.float32),
            covariates_observed=np.zeros((rows, length, 0), np.uint8),
            labels=np.zeros((rows, length, 0), np.int32),
            attributes=np.zeros((rows, 0), np.float32),
            series=np.full(rows, "one"),
            start=np.full(rows, np.datetime64("2020-01-01T00:00:00", "us")),
            windows=np.broadcast_to(np.int32(windows), rows),
            own_start=np.array(np.broadcast_to(own_start, rows), np.int32),
            own_stop=np.array(np.broadcast_to(length if own_stop is None else own_stop, rows), np.int32),
        )

    return make
