"""Words as numbers: the vocabulary of a category, a label or an attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from hindcast.prep.errors import InputError
from hindcast.prep.scaling.float32 import OVERFLOW

MOST_WORDS = 10_000
APPENDED = "appended"


class Vocabulary(BaseModel):
    """The words of each split that no split before it has, in order; a word's code is its place in all of them together.

    So nothing that comes later changes the code of a word that training knows.
    """

    model_config = ConfigDict(frozen=True)
    by_split: dict[str, tuple[str, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for words in self.by_split.values() for word in words)

    def extended(self, words: Iterable[str]) -> Vocabulary:
        """With those of the words that are new to it, after all others."""
        new = tuple(word for word in words if word not in self.words)
        return Vocabulary(by_split=self.by_split | {APPENDED: self.by_split.get(APPENDED, ()) + new}) if new else self


def vocabulary(words_by_split: Mapping[str, Iterable[str]], name: str, *, ordered: bool = False) -> Vocabulary:
    """The vocabulary of a column.

    words_by_split   the words of each split, splits in the order of time
    name             of the column, for the error
    ordered          whether the words of a split stay in their order; otherwise they are sorted by `in_order`

    Raises InputError where there are more than MOST_WORDS.
    """
    earlier: set[str] = set()
    by_split = {}
    for split, words in words_by_split.items():
        fresh = [word for word in dict.fromkeys(words) if word not in earlier]
        by_split[split] = tuple(fresh if ordered else sorted(fresh, key=in_order))
        earlier.update(fresh)
    if len(earlier) > MOST_WORDS:
        raise InputError(f"{name}: {len(earlier):,} different words, and at most {MOST_WORDS:,} were expected")
    return Vocabulary(by_split=by_split)


def in_order(word: str) -> tuple[bool, float, str]:
    """Numbers by their value, before words by their letters."""
    try:
        return (False, float(word), word)
    except ValueError:
        return (True, 0.0, word)


def number_of(text: str | None, words: Vocabulary | None) -> float:
    """An attribute as it is stored: a number, the code of a word, NaN where there is none, or it is not known or not finite in
    float32.
    """
    if text is None or not (words or is_number(text)):
        return float("nan")
    if words is None:
        return float(text) if abs(float(text)) < OVERFLOW else float("nan")
    return float(words.words.index(text)) if text in words.words else float("nan")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
