"""The lattice of states and steps, compiled: scaled forward-backward (Rabiner 1989, section V.A), filter and Viterbi.

Many sequences advance at once, one in each vector lane: arrays are (steps, states, LANES). Densities are relative to the best
state of their frame. A frame that the predicted states all but exclude is redone in logs, so nothing underflows to 0 / 0. Lanes
that have ended stand still: their alpha and gamma are exactly 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from classical.hmm.vector import LANES, any_below, exp_of_negative, larger, load, splat, store

FAST = {"reassoc", "contract", "arcp", "nsz"}  # neither "nnan" nor "ninf": infinities are tested for
TINY = 1e-100
IMPOSSIBLE = 1e-290


@njit(cache=True, nogil=True, fastmath=FAST)
def forward(b: Any, lengths: Any, start: Any, transition: Any, alpha: Any, scale: Any, log_likelihood: Any) -> None:
    """Filters every lane.

    b               (steps, states, LANES): log densities; replaced by densities relative to a constant of each frame
    lengths         (LANES,) steps of each lane
    start, transition   (states,), (states, states)
    alpha           (steps, states, LANES) out: P(state | observations up to the step)
    scale           (steps, LANES) out: 1 / sum of the unnormalised alpha (Rabiner's c, equation 91)
    log_likelihood  (LANES,) out
    """
    T, K, shortest = b.shape[0], b.shape[1], lengths.min()
    frame, totals, peaks = np.empty((K, LANES)), np.empty((1, LANES)), np.empty((1, LANES))
    product, summed = splat(1.0), splat(0.0)
    log_likelihood[:] = 0.0
    for t in range(T):
        peak = load(b, (t, 0))
        for k in range(1, K):
            peak = larger(peak, load(b, (t, k)))
        total = splat(0.0)
        for j in range(K):
            a = splat(start[j])
            if t > 0:
                a = load(alpha, (t - 1, 0)) * transition[0, j]
                for i in range(1, K):
                    a = a + load(alpha, (t - 1, i)) * transition[i, j]
            density = exp_of_negative(load(b, (t, j)) - peak)
            a = a * density
            total = total + a
            store(frame, (j,), density)
            store(alpha, (t, j), a)
        if t >= shortest or any_below(total, TINY):
            store(totals, (0,), total)
            store(peaks, (0,), peak)
            for v in range(LANES):
                if t >= lengths[v]:
                    _stand_still(t, v, alpha, frame, totals[0], peaks[0])
                elif totals[0, v] < TINY:
                    _rescue(t, v, b, start, transition, alpha, frame, totals[0], peaks[0])
            total, peak = load(totals, (0,)), load(peaks, (0,))
        rescaled = 1.0 / total
        store(scale, (t,), rescaled)
        for k in range(K):
            store(alpha, (t, k), load(alpha, (t, k)) * rescaled)
            store(b, (t, k), load(frame, (k,)))
        summed = summed + peak
        product = product * total
        if any_below(product, TINY):
            store(totals, (0,), product)
            for v in range(LANES):
                log_likelihood[v] += np.log(totals[0, v])
            product = splat(1.0)
    store(totals, (0,), product)
    store(peaks, (0,), summed)
    for v in range(LANES):
        log_likelihood[v] += np.log(totals[0, v]) + peaks[0, v]


@njit(cache=True, nogil=True, fastmath=FAST)
def backward(b: Any, lengths: Any, weights: Any, transition: Any, alpha: Any, scale: Any, starts: Any, xi: Any) -> None:
    """Smooths every lane, after `forward`. Beta begins as the weight of its lane, and so weights all that comes of it.

    weights (LANES,): how often each lane counts
    alpha   (steps, states, LANES): replaced by gamma, weight · P(state | all observations of the sequence)
    starts  (states,): expected starts are added (equation 40a)
    xi      (states, states): expected transitions are added (equation 40b's numerator)
    """
    T, K, shortest = b.shape[0], b.shape[1], lengths.min()
    beta, w, xi_lanes = np.empty((K, LANES)), np.empty((K, LANES)), np.zeros((K, K, LANES))
    beta[:] = weights
    for t in range(T - 1, 0, -1):
        if t + 1 >= shortest:
            for v in range(LANES):
                if t + 1 >= lengths[v]:
                    beta[:, v] = weights[v]
        rescaled = load(scale, (t,))
        for k in range(K):
            later = load(beta, (k,))
            store(w, (k,), load(b, (t, k)) * rescaled * later)
            store(alpha, (t, k), load(alpha, (t, k)) * later)
        for i in range(K):
            a, s = load(alpha, (t - 1, i)), splat(0.0)
            for j in range(K):
                ahead = load(w, (j,))
                s = s + ahead * transition[i, j]
                store(xi_lanes, (i, j), load(xi_lanes, (i, j)) + a * ahead)
            store(beta, (i,), s)
    for i in range(K):
        for v in range(LANES):
            if T > 0:
                alpha[0, i, v] *= beta[i, v] if lengths[v] > 1 else weights[v]
                starts[i] += alpha[0, i, v]
        for j in range(K):
            xi[i, j] += xi_lanes[i, j].sum() * transition[i, j]


@njit(cache=True, nogil=True)
def viterbi(log_b: Any, lengths: Any, log_start: Any, log_transition: Any, path: Any, log_probability: Any) -> None:
    """The single best path of every lane (Rabiner's section III.B, in logs). Of equally good states the first is taken.

    log_b            (steps, states, LANES)
    path             (steps, LANES) int32 out; -1 after a lane's end
    log_probability  (LANES,) out: of the path and the observations together
    """
    T, K = log_b.shape[0], log_b.shape[1]
    psi, delta, step = np.empty((T, K, LANES), np.int32), np.empty((K, LANES)), np.empty((K, LANES))
    path[:] = -1
    for t in range(T):
        for j in range(K):
            for v in range(LANES):
                best, state = (log_start[j], -1) if t == 0 else (delta[0, v] + log_transition[0, j], 0)
                for i in range(1, K if t > 0 else 0):
                    candidate = delta[i, v] + log_transition[i, j]
                    if candidate > best:
                        best, state = candidate, i
                step[j, v] = best + log_b[t, j, v]
                psi[t, j, v] = state
        for v in range(LANES):
            if t < lengths[v]:
                delta[:, v] = step[:, v]
    for v in range(LANES):
        log_probability[v] = 0.0
        if lengths[v] > 0:
            here = np.argmax(delta[:, v])
            log_probability[v] = delta[here, v]
            for t in range(lengths[v] - 1, -1, -1):
                path[t, v] = here
                here = psi[t, here, v]


@njit(cache=True, nogil=True)
def _stand_still(t: Any, v: Any, alpha: Any, frame: Any, totals: Any, peaks: Any) -> None:
    frame[:, v] = 0.0
    alpha[t, :, v] = 0.0
    totals[v] = 1.0
    peaks[v] = 0.0


@njit(cache=True, nogil=True)
def _rescue(t: Any, v: Any, b: Any, start: Any, transition: Any, alpha: Any, frame: Any, totals: Any, peaks: Any) -> None:
    """Redoes one frame of one lane in logs: densities relative to the best state *weighted by its prediction*.

    Where no state that can be reached has a density above 0, the frame says nothing, and the log-likelihood is minus infinity.
    """
    K = len(start)
    predicted = np.empty(K)
    peaks[v] = -np.inf
    for j in range(K):
        predicted[j] = start[j] if t == 0 else np.sum(alpha[t - 1, :, v] * transition[:, j])
        if predicted[j] > IMPOSSIBLE:
            peaks[v] = max(peaks[v], b[t, j, v] + np.log(predicted[j]))
    totals[v] = 0.0
    for j in range(K):
        if predicted[j] <= IMPOSSIBLE:
            frame[j, v] = 0.0
        elif peaks[v] == -np.inf:
            frame[j, v] = 1.0
        else:
            frame[j, v] = np.exp(b[t, j, v] - peaks[v])
        alpha[t, j, v] = predicted[j] * frame[j, v]
        totals[v] += alpha[t, j, v]
