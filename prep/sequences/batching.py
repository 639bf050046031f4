"""Few things at a time where each is large, and many together where they are small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def by_bytes(items: Iterable[Item], bytes_of: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """The items in order, in lists that end with the first item by which they come to `most` bytes. None is empty."""
    batch, size = list[Item](), 0
    for item in items:
        batch.append(item)
        size += bytes_of(item)
        if size >= most:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
