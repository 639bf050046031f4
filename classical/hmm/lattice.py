"""The lattice of states and steps, compiled: scaled forward-backward (Rabiner 1989, section V.A), filter and Viterbi.

Many sequences advance at once, one in each vector lane: arrays are (steps, states, LANES). The number of states is passed as the
length of a tuple, so the compiler knows it as a constant and unrolls its loops, and compiled code is still cached on disk.
Densities are relative to the best state of their frame. A frame that the predicted states all but exclude is redone in logs, so
nothing underflows to 0 / 0. Lanes that have ended stand still: their alpha and gamma are exactly 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

LANES = 16
FAST = {"reassoc", "contract", "arcp", "nsz"}  # neither "nnan" nor "ninf": infinities are tested for
TINY = 1e-100
IMPOSSIBLE = 1e-290


def states_type(states: int) -> tuple[int, ...]:
    """What stands for the number of states in calls of the kernels: its length is part of the compiled signature."""
    return (0,) * states


@njit(cache=True, fastmath=FAST)
def forward(
    states: Any, b: Any, lengths: Any, start: Any, transition: Any, alpha: Any, scale: Any, log_likelihood: Any
) -> None:
    """Filters every lane.

    b               (steps, states, LANES): log densities; replaced by densities relative to a constant of each frame
    lengths         (LANES,) steps of each lane
    start, transition   (states,), (states, states)
    alpha           (steps, states, LANES) out: P(state | observations up to the step)
    scale           (steps, LANES) out: 1 / sum of the unnormalised alpha (Rabiner's c, equation 91)
    log_likelihood  (LANES,) out
    """
    K, T, shortest = len(states), b.shape[0], lengths.min()
    frame, total, peak = np.empty((K, LANES)), np.empty(LANES), np.empty(LANES)
    product, peaks = np.ones(LANES), np.zeros(LANES)
    log_likelihood[:] = 0.0
    for t in range(T):
        for v in range(LANES):
            highest = b[t, 0, v]
            for k in range(1, K):
                highest = b[t, k, v] if b[t, k, v] > highest else highest
            peak[v] = highest
            total[v] = 0.0
        for k in range(K):
            for v in range(LANES):
                frame[k, v] = exp_of_negative(b[t, k, v] - peak[v])
        for j in range(K):
            for v in range(LANES):
                if t == 0:
                    a = start[j]
                else:
                    a = 0.0
                    for i in range(K):
                        a += alpha[t - 1, i, v] * transition[i, j]
                a *= frame[j, v]
                alpha[t, j, v] = a
                total[v] += a
        if t >= shortest:
            _stand_still(t, lengths, frame, alpha, total, peak)
        low = 0
        for v in range(LANES):
            low += total[v] < TINY
        if low > 0:
            for v in range(LANES):
                if total[v] < TINY:
                    _rescue(t, v, b, start, transition, alpha, frame, total, peak)
        low = 0
        for v in range(LANES):
            product[v] *= total[v]
            peaks[v] += peak[v]
            scale[t, v] = 1.0 / total[v]
            low += product[v] < TINY
        if low > 0:
            for v in range(LANES):
                log_likelihood[v] += np.log(product[v])
                product[v] = 1.0
        for k in range(K):
            for v in range(LANES):
                alpha[t, k, v] *= scale[t, v]
                b[t, k, v] = frame[k, v]
    for v in range(LANES):
        log_likelihood[v] += np.log(product[v]) + peaks[v]


@njit(cache=True, fastmath=FAST)
def backward(states: Any, b: Any, lengths: Any, transition: Any, alpha: Any, scale: Any, starts: Any, xi: Any) -> None:
    """Smooths every lane, after `forward`.

    alpha   (steps, states, LANES): replaced by gamma, P(state | all observations of the sequence)
    starts  (states,): expected starts are added (equation 40a)
    xi      (states, states): expected transitions are added (equation 40b's numerator)
    """
    K, T, shortest = len(states), b.shape[0], lengths.min()
    beta, w, xi_lanes = np.ones((K, LANES)), np.empty((K, LANES)), np.zeros((K, K, LANES))
    for t in range(T - 1, 0, -1):
        if t + 1 >= shortest:
            _restart(t + 1, lengths, beta)
        for k in range(K):
            for v in range(LANES):
                w[k, v] = b[t, k, v] * scale[t, v] * beta[k, v]
                alpha[t, k, v] *= beta[k, v]
        for i in range(K):
            for v in range(LANES):
                s, a = 0.0, alpha[t - 1, i, v]
                for j in range(K):
                    s += w[j, v] * transition[i, j]
                    xi_lanes[i, j, v] += a * w[j, v]
                beta[i, v] = s
    if T > 0:
        _restart(1, lengths, beta)
        for i in range(K):
            for v in range(LANES):
                alpha[0, i, v] *= beta[i, v]
                starts[i] += alpha[0, i, v]
    for i in range(K):
        for j in range(K):
            s = 0.0
            for v in range(LANES):
                s += xi_lanes[i, j, v]
            xi[i, j] += s * transition[i, j]


@njit(cache=True)
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


@njit(cache=True)
def _stand_still(t: Any, lengths: Any, frame: Any, alpha: Any, total: Any, peak: Any) -> None:
    for v in range(LANES):
        if t >= lengths[v]:
            frame[:, v] = 0.0
            alpha[t, :, v] = 0.0
            total[v] = 1.0
            peak[v] = 0.0


@njit(cache=True)
def _restart(end: Any, lengths: Any, beta: Any) -> None:
    for v in range(LANES):
        if end >= lengths[v]:
            beta[:, v] = 1.0


@njit(cache=True)
def _rescue(t: Any, v: Any, b: Any, start: Any, transition: Any, alpha: Any, frame: Any, total: Any, peak: Any) -> None:
    """Redoes one frame of one lane in logs: densities relative to the best state *weighted by its prediction*.

    Where no state that can be reached has a density above 0, the frame says nothing, and the log-likelihood is minus infinity.
    """
    K = len(start)
    predicted = np.empty(K)
    peak[v] = -np.inf
    for j in range(K):
        predicted[j] = start[j] if t == 0 else np.sum(alpha[t - 1, :, v] * transition[:, j])
        if predicted[j] > IMPOSSIBLE:
            peak[v] = max(peak[v], b[t, j, v] + np.log(predicted[j]))
    total[v] = 0.0
    for j in range(K):
        if predicted[j] <= IMPOSSIBLE:
            frame[j, v] = 0.0
        elif peak[v] == -np.inf:
            frame[j, v] = 1.0
        else:
            frame[j, v] = np.exp(b[t, j, v] - peak[v])
        alpha[t, j, v] = predicted[j] * frame[j, v]
        total[v] += alpha[t, j, v]


@intrinsic
def _float_bits(typing_context: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _bits_float(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@njit(cache=True, fastmath={"contract"}, forceinline=True)
def exp_of_negative(x: Any) -> Any:
    """exp(x) for x <= 0 to about one unit in the last place; below -708, exp(-708). Branchless, so that lanes vectorise.

    Inlined by LLVM, not by numba, so that it keeps its own flags: reassociated, the rounding to n would vanish.

    x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by its Taylor polynomial, n added to the exponent's bits (Cody and Waite 1980).
    """
    x = x if x > -708.0 else -708.0
    shifted = x * 1.4426950408889634 + 6755399441055744.0  # 1.5 * 2**52: rounds to the nearest n, and leaves n in the low bits
    n = shifted - 6755399441055744.0
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _bits_float((_float_bits(shifted) << 52) + 4607182418800017408)
