"""Readings of which some channels are missing, of states with full covariances: marginalised, and completed by expectation.

EM for incomplete normal data (Little and Rubin 2002, section 11.2; Ghahramani and Jordan 1994). Of a state with mean m and
covariance S, a reading with the channels o observed and u unobserved has the density of x_o under m_o and S_oo, and adds to the
statistics

    E[x_u]              = m_u + B (x_o − m_o),  B = S_uo S_oo⁻¹
    E[x_u x_u']         = E[x_u] E[x_u]' + S_uu − B S_ou

Frames are put in order of which channels they lack. Of each such pattern the frames are packed side by side and take the kernels
of complete readings, and what they add is a linear map of their sums, done once: no more than one pattern's matrices are held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hindcast.classical.hmm.kernels.gaussian import full_density, full_sums
from hindcast.classical.hmm.kernels.lattice import FAST
from hindcast.classical.hmm.kernels.vector import LANES

LOG_2PI = float(np.log(2 * np.pi))


@njit(cache=True, nogil=True)
def is_complete(observed: Any, lengths: Any) -> Any:
    """Whether every channel of every lane was observed up to the lane's end."""
    for t in range(observed.shape[0]):
        for v in range(LANES):
            if t < lengths[v]:
                for c in range(observed.shape[1]):
                    if observed[t, c, v] == 0.0:
                        return False
    return True


