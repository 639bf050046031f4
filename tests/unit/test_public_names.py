"""`import hindcast as hc` is all that a user imports: what it lists is there, what the documentation uses is listed."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hindcast

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = sorted(path.name for path in (ROOT / "hindcast").iterdir() if path.is_dir() and path.name != "__pycache__")


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def listed_for_type_checkers() -> dict[str, str]:
    """Name → the module that it is imported from, in what only type checkers read."""
    tree = ast.parse((ROOT / "hindcast/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.name == alias.asname, "so that it counts as public"
            found[alias.name] = str(node.module)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_imports_nothing_of_hindcast_but_its_public_names(page: Path) -> None:
    for block in blocks(page):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                ours = [alias for alias in node.names if alias.name.partition(".")[0] in ("hindcast", *PACKAGES)]
                assert [(alias.name, alias.asname) for alias in ours] in ([], [("hindcast", "hc")])
            elif isinstance(node, ast.ImportFrom):
                module = str(node.module)
                assert module == "hindcast" or module.partition(".")[0] not in ("hindcast", *PACKAGES), module
                if module == "hindcast":
                    assert {alias.name for alias in node.names} <= set(hindcast.__all__)
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bhc\.(\w+)", text)) <= set(hindcast.__all__)
    assert re.findall(rf"^\s*(?:from|import) hindcast\.(?:{'|'.join(PACKAGES)})\b", text, re.M) == []


def test_what_type_checkers_are_told_is_what_is_loaded() -> None:
    assert listed_for_type_checkers() == {name: f"hindcast.{home}" for name, home in hindcast._HOMES.items()}
    assert set(hindcast.__all__) == {"__version__", *hindcast._HOMES}
    assert dir(hindcast) == sorted(hindcast.__all__)
    assert list(hindcast._HOMES) == sorted(hindcast._HOMES)


@pytest.mark.parametrize("name", sorted(hindcast._HOMES))
def test_a_name_is_what_its_home_defines_and_says_what_it_does(name: str) -> None:
    found = getattr(hindcast, name)
    home = import_module(f"hindcast.{hindcast._HOMES[name]}")
    assert found is (import_module(f"hindcast.classical.{name}") if name == "hmm" else getattr(home, name))
    assert inspect.getdoc(found)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        hindcast.nothing  # noqa: B018


def test_importing_hindcast_loads_nothing_heavy() -> None:
    heavy = {"pyspark", "pandas", "tensorflow", "numpy", "pyarrow", "typer", "pydantic"}
    code = f"import sys, hindcast; print(*sorted({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300)
    assert ran.stdout.split() == []
