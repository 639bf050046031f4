"""Sequences in memory, as a user gives them: one array with lengths, or a list of arrays. Checked once, never copied twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hindcast.classical.hmm.kernels.lanes import Spans, concatenated
from hindcast.prep.errors import InputError

Lengths = Sequence[int] | np.ndarray | None
# readings (steps, channels) -> where they are such as the family can emit, the same shape, and what that is, in words
Check = Callable[[np.ndarray], tuple[np.ndarray, str]]
STEPS_AT_ONCE = 1 << 18  # of one E-step: parts for threads, and a bound on memory


def sequences_of(X: Any, lengths: Lengths = None, weights: Any = None, *, check: Check, what: str = "X") -> Spans:
    """Sequences of readings, NaN where one is missing.

    X           (steps, channels), the sequences one after the other; or a list of such arrays, one a sequence
    lengths     how many steps of an array each sequence has; one sequence without it
    weights     (sequences,), how often each sequence counts; once without it

    Raises InputError that names sequence, step and channel of a reading that is infinite or not one of the family's.
    """
    readings, lengths = _joined(X, lengths, what)
    if readings.ndim != 2 or not readings.shape[1] or readings.dtype.kind not in "fiu":
        raise InputError(f"{what}: found shape {readings.shape} of {readings.dtype}, expected numbers (steps, channels)")
    try:
        per_sequence = np.array([len(readings)] if lengths is None else lengths)
    except ValueError:
        raise InputError(f"lengths: expected one whole number a sequence, found {lengths!r}") from None
    if per_sequence.ndim != 1 or (len(per_sequence) and per_sequence.dtype.kind not in "iu") or (per_sequence < 0).any():
        raise InputError(f"lengths: expected whole numbers, not negative, found {lengths!r}")
    if per_sequence.sum() != len(readings):
        raise InputError(f"lengths: add up to {per_sequence.sum()}, and {what} has {len(readings)} steps")
    per_sequence = per_sequence.astype(np.int64)
    missing = np.isnan(readings) if readings.dtype.kind == "f" else None
    fine, expected = check(readings)
    if not fine.all():
        fine = fine if missing is None else fine | missing
        if not fine.all():
            _refuse(readings, fine, expected, per_sequence, what)
    spans = concatenated(readings, per_sequence)
    if missing is not None and missing.any():
        spans = concatenated(np.where(missing, readings.dtype.type(0), readings), per_sequence, (~missing).astype(np.uint8))
    if weights is None:
        return spans
    often = weights_of(weights, len(per_sequence))
    spans = replace(spans, weight=often)
    must_count(bool(often.any()), bool(per_sequence.any()), counts(spans))
    return spans


def counts(spans: Spans) -> bool:
    """Whether there is a sequence with steps and a weight above 0."""
    return bool((spans.lengths > 0).any() if spans.weight is None else (spans.weight[spans.lengths > 0] > 0).any())


def must_count(weighted: bool, steps: bool, both: bool) -> None:
    """Raises InputError where no sequence with steps has a weight above 0, though there are sequences with steps."""
    if not weighted:
        raise InputError("weights: all are 0: nothing would count")
    if steps and not both:
        raise InputError("weights: only sequences without a step have one above 0: nothing would count")


def empty(spans: Spans) -> list[str]:
    """A note on how many sequences have no step; no note where all have steps."""
    none = np.flatnonzero(spans.lengths == 0)
    if not len(none):
        return []
    return [
        f"{len(none)} of {len(spans.lengths)} sequences without a step, the first of them sequence {none[0]}: they say nothing"
    ]


def unmeasured(spans: Spans) -> list[str]:
    """A note on each channel that has no reading in any sequence."""
    if spans.observed is None:
        return []
    never = np.ones(spans.values.shape[2], bool)
    for row, start, stop in zip(spans.row, spans.start, spans.stop, strict=True):
        never &= ~spans.observed[row, start:stop].any(axis=0)
    return [f"channel {channel} was never measured: it says nothing of the states" for channel in np.flatnonzero(never)]


def parts(spans: Spans, least: int = 1) -> list[Spans]:
    """The same sequences, at most about STEPS_AT_ONCE steps at a time, and in `least` parts where there are so many."""
    ends = np.cumsum(spans.lengths)
    border = ends // min(STEPS_AT_ONCE, max(1, int(ends[-1]) // max(1, least) if len(ends) else 1))
    cuts = np.flatnonzero(np.diff(border)) + 1
    return [subset(spans, slice(a, b)) for a, b in zip([0, *cuts], [*cuts, len(border)], strict=True)]


def subset(spans: Spans, which: Any) -> Spans:
    """The sequences `which` of `spans`: a slice, or their numbers."""
    fields = {name: getattr(spans, name)[which] for name in ("row", "first", "start", "stop")}
    return replace(spans, **fields, weight=None if spans.weight is None else spans.weight[which])


def sampled(spans: Spans, steps: int) -> Spans:
    """A sample of about `steps` steps: whole sequences, evenly spaced over all; of longer ones the beginning."""
    present = np.flatnonzero(spans.lengths > 0)
    many = max(1, int(np.ceil(steps / max(1.0, float(spans.lengths[present].mean()))))) if len(present) else 0
    numbers = present[np.unique(np.linspace(0, len(present) - 1, min(many, len(present))).round().astype(int))]
    sample = subset(spans, numbers)
    return replace(sample, stop=np.minimum(sample.stop, sample.start + steps), weight=None)


def _joined(X: Any, lengths: Lengths, what: str) -> tuple[np.ndarray, Lengths]:
    if not (isinstance(X, list | tuple) and len(X) and isinstance(X[0], np.ndarray | list | tuple) and np.ndim(X[0]) == 2):
        return _numbers(X, what), lengths
    if lengths is not None:
        raise InputError(f"lengths: given with a list of {len(X)} sequences, whose lengths are known")
    arrays = [_numbers(array, f"{what}, sequence {number}") for number, array in enumerate(X)]
    channels = arrays[0].shape[1]
    for number, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != channels:
            raise InputError(f"{what}: sequence {number} has shape {array.shape}, and sequence 0 has {channels} channels")
    return np.concatenate(arrays), [len(array) for array in arrays]


def _numbers(X: Any, what: str) -> np.ndarray:
    """As the compiled code takes them: whole numbers, or floats of 32 or 64 bits, NaN where masked or None."""
    try:
        readings = X.astype(np.float64).filled(np.nan) if np.ma.isMaskedArray(X) else np.ascontiguousarray(X)
        if readings.dtype.kind in "fbO" and readings.dtype not in (np.float32, np.float64):
            readings = readings.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: expected numbers (steps, channels), or a list of such arrays ({error})") from None
    return readings if readings.dtype.isnative else readings.astype(readings.dtype.newbyteorder("="))


def weights_of(weights: Any, sequences: int) -> np.ndarray:
    """The weights as an array (sequences,). Raises InputError for one that is not finite, or is negative."""
    try:
        numbers = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights: expected numbers, found {weights!r} ({error})") from None
    if numbers.shape != (sequences,):
        raise InputError(f"weights: found shape {numbers.shape}, expected one for each of the {sequences} sequences")
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(bad):
        raise InputError(f"weights: sequence {bad[0]}: found {numbers[bad[0]]:g}, expected a finite number, not negative")
    return numbers


def _refuse(readings: np.ndarray, fine: np.ndarray, expected: str, lengths: np.ndarray, what: str) -> None:
    at, channel = np.argwhere(~fine)[0]
    sequence = int(np.searchsorted(np.cumsum(lengths), at, side="right"))
    step = at - (np.cumsum(lengths)[sequence] - lengths[sequence])
    raise InputError(
        f"{what}: sequence {sequence}, step {step}, channel {channel}: found {readings[at, channel]:g}, expected {expected}"
    )
