"""The lattice of states and steps, compiled: scaled forward-backward (Rabiner 1989, section V.A), filter and Viterbi.

Many sequences advance at once, one in each vector lane: arrays are (steps, states, LANES), of sections one after the other, each
LANES sequences side by side. Densities are relative to the best state of their frame. A frame that the predicted states all but
exclude is redone in logs, so nothing underflows to 0 / 0. Lanes that have ended stand still: their alpha and gamma are exactly 0.

States are taken FOUR at a time, so that what is loaded is used four times. Where their number is no multiple of it, the last of
them is computed again, and written again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.vector import (
    LANES,
    any_below,
    exp_of_negative,
    larger,
    load,
    number,
    splat,
    store,
    where_larger,
)

FAST = {"reassoc", "contract", "arcp", "nsz"}  # neither "nnan" nor "ninf": infinities are tested for
TINY = 1e-100
IMPOSSIBLE = 1e-290
TILE = 8  # steps at a time, of which all that the products need stays in the nearest cache


@njit(cache=True, nogil=True, fastmath=FAST)
def forward(
    b: Any, peaks: Any, begins: Any, lengths: Any, start: Any, transition: Any, alpha: Any, scale: Any, log_likelihood: Any
) -> Any:
    """Filters every lane of every section. Returns (sections · LANES,): how many frames of each were redone in logs.

    b               (steps, states, LANES): log densities; replaced by densities relative to a constant of each frame
    peaks           (steps, LANES): logs of those constants, where `b` is relative to them already; None where it is in logs
    begins          (sections,): the step that each section begins at
    lengths         (sections · LANES,): steps in each lane of each section, the first lane's the most
    start, transition   (states,), (states, states)
    alpha           (steps, states, LANES) out: P(state and observation of the step | observations before); see `normalise`
    scale           (steps, LANES) out: 1 / the sum of these (Rabiner's c, equation 91)
    log_likelihood  (sections · LANES,) out
    """
    columns, entry = fours_of_columns(transition), np.repeat(start, LANES).reshape(-1, LANES)
    rescued = np.empty(len(lengths), np.int64)
    for section, begin in enumerate(begins):
        lanes = slice(section * LANES, (section + 1) * LANES)
        steps = slice(begin, begin + lengths[lanes.start])
        arguments, out = (lengths[lanes], entry, transition, columns), (alpha[steps], scale[steps], log_likelihood[lanes])
        if peaks is None:
            rescued[lanes] = forward_of_section(b[steps], None, *arguments, *out)
        else:
            rescued[lanes] = forward_of_section(b[steps], peaks[steps], *arguments, *out)
    return rescued


@njit(cache=True, nogil=True, fastmath=FAST)
def backward(
    b: Any,
    begins: Any,
    lengths: Any,
    weights: Any,
    transition: Any,
    alpha: Any,
    scale: Any,
    starts: Any,
    xi: Any,
    counts: Any = None,
    largest: Any = None,
) -> None:
    """Smooths every lane, after `forward`. Beta begins as the weight of its lane, and so weights all that comes of it.

    weights (sections · LANES,): how often each lane counts
    alpha   (steps, states, LANES): replaced by gamma, weight · P(state | all observations of the sequence)
    starts  (states,): expected starts are added (equation 40a)
    xi      (states, states): expected transitions are added (equation 40b's numerator)
    counts  (states + 1, states): what beta is multiplied by in each of the first steps, and in all later ones, for `largest`
    largest (sections · LANES,) out: the largest beta of each lane; None, as `counts`, where it is not asked for
    """
    K, columns = len(starts), fours_of_columns(transition.T)
    xi_lanes, last = np.zeros((K, K, LANES)), np.empty((K, LANES))
    for section, begin in enumerate(begins):
        lanes = slice(section * LANES, (section + 1) * LANES)
        steps = slice(begin, begin + lengths[lanes.start])
        for v in range(LANES):
            last[:, v] = weights[lanes.start + v] * scale[begin + max(lengths[lanes.start + v] - 1, 0), v]
        arguments = b[steps], lengths[lanes], last, columns, alpha[steps], scale[steps], xi_lanes
        if largest is None:
            backward_of_section(*arguments, None, None)
        else:
            backward_of_section(*arguments, counts, largest[lanes])
        for k in range(K):
            starts[k] += alpha[begin, k].sum()
    xi += xi_lanes.sum(axis=2) * transition


@njit(cache=True, nogil=True, fastmath=FAST)
def viterbi(
    log_b: Any, begins: Any, lengths: Any, log_start: Any, log_transition: Any, delta: Any, path: Any, log_probability: Any
) -> None:
    """The single best path of every lane (Rabiner's section III.B, in logs). Of equally good states the first is taken.

    log_b            (steps, states, LANES)
    delta            (steps, states, LANES) out: log-probability of the best path to a state (equation 30)
    path             (steps, LANES) int32 out; -1 after a lane's end
    log_probability  (sections · LANES,) out: of the path and the observations together; 0 of an empty lane
    """
    K, columns = len(log_start), fours_of_columns(log_transition)
    into = np.zeros((K + 1, K))  # a row for each state that is gone to, and one of zeros for the end
    into[:K] = log_transition.T
    path[:] = -1
    for section, begin in enumerate(begins):
        lanes = slice(section * LANES, (section + 1) * LANES)
        steps = slice(begin, begin + lengths[lanes.start])
        _best_paths(log_b[steps], log_start, columns, delta[steps])
        _walk_back(delta[steps], lengths[lanes], into, path[steps], log_probability[lanes])


@njit(cache=True, nogil=True, fastmath=FAST)
def relative(b: Any, peaks: Any) -> None:
    """Log densities (steps, states, LANES) become densities relative to the best state's, whose logs go into `peaks`."""
    K = b.shape[1]
    for t in range(len(b)):
        peak = load(b, (t, 0))
        for k in range(1, K):
            peak = larger(peak, load(b, (t, k)))
        store(peaks, (t,), peak)
        for k in range(K):
            store(b, (t, k), exp_of_negative(load(b, (t, k)) - peak))


@njit(cache=True, nogil=True, fastmath=FAST)
def normalise(alpha: Any, scale: Any) -> None:
    """Makes probabilities of what `forward` leaves."""
    for t in range(len(alpha)):
        rescaled = load(scale, (t,))
        for k in range(alpha.shape[1]):
            store(alpha, (t, k), load(alpha, (t, k)) * rescaled)


@njit(cache=True, nogil=True, fastmath=FAST)
def forward_of_section(
    b: Any, peaks: Any, lengths: Any, entry: Any, transition: Any, columns: Any, alpha: Any, scale: Any, log_likelihood: Any
) -> Any:
    """As `forward`, where each lane has a start of its own, `entry` (states, LANES)."""
    T, K, shortest = b.shape[0], b.shape[1], lengths.min()
    exponentials, totals, constants = np.empty((1, K, LANES)), np.empty((1, LANES)), np.empty((1, LANES))
    product, summed, rescaled, rescued = splat(1.0), splat(0.0), splat(1.0), np.zeros(LANES, np.int64)
    log_likelihood[:] = 0.0
    for t in range(T):
        if peaks is None:
            peak = load(b, (t, 0))
            for k in range(1, K):
                peak = larger(peak, load(b, (t, k)))
            for k in range(K):
                store(exponentials, (0, k), exp_of_negative(load(b, (t, k)) - peak))
            density, row = exponentials, 0
        else:
            peak, density, row = load(peaks, (t,)), b, t
        if t == 0:
            for k in range(K):
                store(alpha, (0, k), load(density, (row, k)) * load(entry, (k,)))
        else:
            for first in range(0, K, 4):
                p, q, r, s = four(first, K)
                at_p, at_q, at_r, at_s = four_columns(alpha, t - 1, columns[first // 4])
                store(alpha, (t, p), at_p * (load(density, (row, p)) * rescaled))
                store(alpha, (t, q), at_q * (load(density, (row, q)) * rescaled))
                store(alpha, (t, r), at_r * (load(density, (row, r)) * rescaled))
                store(alpha, (t, s), at_s * (load(density, (row, s)) * rescaled))
        total = load(alpha, (t, 0))
        for k in range(1, K):
            total = total + load(alpha, (t, k))
        if t >= shortest or any_below(total, TINY):
            store(totals, (0,), total)
            store(constants, (0,), peak)
            for v in range(LANES):
                if t >= lengths[v]:
                    density[row, :, v] = 0.0
                    alpha[t, :, v] = 0.0
                    totals[0, v], constants[0, v] = 1.0, 0.0
                elif totals[0, v] < TINY:
                    rescued[v] += 1
                    logs = b[t, :, v].copy() if peaks is None else np.log(b[t, :, v]) + peaks[t, v]
                    ahead = entry[:, v].copy() if t == 0 else predicted(alpha[t - 1, :, v] * scale[t - 1, v], transition)
                    constants[0, v] = rescue(ahead, logs, density[row, :, v])
                    alpha[t, :, v] = ahead * density[row, :, v]
                    totals[0, v] = alpha[t, :, v].sum()
            total, peak = load(totals, (0,)), load(constants, (0,))
        rescaled = 1.0 / total
        store(scale, (t,), rescaled)
        if peaks is None:
            for k in range(K):
                store(b, (t, k), load(exponentials, (0, k)))
        summed = summed + peak
        product = product * total
        if any_below(product, TINY):
            store(totals, (0,), product)
            log_likelihood += np.log(totals[0])
            product = splat(1.0)
    store(totals, (0,), product)
    store(constants, (0,), summed)
    log_likelihood += np.log(totals[0]) + constants[0]
    return rescued


@njit(cache=True, nogil=True, fastmath=FAST)
def backward_of_section(
    b: Any, lengths: Any, last: Any, columns: Any, alpha: Any, scale: Any, xi: Any, counts: Any, largest: Any
) -> None:
    """As `backward`, of beta times `scale`.

    last    (states, LANES): at the last step of each lane; replaced by that of the first step
    xi      (states, states, LANES): sums of alpha before and w after are added
    """
    T, K, shortest = b.shape[0], b.shape[1], lengths.min()
    beta, w = np.empty((TILE + 1, K, LANES)), np.empty((TILE, K, LANES))
    if largest is not None:
        largest[:] = 0.0
    for end in range(T - 1, -1, -TILE):
        rows = min(TILE, end + 1)
        for row in range(rows):
            t = end - row
            if t + 1 >= shortest:
                for v in range(LANES):
                    if t + 1 >= lengths[v]:
                        beta[row, :, v] = last[:, v]
            rescaled = load(scale, (max(t - 1, 0),))
            for k in range(K):
                store(w, (row, k), load(b, (t, k)) * rescaled * load(beta, (row, k)))
            for first in range(0, K, 4):
                p, q, r, s = four(first, K)
                at_p, at_q, at_r, at_s = four_columns(w, row, columns[first // 4])
                store(beta, (row + 1, p), at_p)
                store(beta, (row + 1, q), at_q)
                store(beta, (row + 1, r), at_r)
                store(beta, (row + 1, s), at_s)
        if largest is not None:
            maximum = load(largest, (0,))
            for row in range(rows):
                for k in range(K):
                    maximum = larger(load(beta, (row, k)) * number(counts, (min(end - row, K), k)), maximum)
            store(largest, (0,), maximum)
        _add_products(alpha, w, end, rows if end - rows >= 0 else rows - 1, xi)
        for row in range(rows):
            for k in range(K):
                store(alpha, (end - row, k), load(alpha, (end - row, k)) * load(beta, (row, k)))
        if end < TILE:
            last[:] = beta[rows - 1]
        for k in range(K):
            store(beta, (0, k), load(beta, (rows, k)))


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def four(first: Any, K: Any) -> Any:
    """Four states, of which the last of all is taken again where there are no four."""
    return first, min(first + 1, K - 1), min(first + 2, K - 1), min(first + 3, K - 1)


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def four_columns(x: Any, t: Any, columns: Any) -> Any:
    """x[t] · four columns of a matrix."""
    at_p, at_q, at_r, at_s = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(len(columns)):
        here = load(x, (t, i))
        at_p = at_p + here * number(columns, (i, 0))
        at_q = at_q + here * number(columns, (i, 1))
        at_r = at_r + here * number(columns, (i, 2))
        at_s = at_s + here * number(columns, (i, 3))
    return at_p, at_q, at_r, at_s


@njit(cache=True, nogil=True)
def fours_of_columns(matrix: Any) -> Any:
    """(fours, states, 4): columns side by side in memory as they are used."""
    K = len(matrix)
    columns = np.empty(((K + 3) // 4, K, 4))
    for first in range(0, K, 4):
        for at, k in enumerate(four(first, K)):
            columns[first // 4, :, at] = matrix[:, k]
    return columns


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _add_products(alpha: Any, w: Any, end: Any, rows: Any, xi: Any) -> None:
    """Adds alpha[end - row - 1, p] · w[row, i] of so many rows, of four by two states at a time."""
    K = len(xi)
    for first in range(0, K, 4):
        p, q, r, s = four(first, K)
        for i in range(0, K, 2):
            j = min(i + 1, K - 1)
            pi, qi, ri, si = load(xi, (p, i)), load(xi, (q, i)), load(xi, (r, i)), load(xi, (s, i))
            pj, qj, rj, sj = load(xi, (p, j)), load(xi, (q, j)), load(xi, (r, j)), load(xi, (s, j))
            for row in range(rows):
                at_i, at_j, t = load(w, (row, i)), load(w, (row, j)), end - row - 1
                at_p, at_q = load(alpha, (t, p)), load(alpha, (t, q))
                pi, pj, qi, qj = pi + at_p * at_i, pj + at_p * at_j, qi + at_q * at_i, qj + at_q * at_j
                at_r, at_s = load(alpha, (t, r)), load(alpha, (t, s))
                ri, rj, si, sj = ri + at_r * at_i, rj + at_r * at_j, si + at_s * at_i, sj + at_s * at_j
            store(xi, (p, i), pi)
            store(xi, (q, i), qi)
            store(xi, (r, i), ri)
            store(xi, (s, i), si)
            store(xi, (p, j), pj)
            store(xi, (q, j), qj)
            store(xi, (r, j), rj)
            store(xi, (s, j), sj)


@njit(cache=True, nogil=True, fastmath=FAST)
def _best_paths(log_b: Any, log_start: Any, columns: Any, delta: Any) -> None:
    T, K = log_b.shape[0], log_b.shape[1]
    for k in range(K):
        store(delta, (0, k), load(log_b, (0, k)) + log_start[k])
    for t in range(1, T):
        for first in range(0, K, 4):
            p, q, r, s = four(first, K)
            at_p, at_q, at_r, at_s = _best(delta, t - 1, columns[first // 4])
            store(delta, (t, p), at_p + load(log_b, (t, p)))
            store(delta, (t, q), at_q + load(log_b, (t, q)))
            store(delta, (t, r), at_r + load(log_b, (t, r)))
            store(delta, (t, s), at_s + load(log_b, (t, s)))


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _best(x: Any, t: Any, columns: Any) -> Any:
    """As `four_columns`, with the largest of sums."""
    here = load(x, (t, 0))
    at_p, at_q, at_r, at_s = here + columns[0, 0], here + columns[0, 1], here + columns[0, 2], here + columns[0, 3]
    for i in range(1, len(columns)):
        here = load(x, (t, i))
        at_p = larger(at_p, here + number(columns, (i, 0)))
        at_q = larger(at_q, here + number(columns, (i, 1)))
        at_r = larger(at_r, here + number(columns, (i, 2)))
        at_s = larger(at_s, here + number(columns, (i, 3)))
    return at_p, at_q, at_r, at_s


@njit(cache=True, nogil=True, fastmath=FAST)
def _walk_back(delta: Any, lengths: Any, into: Any, path: Any, log_probability: Any) -> None:
    """From the end of every lane, the first of the states that were best to come from. Branches would be guessed wrong."""
    T, K, numbers = delta.shape[0], delta.shape[1], into.ravel()
    row, ahead, likeliest = np.full(LANES, np.uint64(K * K)), np.empty((K, LANES)), np.empty((2, LANES))
    log_probability[:] = 0.0
    for t in range(T - 1, -1, -1):
        for i in range(np.uint64(K)):
            for v in range(LANES):
                ahead[i, v] = numbers[row[v] + i]
        best, which = load(delta, (t, 0)) + load(ahead, (0,)), splat(0.0)
        for i in range(1, K):
            candidate = load(delta, (t, i)) + load(ahead, (i,))
            which = where_larger(candidate, best, splat(float(i)), which)
            best = larger(candidate, best)
        store(likeliest, (0,), which)
        store(likeliest, (1,), best)
        for v in range(LANES):
            if t < lengths[v]:
                path[t, v] = int(likeliest[0, v])
                row[v] = np.uint64(path[t, v] * K)
                if t == lengths[v] - 1:
                    log_probability[v] = likeliest[1, v]


@njit(cache=True, nogil=True)
def predicted(before: Any, transition: Any) -> Any:
    """(states,) of probabilities a step before."""
    ahead = np.zeros(len(before))
    for i in range(len(before)):
        ahead += before[i] * transition[i]
    return ahead


@njit(cache=True, nogil=True)
def rescue(predicted: Any, logs: Any, density: Any) -> Any:
    """Redoes one frame in logs: densities relative to the best state *weighted by its prediction*, whose log is returned.

    Where no state that can be reached has a density above 0, the frame says nothing, and the log-likelihood is minus infinity.

    predicted, logs, density    (states,): P(state | observations before), log densities, and out: relative densities
    """
    peak = -np.inf
    for j in range(len(logs)):
        if predicted[j] > IMPOSSIBLE:
            peak = max(peak, logs[j] + np.log(predicted[j]))
    for j in range(len(logs)):
        if predicted[j] <= IMPOSSIBLE:
            density[j] = 0.0
        elif peak == -np.inf:
            density[j] = 1.0
        else:
            density[j] = np.exp(logs[j] - peak)
    return peak
