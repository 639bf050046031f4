"""Keras imported without the libraries that it only looks for, to know their tables when it is given some."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

KERAS = ("tensorflow", "keras")
LOOKED_FOR = ("matplotlib", "pandas", "scipy", "sklearn")


def import_lean() -> None:
    """Hides LOOKED_FOR from Keras while it is imported, if that is still to come; all else finds them, then and later.

    For processes in which nobody else uses Keras, which then takes no tables of pandas': commands, ranks, workers that train. Its
    import, 3.8 seconds of a processor, takes 2.8.
    """
    if not any(isinstance(finder, _Hiding) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hiding())


class _Hiding(MetaPathFinder):
    def __init__(self) -> None:
        self._thread = 0  # which imports Keras

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in KERAS:
            self._thread = threading.get_ident()
        if name in LOOKED_FOR and self._thread == threading.get_ident() and any(map(_half_imported, KERAS)):
            raise ModuleNotFoundError(f"{name} is hidden from Keras", name=name)


def _half_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))