@njit(cache=True, nogil=True)
def incomplete_density(x: Any, observed: Any, means: Any, covars: Any, out: Any) -> None:
    """Writes the log density of what was observed; 0 where nothing was.

    x, observed     (steps, channels, LANES)
    means, covars   (states, channels), (states, channels, channels)
    out             (steps, states, LANES)
    """
    frames, bounds = _by_pattern(observed)
    K = len(means)
    for p in range(len(bounds) - 1):
        here = frames[bounds[p] : bounds[p + 1]]
        seen = _observed_channels(observed, here[0])
        if len(seen) == 0:
            for frame in here:
                out[frame // LANES, :, frame % LANES] = 0.0
            continue
        W, shift, constant = _whitening(means, covars, seen)
        packed = _packed(x, here, seen)
        density = np.empty((len(packed), K, LANES))
        full_density(packed, W, shift, constant, density)
        for n, frame in enumerate(here):
            for k in range(K):
                out[frame // LANES, k, frame % LANES] = density[n // LANES, k, n % LANES]


@njit(cache=True, nogil=True)
def incomplete_sums(x: Any, observed: Any, means: Any, covars: Any, gamma: Any, sums: Any) -> None:
    """Adds what is expected of complete readings, as `full_sums` adds them; where nothing was observed, nothing.

    x, observed     (steps, channels, LANES)
    means, covars   (states, channels), (states, channels, channels)
    gamma           (steps, states, LANES)
    sums            (states, channels + 1, channels + 1, LANES)
    """
    frames, bounds = _by_pattern(observed)
    K, channels = means.shape
    states = np.arange(K)
    for p in range(len(bounds) - 1):
        here = frames[bounds[p] : bounds[p + 1]]
        seen = _observed_channels(observed, here[0])
        o = len(seen)
        if o == 0:
            continue
        partial = np.zeros((K, o + 1, o + 1, LANES))
        full_sums(_packed(x, here, seen), _packed(gamma, here, states), partial)
        if o == channels:
            sums += partial
            continue
        W, _, _ = _whitening(means, covars, seen)
        unseen = np.array([c for c in range(channels) if observed[here[0] // LANES, c, here[0] % LANES] == 0.0])
        for k in range(K):
            _complete(means[k], covars[k], W[k], seen, unseen, partial[k], sums[k])


@njit(cache=True, nogil=True)
def _by_pattern(observed: Any) -> Any:
    """All frames, step · LANES + lane, those of one pattern together, and where each pattern begins and the last one ends."""
    codes, exact = _codes(observed)
    total, slots = len(codes), 2
    while slots < 2 * total:
        slots *= 2
    table, examples, number = np.full(slots, -1), np.empty(total, np.int64), np.empty(total, np.int64)
    patterns = 0
    for frame in range(total):
        code = codes[frame]
        slot = np.int64((code * np.uint64(11400714819323198485) >> np.uint64(20)) & np.uint64(slots - 1))  # Knuth's hash
        while table[slot] >= 0:
            example = examples[table[slot]]
            if codes[example] == code and (exact or _alike(observed, example, frame)):
                break
            slot = (slot + 1) % slots
        if table[slot] < 0:
            table[slot] = patterns
            examples[patterns] = frame
            patterns += 1
        number[frame] = table[slot]
    bounds = np.zeros(patterns + 1, np.int64)
    for pattern in number:
        bounds[pattern + 1] += 1
    bounds = np.cumsum(bounds)
    frames, filled = np.empty(total, np.int64), bounds[:-1].copy()
    for frame, pattern in enumerate(number):
        frames[filled[pattern]] = frame
        filled[pattern] += 1
    return frames, bounds


@njit(cache=True, nogil=True)
def _codes(observed: Any) -> Any:
    """A number of each frame's pattern, and whether other patterns surely have others: bits, if there are not too many."""
    steps, channels, _ = observed.shape
    exact = channels <= 64
    factor = np.uint64(2 if exact else 1099511628211)  # Fowler, Noll and Vo's prime
    codes = np.zeros((steps, LANES), np.uint64)
    for t in range(steps):
        for c in range(channels):
            for v in range(LANES):
                codes[t, v] = codes[t, v] * factor + np.uint64(observed[t, c, v] > 0)
    return codes.ravel(), exact


@njit(cache=True, nogil=True)
def _alike(observed: Any, frame: Any, other: Any) -> Any:
    for c in range(observed.shape[1]):
        if (observed[frame // LANES, c, frame % LANES] > 0) != (observed[other // LANES, c, other % LANES] > 0):
            return False
    return True


@njit(cache=True, nogil=True)
def _observed_channels(observed: Any, frame: Any) -> Any:
    return np.flatnonzero(observed[frame // LANES, :, frame % LANES] > 0)


@njit(cache=True, nogil=True)
def _packed(source: Any, frames: Any, rows: Any) -> Any:
    """The `rows` of each of the `frames`, LANES frames side by side; 0 after the last frame."""
    packed = np.zeros(((len(frames) + LANES - 1) // LANES, len(rows), LANES))
    for n, frame in enumerate(frames):
        for i, c in enumerate(rows):
            packed[n // LANES, i, n % LANES] = source[frame // LANES, c, frame % LANES]
    return packed


@njit(cache=True, nogil=True)
def _whitening(means: Any, covars: Any, seen: Any) -> Any:
    """Of each state: W, the inverse Cholesky factor of what is seen of its covariance, W mean, and the density's constant."""
    K, o = len(means), len(seen)
    W, shift, constant = np.zeros((K, o, o)), np.zeros((K, o)), np.full(K, -0.5 * o * LOG_2PI)
    factor = np.zeros((o, o))
    for k in range(K):
        for i in range(o):
            for j in range(i + 1):
                rest = covars[k, seen[i], seen[j]]
                for n in range(j):
                    rest -= factor[i, n] * factor[j, n]
                factor[i, j] = np.sqrt(rest) if i == j else rest / factor[j, j]
            W[k, i, i] = 1 / factor[i, i]
            constant[k] += np.log(W[k, i, i])
            for j in range(i):
                rest = 0.0
                for n in range(j, i):
                    rest -= factor[i, n] * W[k, n, j]
                W[k, i, j] = rest * W[k, i, i]
            for j in range(i + 1):
                shift[k, i] += W[k, i, j] * means[k, seen[j]]
    return W, shift, constant


@njit(cache=True, nogil=True, fastmath=FAST)
def _complete(mean: Any, covar: Any, W: Any, seen: Any, unseen: Any, partial: Any, sums: Any) -> None:
    """Adds A M A' + M[0, 0] · (S_uu − B S_ou) to `sums` (channels + 1, channels + 1, LANES), in the first lane.

    M are the sums (o + 1, o + 1, LANES) of (1, x_o), and A maps that to (1, E[x | x_o]): unmoved where seen.
    """
    o, u = len(seen), len(unseen)
    M, row = np.zeros((o + 1, o + 1)), np.zeros(o + 1, np.int64)
    row[1:] = seen + 1
    for i in range(o + 1):
        for j in range(i + 1):
            for v in range(LANES):
                M[i, j] += partial[i, j, v]
            M[j, i] = M[i, j]
            sums[row[i], row[j], 0] += M[i, j]
    whitened, A, moved = np.zeros((u, o)), np.zeros((u, o + 1)), np.zeros((u, o + 1))  # S_uo W', and rows of A and A M
    for r in range(u):
        at = unseen[r] + 1
        A[r, 0] = mean[unseen[r]]
        for i in range(o):
            for j in range(i + 1):
                whitened[r, i] += covar[unseen[r], seen[j]] * W[i, j]
        for j in range(o):
            for i in range(j, o):
                A[r, j + 1] += whitened[r, i] * W[i, j]
            A[r, 0] -= A[r, j + 1] * mean[seen[j]]
        for i in range(o + 1):
            for j in range(o + 1):
                moved[r, i] += A[r, j] * M[j, i]
            sums[max(at, row[i]), min(at, row[i]), 0] += moved[r, i]
        for s in range(r + 1):
            here = M[0, 0] * covar[unseen[r], unseen[s]]
            for i in range(o):
                here -= M[0, 0] * whitened[r, i] * whitened[s, i]
            for i in range(o + 1):
                here += moved[r, i] * A[s, i]
            sums[at, unseen[s] + 1, 0] += here
