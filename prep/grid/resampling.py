"""Several readings on one step of the grid → one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hindcast.prep.errors import InputError
from hindcast.prep.spec import GridSpec, ReadingsSpec

REDUCTIONS: dict[str, np.ufunc] = {"mean": np.add, "sum": np.add, "count": np.add, "min": np.fmin, "max": np.fmax}


@dataclass(frozen=True)
class Resampled:
    """One reading a step. steps (n,) ascending; values (n, channels); `duplicates`: the steps of readings that were merged or
    left out because another has the same time, one entry for each."""

    steps: np.ndarray
    values: np.ndarray
    duplicates: np.ndarray


@dataclass(frozen=True)
class Rules:
    """How readings become one a step.

    duplicates   "first", "last" or "mean" ("error" is the caller's: here it is "first")
    merge        how each channel takes part in the mean of duplicates: "mean", or "last" for codes and counts
    aggregate    how each channel is aggregated over its step; empty: not at all
    """

    duplicates: str
    merge: tuple[str, ...]
    aggregate: tuple[str, ...]


def resample(steps: np.ndarray, times: np.ndarray, values: np.ndarray, rules: Rules) -> Resampled:
    """Of readings ordered by time, and by their place in the files where times are equal.

    Duplicates are readings of one time, or where nothing is aggregated, of one step: the first or the last is taken as it is,
    missing values included, or the mean of the measured ones. Then each channel is aggregated over its step: the mean, last, min,
    max, sum or count of the measured values, as pandas' resample has them; of nothing measured, nothing, and a count of 0.
    """
    aggregate = rules.aggregate
    same = steps if not aggregate else times
    fresh = np.diff(same, prepend=same[:1] - 1) != 0
    again = steps[~fresh]
    if len(again):
        if rules.duplicates == "mean":
            values = _reduced_by(values, np.cumsum(fresh) - 1, rules.merge)
            steps = steps[fresh]
        else:
            selected = np.append(fresh[1:], True) if rules.duplicates == "last" else fresh
            steps, values = steps[selected], values[selected]
    if aggregate:
        groups = np.cumsum(np.diff(steps, prepend=steps[:1] - 1) != 0) - 1
        values = _reduced_by(values, groups, aggregate)
        steps = steps[np.diff(groups, prepend=-1) != 0]
    return Resampled(steps, values, again)


def _reduced_by(values: np.ndarray, groups: np.ndarray, rules: tuple[str, ...]) -> np.ndarray:
    return np.stack([_reduced(values[:, channel], groups, rule) for channel, rule in enumerate(rules)], axis=1)


def _reduced(values: np.ndarray, groups: np.ndarray, rule: str) -> np.ndarray:
    """The values of each group by a rule, NaN where none of them is measured. `groups` count up from 0."""
    number = int(groups[-1]) + 1 if len(groups) else 0
    measured = ~np.isnan(values)
    values, groups = values[measured], groups[measured]
    counts = np.bincount(groups, minlength=number).astype(float)
    if rule == "count":
        return counts
    result = np.full(number, np.nan)
    if rule in ("mean", "sum"):
        # In the order of the values, so that the rounding does not depend on the order of the readings.
        order = np.lexsort((values, groups))
        values, groups = values[order], groups[order]
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    if not len(first):
        return result
    if rule == "last":
        result[groups[first]] = values[np.append(first[1:], len(values)) - 1]
    else:
        result[groups[first]] = REDUCTIONS[rule].reduceat(values, first)
        if rule == "mean":
            result[counts > 0] /= counts[counts > 0]
    return result


def rules_of(spec: GridSpec, names: Sequence[str], kinds: Sequence[str], labels: int = 0) -> Rules:
    """How readings become one a step, of channels and of the labels after them. Raises InputError for a rule of no channel."""
    return Rules(
        duplicates="first" if spec.duplicates == "error" else spec.duplicates,
        merge=(*("mean" if kind == "real" else "last" for kind in kinds), *["last"] * labels),
        aggregate=_aggregate(spec, names, kinds, labels),
    )


def _aggregate(spec: GridSpec, names: Sequence[str], kinds: Sequence[str], labels: int) -> tuple[str, ...]:
    """The rule of each channel and label; none where readings are not aggregated."""
    aggregate = spec.aggregate
    if aggregate is None:
        return ()
    strangers = sorted({*aggregate} - {*names}) if isinstance(aggregate, dict) else []
    if strangers:
        raise InputError(f"grid.aggregate: there is no channel {strangers[0]!r}; the channels are {', '.join(names)}")
    rules = []
    for name, kind in zip(names, kinds, strict=True):
        usual = {"real": "mean", "count": "sum", "category": "last"}[kind]
        rule = aggregate.get(name, usual) if isinstance(aggregate, dict) else aggregate
        rules.append("last" if kind == "category" else rule)
    return (*rules, *["last"] * labels)


def order_matters(readings: ReadingsSpec, grid: GridSpec) -> bool:
    """Whether the place of a reading in the files decides anything: where two are of the same time, and one is to be taken."""
    words = bool(readings.categories or readings.counts or readings.labels)
    return grid.duplicates in ("first", "last") or (grid.duplicates == "mean" and words)
