"""What one pass over the pieces finds: where every reading went, the moments of the training split, the lengths of things."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from hindcast.prep.dataset.manifest import OUTSIDE
from hindcast.prep.scaling.affine import Moments, merge, moments
from hindcast.prep.sequences.chunks import Piece
from hindcast.prep.sequences.segments import Chunk, Cut, Segment, parts, segments


@dataclass
class Ledger:
    """Of all pieces, or of some.

    moments    series → of the measured values of its training steps, channels and then covariates, piece by piece
    counts     split, or "outside" → what was counted
    runs       of the training split: windows in succession → how many such runs
    longest    split → steps of its longest segment
    series     split → the series that have a step in it
    duplicate  the first duplicate: (series, step)
    extremes   (2, channels and then covariates): the lowest and the highest on the grid in any series, [inf, -inf] where there is
               none; of no piece (2, 0)
    """

    moments: dict[str, list[tuple[int, Moments]]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)
    longest: dict[str, int] = field(default_factory=dict)
    series: dict[str, set[str]] = field(default_factory=dict)
    duplicate: tuple[str, int] | None = None
    extremes: np.ndarray = field(default_factory=lambda: np.empty((2, 0)))

    def of_series(self) -> dict[str, Moments]:
        """The training moments of each series. Its pieces are taken in the order of their time, so the partitioning does not
        matter.
        """
        return {
            series: merge(moments for _, moments in sorted(pieces, key=lambda piece: piece[0]))
            if len(pieces) > 1
            else pieces[0][1]
            for series, pieces in sorted(self.moments.items())
        }


def examine(piece: Piece, cut: Cut) -> str:
    """A piece's part of the ledger, as JSON."""
    chunk = piece.chunk
    counts = _places(piece, cut)
    record: dict[str, Any] = {"series": chunk.series, "first": chunk.first, "seam": chunk.first}
    runs: Counter[int] = Counter()
    longest: dict[str, int] = {}
    trained: list[Moments] = []
    own, read, kept_before = np.zeros((3, len(chunk.values)), bool)
    measured = (~np.isnan(chunk.values)).any(axis=1)
    read[piece.read - chunk.first] = measured[piece.read - chunk.first]
    kept_before[piece.kept - chunk.first] = measured[piece.kept - chunk.first]
    own[max(0, chunk.begin - chunk.first, piece.seam - chunk.first) : max(0, chunk.end - chunk.first)] = True
    for part in parts(chunk, cut):
        usable = chunk.first + np.flatnonzero(part.usable)
        record["seam"] = int(max([record["seam"], *(usable[usable >= part.start][-1:] + 1)]))
        here = own[: len(part.known)].copy()
        here[: max(0, part.start - chunk.first)] = False
        kept, reading = here & part.usable, read[: len(part.known)]
        # Counted as unfilled when they came, and usable now.
        rescued = int((kept & kept_before[: len(part.known)]).sum())
        counts[part.split].update(
            readings_kept=int((kept & reading).sum()) + rescued,
            readings_unfilled=int((here & ~part.usable & reading).sum()) - rescued,
            values_filled=int(np.isnan(part.known[kept]).sum()),
        )
        for segment in segments(chunk, part, cut, piece.seam):
            windows = len(segment.starts)
            counts[part.split].update(segments=1, windows=windows, steps=segment.own[1] - segment.own[0])
            counts[part.split].update(steps_in_no_window=_in_no_window(segment, cut))
            longest[part.split] = max(longest.get(part.split, 0), len(segment.values))
            if part.split == "train":
                breaks = np.flatnonzero(np.diff(segment.starts) != cut.layout.stride) + 1
                runs.update(len(run) for run in np.split(segment.starts, breaks) if len(run))
                mine = slice(*segment.own)
                both = np.concatenate([segment.values[mine], segment.covariates[mine]], axis=1)
                seen = np.concatenate([segment.observed[mine], ~np.isnan(segment.covariates[mine])], axis=1)
                trained.append(moments(np.nan_to_num(both), seen))
    record |= {"counts": counts, "runs": runs, "longest": longest}
    record["moments"] = [part.tolist() for part in astuple(merge(trained))] if trained else None
    record["extremes"] = _extremes(chunk).tolist()
    record["duplicate"] = int(piece.duplicates[0]) if len(piece.duplicates) else None
    return json.dumps(record)


