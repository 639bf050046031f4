"""Groups of series that have an attribute in common."""

from __future__ import annotations

from hindcast.deep.settings import PartitionSettings
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError


def must_have_groups(dataset: SequenceDataset, settings: PartitionSettings) -> None:
    """Raises InputError where there is no such attribute to group by."""
    names, by = [column.name for column in dataset.manifest.attributes], settings.group_by
    if by is not None and by not in names:
        there = f"they are {', '.join(names)}" if names else "there are none"
        raise InputError(f"partitions.group_by: {dataset.location} has no attribute {by!r}; {there}")
