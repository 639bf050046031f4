"""What models take of a dataset, and what they leave aside."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

NUMBERS = frozenset({"real", "count"})
# How a channel is called, and what it holds.
HOLDS = {"real": ("a real number", "numbers"), "count": ("a count", "counts"), "category": ("a category", "categories")}
# Where in the settings channels are said to be of a kind.
NAMED = {"count": "counts", "category": "categories"}


def must_hold(dataset: SequenceDataset, kinds: Collection[str], who: str) -> None:
    """Raises InputError where a channel is of none of these kinds. `who`: what takes no others, in words, with its verb."""
    channels = dataset.manifest.channels
    others = [channel for channel in channels if channel.kind not in kinds]
    if not others:
        return
    fine = ", ".join(channel.name for channel in channels if channel.kind in kinds) or "there is none yet"
    one, several = HOLDS[others[0].kind]
    names = [channel.name for channel in others if channel.kind == others[0].kind]
    which = f"channel {names[0]!r} is {one}" if len(names) == 1 else f"channels {', '.join(map(repr, names))} are {several}"
    named = " and ".join(f"readings.{table}" for kind, table in NAMED.items() if kinds == {kind})
    asked = f"name them with {named}, too" if named else "none with readings.categories"
    raise InputError(
        f"{dataset.location}: {which}, and {who}. Prepare it again: name such channels ({fine}) with readings.values, and "
        f"{asked}; or choose another model"
    )


def must_be_numbers(dataset: SequenceDataset) -> None:
    """Raises InputError where a channel is a category: forecasts are of numbers."""
    must_hold(
        dataset,
        NUMBERS,
        "models forecast numbers (of categories, `fit hmm --hmm.emission categorical` finds the states behind them)",
    )


def left_aside(dataset: SequenceDataset, takers: Sequence[str]) -> str:
    """In a sentence, what of the dataset these models alone look at; empty where there is nothing. Labels are no input anyway."""
    manifest = dataset.manifest
    found = {"covariates": manifest.covariates, "attributes": manifest.attributes}
    named = [f"{what} ({', '.join(column.name for column in columns)})" for what, columns in found.items() if columns]
    if not named:
        return ""
    return (
        f"Inputs of {' and '.join(takers)} alone: {' and '.join(named)}." if takers else f"Inputs of none: {' and '.join(named)}."
    )
