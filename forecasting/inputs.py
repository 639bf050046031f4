"""What the models take of a dataset, and what they leave aside."""

from __future__ import annotations

from prep.dataset import SequenceDataset
from prep.errors import InputError


def must_be_numbers(dataset: SequenceDataset) -> None:
    """Raises InputError where a channel is a category: every model and baseline forecasts numbers."""
    channels = dataset.manifest.channels
    words = [channel.name for channel in channels if channel.kind == "category"]
    if not words:
        return
    others = ", ".join(channel.name for channel in channels if channel.kind != "category") or "there is none yet"
    which = f"channel {words[0]!r} is a category" if len(words) == 1 else f"channels {', '.join(map(repr, words))} are categories"
    raise InputError(
        f"{dataset.location}: {which}, and models forecast numbers (hidden Markov models of categories are not there yet). "
        f"Prepare it again: name the channels to forecast ({others}) with readings.values, and none with readings.categories"
    )


def left_aside(dataset: SequenceDataset) -> str:
    """In a sentence, what of the dataset LSTMs alone look at; empty where there is nothing. Labels are no input anyway."""
    manifest = dataset.manifest
    found = {"covariates": manifest.covariates, "attributes": manifest.attributes}
    named = [f"{what} ({', '.join(column.name for column in columns)})" for what, columns in found.items() if columns]
    return f"Inputs of LSTMs alone: {' and '.join(named)}." if named else ""
