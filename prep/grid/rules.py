"""What a spec decides of readings that share a step, and of holes: the same for a dataset and for what is forecast later."""

from __future__ import annotations

from collections.abc import Sequence

from hindcast.prep.errors import InputError
from hindcast.prep.grid.resampling import Rules
from hindcast.prep.spec import GridSpec, ReadingsSpec


def fills_of(spec: GridSpec, kinds: Sequence[str]) -> tuple[str, ...]:
    """How holes of each channel are closed: no line is drawn between counts, or codes."""
    return tuple("previous" if kind != "real" and spec.fill == "linear" else spec.fill for kind in kinds)


def rules_of(spec: GridSpec, names: Sequence[str], kinds: Sequence[str], labels: int = 0) -> Rules:
    """How readings become one a step, of channels and of the labels after them. Raises InputError for a rule of no channel."""
    return Rules(
        duplicates="first" if spec.duplicates == "error" else spec.duplicates,
        merge=(*("mean" if kind == "real" else "last" for kind in kinds), *["last"] * labels),
        aggregate=_aggregate(spec, names, kinds, labels),
    )


def _aggregate(spec: GridSpec, names: Sequence[str], kinds: Sequence[str], labels: int) -> tuple[str, ...]:
    """The rule of each channel and label; none where readings are not aggregated."""
    asked = spec.aggregate
    if asked is None:
        return ()
    strangers = sorted({*asked} - {*names}) if isinstance(asked, dict) else []
    if strangers:
        raise InputError(f"grid.aggregate: there is no channel {strangers[0]!r}; the channels are {', '.join(names)}")
    rules = []
    for name, kind in zip(names, kinds, strict=True):
        usual = {"real": "mean", "count": "sum", "category": "last"}[kind]
        rule = asked.get(name, usual) if isinstance(asked, dict) else asked
        rules.append("last" if kind == "category" else rule)
    return (*rules, *["last"] * labels)


def order_matters(readings: ReadingsSpec, grid: GridSpec) -> bool:
    """Whether the place of a reading in the files decides anything: where two are of the same time, and one is to be taken."""
    words = bool(readings.categories or readings.counts or readings.labels)
    return grid.duplicates in ("first", "last") or (grid.duplicates == "mean" and words)
