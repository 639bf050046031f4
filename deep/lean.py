"""The import of Keras without the optional libraries whose tables it would otherwise accept."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

KERAS = ("tensorflow", "keras")
LOOKED_FOR = ("matplotlib", "pandas", "scipy", "sklearn")


def import_lean() -> None:
    """Hides the modules LOOKED_FOR from Keras during its import, if it is not imported yet; all other code finds them.

    Keras then accepts no tables of pandas. So this is for processes that belong to Hindcast: commands, ranks, workers that train.
    The import of Keras, 3.8 seconds of a processor, takes 2.8.
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
