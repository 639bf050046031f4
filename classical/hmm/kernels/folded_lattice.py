"""The lattice of one long sequence, compiled, step after step: for a group that is folded.

Its steps follow each other, so they cannot be taken side by side as in `lattice`: here a step's states lie in the vector lanes.
Arrays come and go as ever, (steps, states, LANES). They are turned a run of steps at a time, so that all of it stays in the
nearest cache: (1 + steps, vectors, LANES), a row for each step in order, after the last one of the run before, with zeros after
the states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.lattice import FAST, TINY, predicted, relative, rescue
from hindcast.classical.hmm.kernels.vector import LANES, larger, load, number, splat, store, total

ROWS = 256


@njit(cache=True, nogil=True, fastmath=FAST)
def forward(b: Any, peaks: Any, lengths: Any, start: Any, transition: Any, alpha: Any, scale: Any, log_likelihood: Any) -> Any:
    """As `lattice.forward`; `log_likelihood` (LANES,) is the sequence's in the first place, and 0 in the others.

    Returns how many frames were redone in logs.

    A step is not divided by its own sum, which would be waited for. With v the rows, S their sums, and q the probability of an
    observation given those before,

    v[t] = (v[t-1] · transition) b[t] g[t-1],   g[t] = 1 / (S[t-1] g[t-1]);   S[t] = q[t] q[t-1],   alpha[t] = v[t] g[t]
    """
    K = b.shape[1]
    matrix, density, v = _matrix(transition, 0.0), _rows(K), _rows(K)
    numbers, sums, g = v.reshape(len(v), -1), np.ones(len(v)), np.ones(len(v))
    logs, constants, product, rescued = b if peaks is not None else b.copy(), np.empty((len(b), LANES)), 1.0, 0
    log_likelihood[:], alpha[:], scale[:] = 0.0, 0.0, 1.0
    if peaks is None:
        relative(b, constants)
    else:
        constants[:] = peaks
    for lane, begin, steps in _runs(lengths):
        _turn(b, lane, begin, steps, density)
        row = 1
        while row <= steps:
            first = lane == 0 and begin == 0 and row == 1
            if first:
                numbers[1, :K] = start * b[0, :, 0]
                sums[1] = numbers[1].sum()
            if not first or sums[1] >= TINY:
                row = _advance(v, sums, g, density, matrix, row + first, steps)
            if row <= steps:
                t = begin + row - 1
                in_logs = logs[t, :, lane].copy() if peaks is None else np.log(b[t, :, lane]) + constants[t, lane]
                ahead = start if lane == 0 and t == 0 else predicted(numbers[row - 1, :K] / sums[row - 1], transition)
                constants[t, lane] = rescue(ahead, in_logs, b[t, :, lane])
                numbers[row, :K] = ahead * b[t, :, lane]
                sums[row], g[row] = numbers[row].sum(), 1.0
                row, rescued = row + 1, rescued + 1
        for row in range(1, steps + 1):
            t = begin + row - 1
            scale[t, lane] = 1.0 / (sums[row] * g[row])
            log_likelihood[0] += constants[t, lane]
            product *= sums[row] * g[row]
            if product < TINY:
                log_likelihood[0] += np.log(product)
                product = 1.0
        _turn_back(v, g, lane, begin, steps, alpha)
        numbers[0], sums[0], g[0] = numbers[steps], sums[steps], g[steps]
    log_likelihood[0] += np.log(product)
    return rescued


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _advance(v: Any, sums: Any, g: Any, density: Any, matrix: Any, row: Any, steps: Any) -> Any:
    """On to the first row that must be rescued, which is returned, or to the last, and then the one after it is returned."""
    numbers = v.reshape(len(v), -1)
    while row <= steps:
        before, summed = number(g, (row - 1,)), splat(0.0)
        ahead = 1.0 / (number(sums, (row - 1,)) * before)
        for vector in range(v.shape[1]):
            here = _product(numbers, row - 1, matrix, vector) * (load(density, (row, vector)) * before)
            store(v, (row, vector), here)
            summed = summed + here
        sums[row], g[row] = total(summed), ahead
        if sums[row] * ahead < TINY:
            break
        row += 1
    return row


@njit(cache=True, nogil=True, fastmath=FAST)
def backward(
    b: Any,
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
    """As `lattice.backward`; of `weights` (LANES,) the first is the sequence's. All of `largest` (LANES,) is the same."""
    K, ones = b.shape[1], np.ones(1 + ROWS)
    matrix, products, density, a, w, beta = _matrix(transition.T, 0.0), _products(K), _rows(K), _rows(K), _rows(K), _rows(K)
    before, runs, vectors, after = np.ones(2 + ROWS), _runs(lengths), a.shape[1], 0
    if largest is not None:
        largest[:] = 0.0
    for lane, begin, steps in runs[::-1]:
        _turn(b, lane, begin, steps, density)
        _turn(alpha, lane, begin, steps, a)
        for row in range(1, steps + 1):
            before[row + 1] = scale[begin + row - 1, lane]
        last, t = (lane, begin - 1) if begin > 0 else (lane - 1, lengths[lane - 1] - 1)
        a[0], before[1] = 0.0, 1.0
        if last >= 0:
            a.reshape(len(a), -1)[0, :K], before[1] = alpha[t, :, last], scale[t, last]
        if after == 0:
            beta[steps] = weights[0] * before[steps + 1]
        else:
            beta[steps] = beta[0]
        after = steps
        for vector in range(vectors):
            store(w, (steps, vector), load(beta, (steps, vector)) * (load(density, (steps, vector)) * before[steps]))
        _retreat(beta, w, before, density, matrix, steps)
        if largest is not None:
            largest[:] = max(largest[0], _largest(beta, counts, lengths[:lane].sum() + begin, steps))
        _add_products(a, w, steps, products)
        for row in range(1, steps + 1):
            for vector in range(vectors):
                store(a, (row, vector), load(a, (row, vector)) * load(beta, (row, vector)))
        _turn_back(a, ones, lane, begin, steps, alpha)
    starts += alpha[0, :, 0]
    xi += products.reshape(K + 1, -1)[:K, :K] * transition


