"""Forward-backward in logs, compiled, and when it is needed: where probabilities are too far apart for `lattice` to hold them.

A state whose probability underflows is entered again a step later, as long as every transition is possible. Where some are not,
it may be lost for good, and later be the only one that explains what is observed. Nor may densities be kept from 0 there, as the
lattice does: the way that explains the observations may be less likely still.

Backwards this shows. Alpha times beta is the share of all paths that go through a state, and the lattice's alpha is right but for
about 1e-108 (a number below 1e-308, times two scales of 1e100 at most). So nothing is missing unless some beta is above LARGE.
A frame that was redone in logs is not covered by that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LEAST = 1e-100  # a chain with less likely transitions is sparse
LARGE = 1e90
NEVER = 1e-100  # beta of a state that cannot be is multiplied by this: only that it stays finite matters


def sparse(transition: np.ndarray) -> bool:
    return bool((transition < LEAST).any())


def counts(start: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """(states + 1, states): 1.0 where a state is possible at a step, NEVER elsewhere; the last row is for all later steps."""
    possible, K = transition > 0, len(start)
    reached = [start > 0]
    for _ in range(K):
        reached.append(reached[-1] @ possible)
    for _ in range(K):
        reached[-1] = reached[-1] | (reached[-1] @ possible)
    return np.where(reached, 1.0, NEVER)


@njit(cache=True, nogil=True)
def forward_backward(
    log_b: Any, log_start: Any, log_transition: Any, weight: Any, filtered: Any, gamma: Any, starts: Any, xi: Any
) -> Any:
    """Of one sequence; returns its log-likelihood. All logs may be minus infinity.

    log_b           (steps, states); 0 is written into frames that no state can emit, which then say nothing, as in `lattice`
    filtered, gamma (steps, states) out: P(state | observations up to the step), P(state | all observations)
    starts, xi      (states,), (states, states): expected starts and transitions are added, `weight` times
    """
    (T, K), likelihood = log_b.shape, 0.0
    alpha, constants, terms = np.empty((T, K)), np.empty(T), np.empty(K)
    beta, after = np.zeros(K), np.empty(K)
    for t in range(T):
        for j in range(K):
            if t == 0:
                alpha[0, j] = log_start[j]
            else:
                for i in range(K):
                    terms[i] = alpha[t - 1, i] + log_transition[i, j]
                alpha[t, j] = log_sum(terms)
        constants[t] = log_sum(alpha[t] + log_b[t])
        likelihood += constants[t]
        if constants[t] == -np.inf:
            log_b[t] = 0.0
            constants[t] = log_sum(alpha[t])
        for j in range(K):
            alpha[t, j] += log_b[t, j] - constants[t]
            filtered[t, j] = np.exp(alpha[t, j])
        filtered[t] /= filtered[t].sum()
    for t in range(T - 1, -1, -1):
        if t < T - 1:
            after[:] = log_b[t + 1] + beta - constants[t + 1]
            for i in range(K):
                for j in range(K):
                    terms[j] = log_transition[i, j] + after[j]
                beta[i] = log_sum(terms)
        summed = log_sum(alpha[t] + beta)
        for i in range(K):
            gamma[t, i] = np.exp(alpha[t, i] + beta[i] - summed)
            if t < T - 1 and alpha[t, i] > -np.inf:
                for j in range(K):
                    xi[i, j] += weight * np.exp(alpha[t, i] + log_transition[i, j] + after[j] - summed)
        gamma[t] /= gamma[t].sum()
    starts += weight * gamma[0]
    return likelihood


@njit(cache=True, nogil=True)
def log_sum(terms: Any) -> Any:
    """The log of a sum of exponentials."""
    peak = terms.max()
    if peak == -np.inf:
        return peak
    summed = 0.0
    for term in terms:
        if term > -np.inf:
            summed += np.exp(term - peak)
    return peak + np.log(summed)
