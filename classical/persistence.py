"""Models as JSON: dataclasses of numbers, arrays, words and other such dataclasses, written and read to the last digit.

Reading makes nothing but classes that the reader names, so a file from a stranger runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

CLASS = "class"


def encoded(value: Any) -> Any:
    """The value as `json` can write it. A dataclass becomes its fields and the name of its class."""
    if is_dataclass(value) and not isinstance(value, type):
        return {CLASS: type(value).__name__} | {f.name: encoded(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    return value


def decoded(stored: Any, classes: Mapping[str, type], kind: str = "") -> Any:
    """The value of which `encoded` made `stored`. `kind`: the annotation of its field.

    Raises ValueError for a class that is not among `classes`, a field that it does not have, or one that is missing.
    """
    if isinstance(stored, dict):
        name = str(stored.get(CLASS))
        if name not in classes:
            raise ValueError(f"found class {name!r}, expected one of {', '.join(sorted(classes))}")
        annotations = {f.name: str(f.type) for f in fields(classes[name])}
        if annotations.keys() != stored.keys() - {CLASS}:
            raise ValueError(f"{name}: found fields {sorted(stored.keys() - {CLASS})}, expected {sorted(annotations)}")
        return classes[name](**{field: decoded(stored[field], classes, annotations[field]) for field in annotations})
    if not isinstance(stored, list):
        return stored
    if "ndarray" in kind:
        return np.array(stored)
    return frozenset(stored) if kind.startswith("frozenset") else tuple(decoded(item, classes) for item in stored)
