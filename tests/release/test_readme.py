"""The README's blocks run as they are printed, in their order, in a clone with nothing beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.release.cloned import ROOT, clone

pytestmark = [pytest.mark.release, pytest.mark.timeout(5400)]

# Lines that are not run, by how they begin or what is in them, and why.
SKIPPED = {
    r"^git clone ": "the clone is there",
    r"^apt-get ": "it changes the machine, and wants to be root",
    r"^source \.venv/": "the environment's programs are on the PATH",
    r"spark://": "it needs a cluster",
}
# Installing is what test_bare_root.py tests; here, what is run when all is installed.
INSTEAD = {"make demo": "hindcast demo"}
LEFT_BEHIND = (
    "out/demo/report.html", "out/demo/my.seq", "etth1-readings.html", "etth1.hmm", "etth1.lstm", "search/best.toml",
    "forecasts.parquet", "coming.parquet", "report/report.html", "etth1/scores.json", "ranks.lstm", "alone.lstm", "each.lstm",
)  # fmt: skip


def blocks() -> Iterator[tuple[str, str]]:
    """The language and the text of each block that has a language."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S | re.M)


def commands(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not any(re.search(pattern, line) for pattern in SKIPPED):
            yield INSTEAD.get(line, line)


def test_every_block_of_the_readme_runs(tmp_path: Path) -> None:
    folder = clone(tmp_path / "hindcast")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "HOME": str(tmp_path)}
    environment.pop("HINDCAST_CACHE", None)
    run = 0
    for language, text in blocks():
        assert language in ("bash", "python"), "a block is run, or has no language"
        lines = commands(text) if language == "bash" else [text]
        program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        for line in lines:
            ran = subprocess.run([*program, line], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
            assert ran.returncode == 0, f"{line}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
            run += 1
    assert run > 20
    assert [name for name in LEFT_BEHIND if not (folder / name).exists()] == []
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["hindcast"]


def test_every_line_that_is_not_run_is_there() -> None:
    text = "".join(text for _, text in blocks())
    assert [pattern for pattern in SKIPPED if not re.search(pattern, text, re.M)] == []
    assert set(INSTEAD) <= set(text.splitlines())
