"""Keras is imported without the libraries that it only looks for, and nobody else misses them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from hindcast.deep.lean import _Hiding

IMPORTS = """
import sys
from hindcast.deep.lean import LOOKED_FOR, import_lean
import_lean()
import_lean()
import {first}
print(*sorted(set(LOOKED_FOR) & sys.modules.keys()))
from hindcast.deep.forecaster import load
from hindcast.deep.training.training import train
import pandas, scipy.linalg, matplotlib
print(pandas.DataFrame({{"a": [1]}}).a.sum(), *(name for name in sys.modules if name in LOOKED_FOR))
"""


@pytest.mark.parametrize("first", ["tensorflow", "keras", "horovod.tensorflow"])
def test_keras_does_not_find_them_and_all_else_does(first: str) -> None:
    command = [sys.executable, "-c", IMPORTS.format(first=first)]
    ran = subprocess.run(command, cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    during, after = ran.stdout.split("\n")[:2]
    assert during == ""
    assert {*after.split()} >= {"1", "pandas", "scipy", "matplotlib"}


def test_another_thread_finds_them_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    half, finder = ModuleType("keras"), _Hiding()
    half.__spec__ = ModuleSpec("keras", None)
    half.__spec__._initializing = True  # type: ignore[attr-defined]  # as long as it is imported
    monkeypatch.setitem(sys.modules, "keras", half)
    finder.find_spec("keras", None, None)
    with pytest.raises(ModuleNotFoundError, match="pandas is hidden from Keras"):
        finder.find_spec("pandas", None, None)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(finder.find_spec, "pandas", None, None).result() is None
    half.__spec__._initializing = False  # type: ignore[attr-defined]
    assert finder.find_spec("pandas", None, None) is None
