"""What removes anything is in few places: prep/files/own_folders.py follows no link, the rest is listed here with its reason."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("prep", "forecasting", "classical", "deep", "launch", "benchmarks", "docker", "examples", "requirements")
OF_A_PATH = {"rmtree", "unlink", "rmdir", "removedirs"}
OF_OS = {"remove", "unlink", "rmdir", "removedirs"}
# File → what it calls, how often. A temporary directory removes itself, and has a name that nobody knows before.
ALLOWED = {
    "prep/files/own_folders.py": {"rmtree": 1, "unlink": 1, "rmdir": 2},
    # A name of its own, made there a moment ago.
    "launch/watching/run_record.py": {"unlink": 1},
    # OUT.checkpoint, which is one file; of a link the link.
    "launch/cli/fit.py": {"unlink": 1},
    # In a temporary directory.
    "benchmarks/preparing.py": {"rmtree": 2},
}


def removals(code: str) -> Counter[str]:
    """Calls that remove files or folders, or hand such a function on: how often each is named."""
    found: Counter[str] = Counter()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
            if node.attr in OF_A_PATH or (of_os and node.attr in OF_OS):
                found[node.attr] += 1
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            found.update(alias.name for alias in node.names if alias.name in OF_A_PATH | OF_OS)
    return found


def test_nothing_is_removed_elsewhere() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    found = {str(file.relative_to(ROOT)): dict(removals(file.read_text(encoding="utf-8"))) for file in files}
    assert {name: calls for name, calls in found.items() if calls} == ALLOWED


def test_every_way_to_remove_is_found() -> None:
    ways = [
        "shutil.rmtree(path)", "path.unlink(missing_ok=True)", "os.remove(path)", "os.unlink(path)", "folder.rmdir()",
        "os.removedirs(path)", "from shutil import rmtree", "from os import remove", "each(os.unlink, paths)",
    ]  # fmt: skip
    assert [way for way in ways if sum(removals(way).values()) != 1] == []
    assert not removals("names.remove(name); storage.remove(uri); from hindcast.prep.files.cached_arrays import remove")
