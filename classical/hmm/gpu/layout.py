"""Sequences in a GPU's memory, laid side by side for its warps, from one EM iteration to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import config, cuda

from hindcast.classical.hmm.kernels.lanes import Spans

SIMULATED = bool(config.ENABLE_CUDASIM)  # by numba, where every thread of the GPU's is one of Python's: fewer will do
WIDTH = 4 if SIMULATED else 32  # sequences side by side: the threads of a warp
ROWS = 2 if SIMULATED else 8  # of threads in a block of what works on every step by itself
# A batch has a step for so many bytes of the GPU's memory; the lattice of 64 states then takes half of it.
BYTES_A_STEP = 2048
MOST_STEPS = 1 << 26


@dataclass(frozen=True)
class Batch:
    """Sequences as sections of WIDTH places, longest first; `hmm.lanes.Group` says what these are.

    members     (places,) int64: which of the spans is at each place; -1 where none is
    lengths     (places,) int64: steps at each place, the most at the first of a section
    weights     (places,) float64
    steps       of all sections together
    begins      on the GPU (sections,) int32: the step that each section begins at
    ends        on the GPU (places,) int32: `lengths`
    section     on the GPU (steps,) int32: which section each step is of
    values      on the GPU (steps + sections · order, channels, WIDTH): each section's history, then its steps; not centred
    observed    on the GPU, of the same shape, uint8; None where everything was measured
    scored      what families have made of `observed`, by how they did
    """

    members: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    steps: int
    begins: Any
    ends: Any
    section: Any
    values: Any
    observed: Any
    scored: dict[bool, Any] = field(default_factory=dict)

    @property
    def sections(self) -> int:
        return len(self.lengths) // WIDTH

    @property
    def mask(self) -> Any:
        """`observed`, or something that kernels which are not masked are given in its place: they take no None."""
        return self.values if self.observed is None else self.observed

    @property
    def bytes(self) -> int:
        return int(self.values.nbytes + self.section.nbytes + (0 if self.observed is None else 2 * self.observed.nbytes))


def lay_out(spans: Spans, order: int) -> Iterator[Batch]:
    """The sequences that have a step to score, each conditioned on the `order` steps before it."""
    spans = spans.after_history(order)
    sequences = np.argsort(-spans.lengths, kind="stable")[: int((spans.lengths > 0).sum())]
    readings = cuda.to_device(np.ascontiguousarray(spans.values))
    mask = None if spans.observed is None else cuda.to_device(np.ascontiguousarray(spans.observed, np.uint8))
    for members in _batches(sequences, spans.lengths):
        yield _batch(spans, members, order, readings, mask)


def rows_of_threads(steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Blocks and threads for a kernel that takes every step of every place."""
    return (-(-steps // ROWS), 1), (WIDTH, ROWS)


def _batches(sequences: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Of sequences that are sorted by length, as many at a time as the GPU has memory for."""
    _, total = cuda.current_context().get_memory_info()
    most = int(min(total / BYTES_A_STEP, MOST_STEPS))
    first = 0
    while first < len(sequences):
        sections = max(1, most // (WIDTH * int(lengths[sequences[first]])))
        yield sequences[first : first + sections * WIDTH]
        first += sections * WIDTH


def _batch(spans: Spans, sequences: np.ndarray, order: int, readings: Any, mask: Any) -> Batch:
    spare = -len(sequences) % WIDTH
    members = np.concatenate([sequences, np.full(spare, -1)])
    lengths = np.where(members >= 0, spans.lengths[members], 0)
    weights = np.where(members >= 0, 1.0 if spans.weight is None else spans.weight[members], 0.0)
    longest = lengths[::WIDTH]
    begins = np.concatenate([[0], np.cumsum(longest)])
    steps, sections = int(begins[-1]), len(longest)
    where = [cuda.to_device(np.where(members >= 0, part[members], 0)) for part in (spans.row, spans.start)]
    section = cuda.to_device(np.repeat(np.arange(sections, dtype=np.int32), longest + order))
    ends, on_gpu = cuda.to_device(lengths.astype(np.int32)), cuda.to_device(begins[:-1].astype(np.int32))

    def laid(source: Any) -> Any:
        out = cuda.device_array((steps + sections * order, spans.values.shape[2], WIDTH), source.dtype)
        blocks, threads = rows_of_threads(len(out))
        _lay_out[blocks, threads](source, *where, ends, on_gpu, section, order, out)
        return out

    values, observed = laid(readings), None if mask is None else laid(mask)
    if order:
        section = cuda.to_device(np.repeat(np.arange(sections, dtype=np.int32), longest))
    return Batch(members, lengths, weights, steps, on_gpu, ends, section, values, observed)


@cuda.jit
def _lay_out(source: Any, row: Any, start: Any, ends: Any, begins: Any, section: Any, order: Any, out: Any) -> None:
    """`start` without, `section` with the `order` steps of history before each."""
    lane, to = cuda.threadIdx.x, cuda.blockIdx.x * ROWS + cuda.threadIdx.y
    if to < len(out):
        s = section[to]
        place, step = s * WIDTH + lane, to - begins[s] - s * order
        filled = ends[place] > 0 and step < ends[place] + order
        for c in range(out.shape[1]):
            out[to, c, lane] = source[row[place], start[place] - order + step, c] if filled else 0
