"""The settings that a search tries: `lstm.units=64,128,256` is a list, `lstm.learning_rate=1e-4..1e-2` a range."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from hindcast.forecasting.kind import Kind
from hindcast.launch.kinds import KINDS
from hindcast.prep.errors import InputError

MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Choice:
    """The values to try for a setting: those of `values`, or where that is empty, numbers from `low` to `high`, drawn
    log-uniformly."""

    kind: Kind
    field: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def draw(self, generator: np.random.Generator) -> Any:
        if self.values:
            return self.values[generator.integers(len(self.values))]
        number = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        if isinstance(self.low, int):
            return min(max(round(number), self.low), int(self.high))
        return min(max(float(f"{number:.4g}"), self.low), self.high)


def parse(text: str) -> Choice:
    """The choice of one `--try`. Raises InputError for an unknown setting, one that cannot be tuned, and a value that the setting
    cannot have."""
    name, equals, values = text.partition("=")
    table, _, field = name.strip().partition(".")
    where = f"--try {name.strip()}"
    if not equals or not values.strip():
        raise InputError(f"--try {text}: expected values, such as lstm.units=64,128,256 or lstm.learning_rate=1e-4..1e-2")
    kind = KINDS.get(table)
    if kind is None or kind.tuning is None or field not in kind.tables[table].model_fields:
        raise InputError(f"{where}: no setting that can be tuned; there are {', '.join(_tried())}")
    if field in kind.tuning.incomparable:
        raise InputError(
            f"{where}: validation losses of another {field} cannot be compared. Set it for all trials (--{table}.{field}), and "
            "compare models with `hindcast compare`"
        )
    if field in kind.tuning.without_effect:
        raise InputError(f"{where}: has no effect on a trial, which is one process without checkpoints")
    parts = [part.strip() for part in values.split(",")]
    ends = parts[0].split("..")
    if len(parts) == 1 and len(ends) == 2:
        return _range(where, kind, field, *(_valid(where, kind, field, end) for end in ends))
    options = tuple(_valid(where, kind, field, part) for part in parts)
    twice = [part for number, part in enumerate(parts) if options[number] in options[:number]]
    if twice:
        raise InputError(f"{where}: {twice[0]} is there twice")
    return Choice(kind, field, options)


def settings_to_try(texts: Sequence[str], base: BaseModel, trials: int | None, seed: int) -> list[Any]:
    """The settings of each trial: `base` with the values to try.

    Without `trials`, all combinations, the last `--try` changing fastest. With it, so many different combinations, drawn with
    `seed`, or all of them where there are no more. Raises InputError as `tried_fields` does, for a range without `trials`, and
    for too many trials.
    """
    kind, names = tried_fields(texts)
    choices = [parse(text) for text in texts]
    ranges = [choice.field for choice in choices if not choice.values]
    if ranges and trials is None:
        raise InputError(
            f"--try {kind.name}.{ranges[0]}: a range has no end of values: say how many to draw with --trials, or list some"
        )
    size = math.prod(len(choice.values) for choice in choices)
    if min(trials or size, math.inf if ranges else size) > MOST_TRIALS:
        raise InputError(f"{trials or size:,} trials: at most {MOST_TRIALS:,} were expected. Draw some of them with --trials")
    if ranges:
        combinations = _random_combinations(choices, trials or 0, seed)
    elif trials is None or trials >= size:
        combinations = list(itertools.product(*(choice.values for choice in choices)))
    else:
        combinations = _grid_sample(choices, size, trials, seed)
    return [base.model_copy(update=dict(zip(names, combination, strict=True))) for combination in combinations]


def tried_fields(texts: Sequence[str]) -> tuple[Kind, list[str]]:
    """The kind whose settings are tried, and the names of these settings.

    Raises InputError as `parse` does, for a setting that is there twice, and for settings of several kinds.
    """
    choices = [parse(text) for text in texts]
    kind, names = choices[0].kind, [choice.field for choice in choices]
    other_kind = next((choice.kind for choice in choices if choice.kind is not kind), None)
    if other_kind is not None:
        raise InputError(
            f"--try {other_kind.name}.…: settings of {kind.plural} are tried already; one kind at a time was expected"
        )
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise InputError(f"--try {kind.name}.{twice[0]}: is given twice; one list or range for each setting was expected")
    return kind, names


def _tried() -> list[str]:
    return [
        f"{kind.name}.{field}"
        for kind in KINDS.values()
        if kind.tuning is not None
        for field in kind.tables[kind.name].model_fields
        if field not in kind.tuning.incomparable | kind.tuning.without_effect
    ]


def _valid(where: str, kind: Kind, field: str, text: str) -> Any:
    """The value of a text; "none" is None where a setting may be left out."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: found {text!r}, expected a number that is one")
    try:
        return _validated(kind, field, value)
    except ValidationError as error:
        if value == "none":
            try:
                return _validated(kind, field, None)
            except ValidationError:  # then the first error says it better
                pass
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {problem}, found {text!r}") from None


def _validated(kind: Kind, field: str, value: Any) -> Any:
    return getattr(kind.tables[kind.name].model_validate({field: value}), field)


def _range(where: str, kind: Kind, field: str, low: Any, high: Any) -> Choice:
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise InputError(f"{where}: a range is of numbers; list values, such as a,b")
    if not 0 < low < high < math.inf:
        raise InputError(
            f"{where}: found {low:g}..{high:g}; a range is drawn log-uniformly, from a number above 0 to a larger one. "
            "List values where 0 is one of them"
        )
    return Choice(kind, field, (), low, high)


def _random_combinations(choices: Sequence[Choice], trials: int, seed: int) -> list[tuple[Any, ...]]:
    """Different combinations: fewer than `trials` where there are hardly any more."""
    generator, combinations = np.random.default_rng(seed), dict[tuple[Any, ...], None]()
    for _ in range(100 * trials):
        combinations[tuple(choice.draw(generator) for choice in choices)] = None
        if len(combinations) == trials:
            break
    return list(combinations)


def _grid_sample(choices: Sequence[Choice], size: int, trials: int, seed: int) -> list[tuple[Any, ...]]:
    """Each combination at most once, in the order they were drawn."""
    numbers = np.random.default_rng(seed).choice(size, trials, replace=False)
    places = zip(*np.unravel_index(numbers, [len(choice.values) for choice in choices]), strict=True)
    return [tuple(choice.values[place] for choice, place in zip(choices, where, strict=True)) for where in places]