@njit(cache=True, nogil=True, fastmath=FAST)
def _retreat(beta: Any, w: Any, before: Any, density: Any, matrix: Any, steps: Any) -> None:
    numbers = w.reshape(len(w), -1)
    for row in range(steps - 1, -1, -1):
        for vector in range(w.shape[1]):
            later = _product(numbers, row + 1, matrix, vector)
            store(beta, (row, vector), later)
            store(w, (row, vector), later * (load(density, (row, vector)) * number(before, (row,))))


@njit(cache=True, nogil=True)
def _largest(beta: Any, counts: Any, first: Any, steps: Any) -> Any:
    """Of the rows of beta from step `first` on, times `counts`; see `lattice.backward`."""
    numbers, largest, K = beta.reshape(len(beta), -1), 0.0, counts.shape[1]
    for row in range(1, steps + 1):
        for k in range(K):
            largest = max(largest, numbers[row, k] * counts[min(first + row - 1, K), k])
    return largest


@njit(cache=True, nogil=True, fastmath=FAST)
def viterbi(log_b: Any, lengths: Any, log_start: Any, log_transition: Any, delta: Any, path: Any, log_probability: Any) -> None:
    """As `lattice.viterbi`; `log_probability` (LANES,) is the path's in the first place, and 0 in the others."""
    K, ones, end = log_b.shape[1], np.ones(1 + ROWS), 0
    matrix, density, rows = _matrix(log_transition, -np.inf), _rows(K), _rows(K)
    numbers = rows.reshape(len(rows), -1)
    numbers[:] = -np.inf
    for lane, begin, steps in _runs(lengths):
        _turn(log_b, lane, begin, steps, density)
        rows[0] = rows[end]
        for row in range(1, steps + 1):
            if lane == 0 and begin == 0 and row == 1:
                numbers[1, :K] = log_start + log_b[0, :, 0]
            else:
                for vector in range(rows.shape[1]):
                    best = _best(numbers, row - 1, matrix, vector)
                    store(rows, (row, vector), best + load(density, (row, vector)))
        _turn_back(rows, ones, lane, begin, steps, delta)
        end = steps
    path[:] = -1
    log_probability[:] = 0.0
    state = np.argmax(numbers[end, :K])
    log_probability[0] = numbers[end, state]
    _walk_back(delta, lengths, log_transition, state, path)


@njit(cache=True, nogil=True)
def _walk_back(delta: Any, lengths: Any, log_transition: Any, state: Any, path: Any) -> None:
    """From the last state, the first of the states that were best to come from."""
    into, last = log_transition.T.copy(), True
    for lane in range(LANES - 1, -1, -1):
        for t in range(lengths[lane] - 1, -1, -1):
            if not last:
                best, which = delta[t, 0, lane] + into[state, 0], 0
                for i in range(1, len(into)):
                    candidate = delta[t, i, lane] + into[state, i]
                    which = i if candidate > best else which
                    best = max(candidate, best)
                state = which
            path[t, lane], last = state, False