def gather(records: Iterable[str]) -> Ledger:
    """The ledger of all pieces from their records."""
    ledger = Ledger()
    for record in map(json.loads, records):
        series = record["series"]
        for split, counts in record["counts"].items():
            ledger.counts.setdefault(split, Counter()).update(counts)
            if counts.get("steps"):
                ledger.series.setdefault(split, set()).add(series)
        ledger.runs.update({int(windows): count for windows, count in record["runs"].items()})
        for split, steps in record["longest"].items():
            ledger.longest[split] = max(ledger.longest.get(split, 0), steps)
        if record["moments"]:
            ledger.moments.setdefault(series, []).append((record["first"], Moments(*map(np.array, record["moments"]))))
        low, high = np.array(record["extremes"])
        if ledger.extremes.size:
            low, high = np.minimum(low, ledger.extremes[0]), np.maximum(high, ledger.extremes[1])
        ledger.extremes = np.stack([low, high])
        if record["duplicate"] is not None:
            duplicate = (series, record["duplicate"])
            ledger.duplicate = min(ledger.duplicate or duplicate, duplicate)
    return ledger


def training_values(chunks: Iterable[tuple[Chunk, int]], cut: Cut) -> Iterator[tuple[str, np.ndarray]]:
    """(series, measured values (steps, channels and covariates), NaN elsewhere) of the training steps that each chunk owns."""
    for chunk, seam in chunks:
        for part in parts(chunk, cut):
            if part.split == "train":
                for segment in segments(chunk, part, cut, seam):
                    mine = slice(*segment.own)
                    values = np.where(segment.observed[mine], segment.values[mine], np.nan)
                    yield segment.series, np.concatenate([values, segment.covariates[mine]], axis=1)


def _extremes(chunk: Chunk) -> np.ndarray:
    """As in `Ledger`, also of steps that no split has: what is appended later may make them context."""
    both = (chunk.values, chunk.covariates)
    low = [np.fmin.reduce(values, axis=0, initial=np.inf) for values in both]
    high = [np.fmax.reduce(values, axis=0, initial=-np.inf) for values in both]
    return np.stack([np.concatenate(low), np.concatenate(high)])


def _places(piece: Piece, cut: Cut) -> dict[str, Counter[str]]:
    """How many readings lie in each split, or outside of all."""
    chunk = piece.chunk
    borders = cut.borders_of(chunk.series)
    counts = {split: Counter[str]() for split in (*borders, OUTSIDE)}
    first = np.unique(piece.read)
    empty = first[np.isnan(chunk.values[first - chunk.first]).all(axis=1)]
    places = {
        "readings": piece.read,
        "readings_moved": piece.moved,
        "readings_duplicate": piece.duplicates,
        "readings_on_a_step": first,
        "readings_empty": empty,
        "stretches": np.array([chunk.first] if chunk.begin <= chunk.first < chunk.end and chunk.first >= piece.seam else [], int),
    }
    for name, steps in places.items():
        inside = {split: int(((steps >= start) & (steps < stop)).sum()) for split, (start, stop) in borders.items()}
        for split, count in {**inside, OUTSIDE: len(steps) - sum(inside.values())}.items():
            if count:
                counts[split][name] = count
    for split_counts in counts.values():
        merged = split_counts["readings"] - split_counts["readings_duplicate"] - split_counts.pop("readings_on_a_step", 0)
        if merged:
            split_counts["readings_aggregated"] = merged
    return counts


def _in_no_window(segment: Segment, cut: Cut) -> int:
    """Steps that a chunk owns and no window holds. What an earlier window reaches is not owned, or within the first one's
    reach.
    """
    begin, end = segment.own
    covered = np.zeros(end + 1, np.int64)
    starts = segment.starts
    np.add.at(covered, starts, 1)
    np.add.at(covered, np.minimum(starts + cut.layout.window, end), -1)
    return int((np.cumsum(covered)[begin:end] == 0).sum())
