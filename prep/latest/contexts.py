"""The last context of each series, as `prepare` would have made it.

All series of a block are worked on at once: a loop over them would take longer than the forecasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.dataset.windows import Given
from hindcast.prep.grid.filling import fill
from hindcast.prep.grid.resampling import resample
from hindcast.prep.latest.arrivals import NONE, Arrivals, Block
from hindcast.prep.readings.companions import calendar
from hindcast.prep.scaling.affine import Scaling
from hindcast.prep.spec import duration_text

# More would be taken from the system, and given back to it, for every block.
BLOCK_BYTES = 8_000_000
NEVER = np.datetime64("NaT", "us")


@dataclass(frozen=True)
class Contexts:
    """What some series end with, and those that end with no context.

    failures   the name of a series (None for readings that say no series), the time of its last reading, and the reason
    """

    given: Given
    failures: tuple[tuple[str | None, np.datetime64, str], ...]


@dataclass(frozen=True)
class ContextRequest:
    """The contexts that a model needs.

    context  steps of each
    ahead    steps after it whose covariates are known in advance
    """

    preparation: Preparation
    scaling: Scaling
    context: int
    ahead: int

    @property
    def reach(self) -> int:
        """Steps at the end of a series that decide its last context: a hole at either end of the context may be closed."""
        return self.context + 2 * self.preparation.most_apart

    def arrivals(self) -> Arrivals:
        return Arrivals(self.preparation, self.reach)


def contexts_of(arrivals: Arrivals, request: ContextRequest) -> Iterator[Contexts]:
    """The last context of every series, some megabytes at a time.

    A context ends at the last step at which every channel is measured or filled. A series has no context, and is among the
    failures, where

    - that step lies so far back that the hole after it is too long to be closed,
    - a hole within the context is too long to be closed,
    - it has fewer steps than a context,
    - two readings have one time, or a reading was not understood, and the settings allow neither,
    - a scaled value is not finite in float32.
    """
    widest = max(request.reach, request.ahead) * len(request.preparation.channels)
    for block in arrivals.blocks(max(1, BLOCK_BYTES // (8 * widest))):
        yield _contexts(block, request)
    if arrivals.nameless:
        reasons = (f"readings whose {column} is not understood" for column in sorted(arrivals.nameless))
        none = np.empty((0, request.context, len(request.preparation.channels)), np.float32)
        yield Contexts(Given.of(none), tuple((None, NEVER, reason) for reason in reasons))


def _contexts(block: Block, request: ContextRequest) -> Contexts:
    measured, twice = _on_grid(block, request)
    filled, end = measured, np.full(len(measured), request.reach - 1)
    reasons = np.full(len(measured), "", object)
    holed = np.flatnonzero(np.isnan(measured[:, -request.context :]).any(axis=(1, 2)))
    if len(holed):
        filled = measured.copy()
        filled[holed], end[holed] = _closed(measured[holed], request)
        reasons[holed] = _reasons(measured[holed], filled[holed], end[holed], block.older[holed], request)
    if request.preparation.grid.duplicates == "error":
        reasons[twice] = "two readings of one time"
    if request.scaling.each_series and request.preparation.unseen == "error":
        reasons[request.scaling.by_series.places(block.names) < 0] = "no training data to be scaled by"
    reasons = np.where(block.faults == "", reasons, "a reading whose " + block.faults + " is not understood")
    good = np.flatnonzero(reasons == "")
    steps = end[good, None] - request.context + 1 + np.arange(request.context)
    first = block.last[good] - request.reach + 1 + steps[:, 0]
    values, observed = filled[good[:, None], steps], ~np.isnan(measured[good[:, None], steps])
    context = _scaled(values, block.names[good], request.scaling)
    finite = np.isfinite(context).all(axis=1)
    if not finite.all():
        fits = finite.all(axis=1)
        for series, channels in zip(good[~fits], finite[~fits], strict=True):
            name = request.preparation.channels[channels.argmin()].name
            reasons[series] = f"a value of {name} that is more than float32 holds once it is scaled"
        good, first, context, observed = (array[fits] for array in (good, first, context, observed))
    bad = np.flatnonzero(reasons != "")
    times = np.where(block.last == NONE, NEVER, _times(np.where(block.last == NONE, 0, block.last), request))
    return Contexts(
        _given_of(block.names[good], first, context, observed, block.attributes[good], request),
        tuple((str(block.names[series]), times[series], reasons[series]) for series in bad),
    )


def _on_grid(block: Block, request: ContextRequest) -> tuple[np.ndarray, np.ndarray]:
    """(known, twice): the last steps of each series (series, reach, channels), NaN where nothing was measured, and the series
    that have two readings of one time.

    Steps of all series are numbered through, so that all of them are put on the grid at once.
    """
    rows, reach, rules = block.rows, request.reach, request.preparation.rules
    measured = np.full((len(block.names) * reach, rows.values.shape[1]), np.nan)
    cell = rows.series * reach + rows.step - block.last[rows.series] + reach - 1
    occupied = np.zeros(len(measured), bool)
    occupied[cell] = True
    counts = [rule == "count" for rule in rules.aggregate]
    twice = np.empty(0, np.int64)
    if np.count_nonzero(occupied) == len(cell) and not any(counts):
        measured[cell] = rows.values
    else:
        order = np.lexsort((rows.position, rows.time, rows.series))
        rows, cell = rows.where(order), cell[order]
        moment = np.cumsum((np.diff(rows.series, prepend=-1) != 0) | (np.diff(rows.time, prepend=0) != 0))
        resampled = resample(cell, moment, rows.values, rules)
        if any(counts):  # a step without a reading, between two that are near enough to each other, counts 0
            zeros = np.where(occupied, 0, np.nan).reshape(-1, reach).T
            near, _ = fill(zeros, ("previous",) * len(block.names), request.preparation.most_apart)
            measured[:, counts] = near.T.reshape(-1, 1)
        measured[resampled.steps] = resampled.values
        twice = np.unique(resampled.duplicates // reach)
    return measured.reshape(-1, reach, measured.shape[1]), twice


def _closed(measured: np.ndarray, request: ContextRequest) -> tuple[np.ndarray, np.ndarray]:
    """`known` with its holes closed as far as they can be, and the last step of each series at which no channel is missing."""
    series, steps, channels = measured.shape
    side_by_side = measured.swapaxes(0, 1).reshape(steps, series * channels)
    filled, _ = fill(side_by_side, request.preparation.fills * series, request.preparation.most_apart)
    filled = filled.reshape(steps, series, channels).swapaxes(0, 1)
    usable = ~np.isnan(filled).any(axis=2)
    return filled, steps - 1 - usable[:, ::-1].argmax(axis=1)


def _reasons(measured: np.ndarray, filled: np.ndarray, end: np.ndarray, older: np.ndarray, request: ContextRequest) -> np.ndarray:
    """Why each series has no context (series,) object; "" where it has one."""
    preparation, context = request.preparation, request.context
    longest = duration_text(preparation.most_apart * preparation.step_micros)
    reasons = np.full(len(measured), "", object)
    holes = np.isnan(filled)
    final = holes.shape[1] - 1
    open_end = (final + 1 - end > preparation.most_apart) | holes[np.arange(len(end)), end].any(axis=1)
    steps = end[:, None] - context + 1 + np.arange(context)
    within = holes[np.arange(len(end))[:, None], np.maximum(steps, 0)]
    for series in np.flatnonzero(open_end):
        name = preparation.channels[holes[series, final].argmax()].name
        reasons[series] = f"no reading of {name} at the end, for {longest} or longer"
    for series in np.flatnonzero(within.any(axis=(1, 2)) & ~open_end):
        step = np.flatnonzero(within[series].any(axis=1))[-1]
        missing = within[series, step]
        before = measured[series, : steps[series, step], missing.argmax()]
        gap = "a gap" if missing.all() else f"a gap in {preparation.channels[missing.argmax()].name}"
        reasons[series] = (
            f"{gap} longer than {longest} in the last {context} steps"
            if older[series] or not np.isnan(before).all()
            else f"fewer than {context} steps of readings, the context"
        )
    return reasons


def _scaled(values: np.ndarray, names: np.ndarray, scaling: Scaling) -> np.ndarray:
    """`values` (series, context, channels) as float32, infinite where that does not hold them."""
    centre, scale = scaling.of(names)
    with np.errstate(over="ignore"):
        scaled: np.ndarray = ((values - centre[:, None]) / scale[:, None]).astype(np.float32)
    return scaled


def _given_of(
    names: np.ndarray,
    first: np.ndarray,
    context: np.ndarray,
    observed: np.ndarray,
    attributes: np.ndarray,
    request: ContextRequest,
) -> Given:
    """Contexts (series, context, channels) that begin at the steps `first`, scaled already."""
    spec = request.preparation.calendar
    steps, place = np.unique(first[:, None] + np.arange(request.context + request.ahead), return_inverse=True)
    features = calendar(_times(steps, request).astype(np.int64), spec.features, spec.time_zone).astype(np.float32)
    covariates = features[place.reshape(len(first), request.context + request.ahead)]
    return Given(
        context=context,
        observed=observed.astype(np.uint8),
        covariates=covariates[:, : request.context],
        covariates_observed=np.ones((len(first), request.context, covariates.shape[2]), np.uint8),
        known=covariates,
        attributes=attributes,
        series=names,
        start=_times(first, request),
    )


def _times(steps: np.ndarray, request: ContextRequest) -> np.ndarray:
    grid = request.preparation.lines
    return (grid.origin_micros + steps * grid.step_micros).astype("datetime64[us]")
