"""The folders import each other one way only, and heavy packages only where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "prep": set(),
    "forecasting": {"prep"},
    "classical": {"prep", "forecasting"},
    "deep": {"prep", "forecasting"},
    "launch": {"prep", "forecasting", "classical", "deep"},
}
MODULES = [file for folder in ALLOWED for file in sorted((ROOT / folder).rglob("*.py"))]


# Whatever of the repository imports any of it.
FILES = [*MODULES, *(file for folder in ("hindcast", "tests", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py")))]


def imported(file: Path) -> set[str]:
    """The packages that a module imports, anywhere in it: those of others by their first name, ours by the folder's."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module.removeprefix("hindcast.").partition(".")[0] if "." in module else module for module in modules}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_arrows(file: Path) -> None:
    folder = file.relative_to(ROOT).parts[0]
    used = imported(file)
    assert used & ALLOWED.keys() <= ALLOWED[folder] | {folder}
    if folder != "deep":
        assert not used & {"tensorflow", "keras", "horovod"}
    if folder == "forecasting":
        assert "pyspark" not in used


@pytest.mark.parametrize(
    "package",
    [
        "hindcast.prep.dataset.sequence_dataset",
        "hindcast.classical.em",
        "hindcast.forecasting.baselines.baselines",
        "hindcast.launch.cli.main",
    ],
)
def test_imports_stay_light(package: str) -> None:
    code = f"import sys, {package}; print(*sorted({{'tensorflow', 'horovod', 'pyspark'}} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300)
    assert ran.stdout.split() == []


def test_a_module_has_one_name() -> None:
    """In the repository's own folder Python would find `prep` as well: a class of it is not the class of hindcast.prep."""
    named = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(ALLOWED)})\b", re.MULTILINE)
    assert [str(file.relative_to(ROOT)) for file in FILES if named.search(file.read_text())] == []


def test_only_launch_starts_spark() -> None:
    for file in MODULES:
        if file.relative_to(ROOT).parts[0] != "launch":
            assert "SparkSession.builder" not in file.read_text(), file
