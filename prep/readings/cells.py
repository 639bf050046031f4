"""What is in a cell of a table: a number, a count, a word of a set, nothing, or what cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyspark.sql.types import BooleanType, DataType, IntegralType, NumericType, StringType

from hindcast.prep.errors import InputError
from hindcast.prep.readings.sources import Source, literal
from hindcast.prep.scaling.float32 import OVERFLOW

Kind = Literal["real", "count", "category"]
MISSING = ("", "nan", "na", "n/a", "null", "none")


@dataclass(frozen=True)
class Cell:
    """Expressions in SQL: a value, null where it is missing or bad, and whether it is bad; None where it cannot be."""

    value: str
    fault: str | None


def must_hold(source: Source, name: str, kind: Kind) -> None:
    """Raises InputError for a column of a type that cannot hold a channel of this kind."""
    type_ = source.types[name]
    if kind != "category" and not isinstance(type_, NumericType | StringType | BooleanType):
        raise InputError(f"{source.name}: column {name!r} is of type {type_.simpleString()}; numbers were expected")


def cell_of(
    column: str,
    type_: DataType,
    kind: Kind,
    vocabulary: tuple[str, ...] | None = None,
    scaled: Sequence[tuple[str, str]] = (),
) -> Cell:
    """The cell in a column, an expression in SQL of a type that can hold its kind.

    A real number is finite, also as float32 and when it is `scaled` by each of these (centre, scale), in SQL; a count is whole
    and not negative. The texts in MISSING are nothing, but for a category whose vocabulary has them.
    """
    if kind == "category":
        text = f"trim(cast({column} as string))"
        known = {word.lower() for word in vocabulary or ()}
        return Cell(f"if({_is_one_of(text, [word for word in MISSING if not word or word not in known])}, null, {text})", None)
    number = _number(column, type_)
    if kind == "count":
        fits = f"{number} >= 0 and {number} < double('infinity') and {number} = floor({number})"
    elif isinstance(type_, IntegralType | BooleanType) and not scaled:
        return Cell(number, None)
    else:
        fits = " and ".join([_held(number), *(_held(f"(({number} - {centre}) / {scale})") for centre, scale in scaled)])
    return Cell(f"if({fits}, {number}, null)", f"not (coalesce({fits}, false) or {missing(column, type_)})")


def _held(number: str) -> str:
    """Whether float32 holds a number, in SQL."""
    return f"abs({number}) < double('{OVERFLOW!r}')"


def finite(column: str, type_: DataType) -> str:
    """The finite number in a column, however large, in SQL; null where there is none."""
    number = _number(column, type_)
    return f"if(abs({number}) < double('infinity'), {number}, null)"


def missing(column: str, type_: DataType) -> str:
    """Whether a cell that holds a number holds nothing, in SQL."""
    if isinstance(type_, StringType):
        return f"{column} is null or {_is_one_of(f'trim({column})', MISSING)}"
    return f"{column} is null or isnan(cast({column} as double))"


def _number(column: str, type_: DataType) -> str:
    number = f"try_cast({column} as double)"
    # Java takes 5d and 0x1p3 for numbers.
    return f"if({column} rlike '[dDfFxX]', null, {number})" if isinstance(type_, StringType) else number


def _is_one_of(text: str, words: Sequence[str]) -> str:
    return f"lower({text}) in ({', '.join(map(literal, words))})"
