"""What CONTRIBUTING.md says that a new thing touches is there, and a list of kinds costs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hindcast.launch.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split("|")]
    for line in (ROOT / "CONTRIBUTING.md").read_text().partition("## What a new")[2].splitlines()
    if line.startswith("| ") and not line.startswith(("| new |", "|---"))
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_line_is_where_it_is_said_to_be(row: list[str]) -> None:
    _, _, lines, tests = row
    told = re.findall(r"`(\w+)` in `([\w./]+)`", lines)
    assert told
    for name, path in told:
        assert re.search(rf"\b{name}\b\s*(:|=|\()", (ROOT / path).read_text()), f"{name} is not in {path}"
    for path in re.findall(r"`([\w./]+)`", " ".join((row[1], tests))):
        if "/" in path:
            assert (ROOT / path).exists(), path


def test_what_a_new_thing_touches_is_told_of_five_things() -> None:
    assert [row[0] for row in ROWS] == [
        "kind of models", "emission family", "network", "metric of a comparison", "command",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_lives_in_a_package_of_its_own(kind: object) -> None:
    module = sys.modules[kind.fit.__module__]  # type: ignore[attr-defined]
    assert Path(module.__file__ or "").name == "kind.py"
    assert Path(module.__file__ or "").is_relative_to(ROOT)


def test_a_list_of_kinds_costs_nothing() -> None:
    heavy = {"tensorflow", "pyspark", "numba", "matplotlib", "scipy"}
    code = f"import sys, hindcast.launch.kinds; print(*sorted({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300)
    assert ran.stdout.split() == []