@njit(cache=True, nogil=True)
def _runs(lengths: Any) -> Any:
    """Lane, first step and how many steps, of runs of at most ROWS."""
    return [(lane, begin, min(ROWS, steps - begin)) for lane, steps in enumerate(lengths) for begin in range(0, steps, ROWS)]


@njit(cache=True, nogil=True)
def _rows(states: Any) -> Any:
    return np.zeros((1 + ROWS, (states + LANES - 1) // LANES, LANES))


@njit(cache=True, nogil=True)
def _products(states: Any) -> Any:
    """(1 + states, vectors, LANES)"""
    return np.zeros((1 + states, (states + LANES - 1) // LANES, LANES))


@njit(cache=True, nogil=True)
def _matrix(transition: Any, empty: Any) -> Any:
    """(states, vectors, LANES), and rows that are `empty`, up to a multiple of four."""
    K = len(transition)
    matrix = np.full(((K + 3) // 4 * 4, (K + LANES - 1) // LANES, LANES), empty)
    for i in range(K):
        for j in range(K):
            matrix[i, j // LANES, j % LANES] = transition[i, j]
    return matrix


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _product(x: Any, row: Any, matrix: Any, vector: Any) -> Any:
    """LANES columns of x[row] · matrix: four sums at a time, so that none waits for another."""
    p, q, r, s = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, len(matrix), 4):
        p = p + load(matrix, (i, vector)) * number(x, (row, i))
        q = q + load(matrix, (i + 1, vector)) * number(x, (row, i + 1))
        r = r + load(matrix, (i + 2, vector)) * number(x, (row, i + 2))
        s = s + load(matrix, (i + 3, vector)) * number(x, (row, i + 3))
    return (p + q) + (r + s)


@njit(cache=True, nogil=True, fastmath=FAST, forceinline=True)
def _best(x: Any, row: Any, matrix: Any, vector: Any) -> Any:
    """As `_product`, with the largest of sums."""
    p, q, r, s = splat(-np.inf), splat(-np.inf), splat(-np.inf), splat(-np.inf)
    for i in range(0, len(matrix), 4):
        p = larger(p, load(matrix, (i, vector)) + number(x, (row, i)))
        q = larger(q, load(matrix, (i + 1, vector)) + number(x, (row, i + 1)))
        r = larger(r, load(matrix, (i + 2, vector)) + number(x, (row, i + 2)))
        s = larger(s, load(matrix, (i + 3, vector)) + number(x, (row, i + 3)))
    return larger(larger(p, q), larger(r, s))


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_products(a: Any, w: Any, steps: Any, products: Any) -> None:
    """Adds a[row - 1, i] · w[row, j] of all steps to `products` (1 + states, vectors, LANES), whose last row is for none."""
    K = len(products) - 1
    numbers = a.reshape(len(a), -1)
    for first in range(0, K, 4):
        p, q, r, s = first, min(first + 1, K), min(first + 2, K), min(first + 3, K)
        for vector in range(w.shape[1]):
            at_p, at_q = load(products, (p, vector)), load(products, (q, vector))
            at_r, at_s = load(products, (r, vector)), load(products, (s, vector))
            for row in range(1, steps + 1):
                here = load(w, (row, vector))
                at_p, at_q = at_p + here * number(numbers, (row - 1, p)), at_q + here * number(numbers, (row - 1, q))
                at_r, at_s = at_r + here * number(numbers, (row - 1, r)), at_s + here * number(numbers, (row - 1, s))
            store(products, (p, vector), at_p)
            store(products, (q, vector), at_q)
            store(products, (r, vector), at_r)
            store(products, (s, vector), at_s)


@njit(cache=True, nogil=True)
def _turn(x: Any, lane: Any, begin: Any, steps: Any, rows: Any) -> None:
    """From a lane of (steps, states, LANES) to rows, from the second row on."""
    numbers = rows.reshape(len(rows), -1)
    for row in range(steps):
        for k in range(x.shape[1]):
            numbers[1 + row, k] = x[begin + row, k, lane]


@njit(cache=True, nogil=True)
def _turn_back(rows: Any, factor: Any, lane: Any, begin: Any, steps: Any, out: Any) -> None:
    """From rows, times a factor for each, to a lane."""
    numbers = rows.reshape(len(rows), -1)
    for row in range(steps):
        for k in range(out.shape[1]):
            out[begin + row, k, lane] = numbers[1 + row, k] * factor[1 + row]
