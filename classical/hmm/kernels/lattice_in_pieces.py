"""The lattice of one long sequence, compiled: its pieces side by side in the lanes, as long as the chain forgets.

Filters that begin differently come together, and are the same from there on: the map from one step to the next draws
probabilities nearer to each other (Birkhoff 1957). So every piece is filtered from a guess. Where it truly begins is what the
piece before it ends with, and its first steps are filtered again from there, until nothing changes any more. Backwards alike.

What is found is exact to CLOSE, relatively, in every state, or it is not answered at all: then `chain` goes step by step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.lattice import (
    FAST,
    IMPOSSIBLE,
    TINY,
    backward_of_section,
    forward_of_section,
    four,
    four_columns,
    fours_of_columns,
    predicted,
)
from hindcast.classical.hmm.kernels.vector import LANES, any_below, larger, load, splat, store

CLOSE = 1e-13
LEAST = 64  # steps that beta is given to forget its end


@njit(cache=True, nogil=True, fastmath=FAST)
def forward(b: Any, peaks: Any, lengths: Any, start: Any, transition: Any, alpha: Any, scale: Any, log_likelihood: Any) -> Any:
    """As `lattice.forward`; `log_likelihood` (LANES,) is the sequence's in the first place, and 0 in the others.

    Returns after how many steps the pieces had forgotten how they began; 0 where one did not, and nothing was found.
    """
    columns, entry = fours_of_columns(transition), np.empty((len(start), LANES))
    entry[:, 0] = start
    for v in range(1, LANES):
        entry[:, v] = np.sum(transition, axis=0) / len(start)
    if forward_of_section(b, peaks, lengths, entry, transition, columns, alpha, scale, log_likelihood).any():
        return 0
    for v in range(1, LANES):
        end = lengths[v - 1] - 1
        entry[:, v] = predicted(alpha[end, :, v - 1] * scale[end, v - 1], transition)
    steps = _again(b, lengths.min(), entry, columns, alpha, scale, log_likelihood)
    log_likelihood[0] = log_likelihood.sum()
    log_likelihood[1:] = 0.0
    return steps


@njit(cache=True, nogil=True, fastmath=FAST)
def backward(
    b: Any, lengths: Any, weights: Any, transition: Any, alpha: Any, scale: Any, starts: Any, xi: Any, forgotten: Any
) -> Any:
    """As `lattice.backward`, of what `forward` found, which had forgotten after so many steps. Whether this has, too.

    Where it has not, alpha is lost, and nothing is added.
    """
    K, weight, columns = len(starts), weights[0], fours_of_columns(transition.T)
    opening, last, ends = np.empty((K, LANES)), np.empty((K, LANES)), np.empty((K, LANES))
    _open(b, scale, min(4 * forgotten + LEAST, lengths.min()), columns, opening)
    opening *= weight / (alpha[0] * opening).sum(axis=0)
    for v in range(LANES):
        end = lengths[v] - 1
        ends[:, v] = alpha[end, :, v] * scale[end, v]
        if v == LANES - 1:
            last[:, v] = weight * scale[end, v]
        else:
            last[:, v] = predicted(b[0, :, v + 1] * opening[:, v + 1], transition.T) * scale[end, v]
            last[:, v] *= weight / (alpha[end, :, v] * last[:, v]).sum() if weight > 0 else 0.0
    first, xi_lanes = last.copy(), np.zeros((K, K, LANES))
    backward_of_section(b, lengths, first, columns, alpha, scale, xi_lanes, None, None)
    for v in range(1, LANES):
        for k in range(K):
            if not abs(first[k, v] - opening[k, v]) <= CLOSE * first[k, v] + IMPOSSIBLE:
                return False
    between = xi_lanes.sum(axis=2)
    for v in range(1, LANES):
        between += np.outer(ends[:, v - 1], b[0, :, v] * first[:, v])
    starts += alpha[0, :, 0]
    xi += between * transition
    return True


@njit(cache=True, nogil=True, fastmath=FAST)
def _again(b: Any, steps: Any, entry: Any, columns: Any, alpha: Any, scale: Any, log_likelihood: Any) -> Any:
    """Filters the first of so many steps from `entry` (states, LANES) until nothing changes. After how many; 0 where never."""
    K, here, ratio = b.shape[1], np.empty((b.shape[1], LANES)), np.empty((1, LANES))
    for t in range(steps):
        for first in range(0, K, 4):
            p, q, r, s = four(first, K)
            if t == 0:
                at_p, at_q, at_r, at_s = load(entry, (p,)), load(entry, (q,)), load(entry, (r,)), load(entry, (s,))
            else:
                at_p, at_q, at_r, at_s = four_columns(alpha, t - 1, columns[first // 4])
            rescaled = splat(1.0) if t == 0 else load(scale, (t - 1,))
            store(here, (p,), at_p * (load(b, (t, p)) * rescaled))
            store(here, (q,), at_q * (load(b, (t, q)) * rescaled))
            store(here, (r,), at_r * (load(b, (t, r)) * rescaled))
            store(here, (s,), at_s * (load(b, (t, s)) * rescaled))
        total = load(here, (0,))
        for k in range(1, K):
            total = total + load(here, (k,))
        if any_below(total, TINY):
            return 0
        rescaled, before, excess = 1.0 / total, load(scale, (t,)), splat(-1.0)
        for k in range(K):
            now = load(here, (k,)) * rescaled
            change = now - load(alpha, (t, k)) * before
            excess = larger(larger(change, splat(0.0) - change) - (now * CLOSE + IMPOSSIBLE), excess)
            store(alpha, (t, k), load(here, (k,)))
        store(scale, (t,), rescaled)
        store(ratio, (0,), before * total)
        log_likelihood += np.log(ratio[0])
        if not any_below(splat(0.0) - excess, 0.0):
            return t + 1
    return 0


@njit(cache=True, nogil=True, fastmath=FAST)
def _open(b: Any, scale: Any, steps: Any, columns: Any, opening: Any) -> None:
    """Beta times `scale` (states, LANES) at the first step, up to a factor, as if nothing came after so many steps."""
    K = b.shape[1]
    w = np.empty((1, K, LANES))
    opening[:] = 1.0
    for t in range(steps - 1, 0, -1):
        before = load(scale, (t - 1,))
        for k in range(K):
            store(w, (0, k), load(opening, (k,)) * (load(b, (t, k)) * before))
        for first in range(0, K, 4):
            p, q, r, s = four(first, K)
            at_p, at_q, at_r, at_s = four_columns(w, 0, columns[first // 4])
            store(opening, (p,), at_p)
            store(opening, (q,), at_q)
            store(opening, (r,), at_r)
            store(opening, (s,), at_s)
