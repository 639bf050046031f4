"""The channels of a dataset that models can be fitted to, and the other columns that some models use."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

NUMBERS = frozenset({"real", "count"})
# How a channel is called, and what it holds.
HOLDS = {"real": ("a real number", "numbers"), "count": ("a count", "counts"), "category": ("a category", "categories")}
# The table of the settings, under readings, that names the channels of a kind.
TABLES = {"count": "counts", "category": "categories"}


def must_hold(dataset: SequenceDataset, kinds: Collection[str], who: str) -> None:
    """Raises InputError where a channel is of none of these kinds. `who`: subject and verb of the reason in the message."""
    channels = dataset.manifest.channels
    others = [channel for channel in channels if channel.kind not in kinds]
    if not others:
        return
    fine = ", ".join(channel.name for channel in channels if channel.kind in kinds) or "there is none yet"
    singular, plural = HOLDS[others[0].kind]
    names = [channel.name for channel in others if channel.kind == others[0].kind]
    which = f"channel {names[0]!r} is {singular}" if len(names) == 1 else f"channels {', '.join(map(repr, names))} are {plural}"
    tables = " and ".join(f"readings.{table}" for kind, table in TABLES.items() if kinds == {kind})
    instruction = f"name them with {tables}, too" if tables else "none with readings.categories"
    raise InputError(
        f"{dataset.location}: {which}, and {who}. Prepare it again: name such channels ({fine}) with readings.values, and "
        f"{instruction}; or choose another model"
    )


def must_be_numbers(dataset: SequenceDataset) -> None:
    """Raises InputError where a channel is a category: forecasts are of numbers."""
    must_hold(
        dataset,
        NUMBERS,
        "models forecast numbers (of categories, `fit hmm --hmm.emission categorical` finds the states behind them)",
    )


def exclusive_inputs(dataset: SequenceDataset, takers: Sequence[str]) -> str:
    """A sentence about the covariates and attributes of a dataset, which of all models `takers` alone use; "" without any."""
    manifest = dataset.manifest
    columns_by_use = {"covariates": manifest.covariates, "attributes": manifest.attributes}
    phrases = [f"{what} ({', '.join(column.name for column in used)})" for what, used in columns_by_use.items() if used]
    if not phrases:
        return ""
    return (
        f"Inputs of {' and '.join(takers)} alone: {' and '.join(phrases)}."
        if takers
        else f"Inputs of none: {' and '.join(phrases)}."
    )
