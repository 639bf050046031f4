"""`hindcast readings` as a user types it: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.spark.running import Run


def settings(folder: Path, readings: Path, timestamp: str = "timestamp") -> Path:
    """Windows are not chosen yet."""
    file = folder / "spec.toml"
    file.write_text(f'[readings]\npath = "{readings}"\ntimestamp = "{timestamp}"\n')
    return file


@pytest.mark.data
def test_a_real_sensor_is_shown_and_its_page_written(run: Run, shared: Path, tmp_path: Path) -> None:
    spec = settings(tmp_path, shared / "data/nab/machine_temperature_system_failure.csv")
    page = tmp_path / "report.html"
    status, printed = run("readings", spec, "--out", page)
    assert status == 0, printed
    for text in (
        "22,695 readings of 1 channel, every 5 min: 12 duplicates and 1 reading out of order.",
        "2013-12-02 21:15 to 2014-02-19 15:25",
        "hindcast prep stops at duplicates: decide on grid.duplicates",
        "the furthest lies 55 min before the one above it, at 2014-01-07 02:00",
        str(page),
    ):
        assert text in printed
    markup = page.read_text().replace("\u00a0", " ")
    body = re.sub(r"<[^>]*>", "", markup)
    for text in ("22,695", "12 readings at a time that has one already", "55 min", "grid.duplicates"):
        assert text in body
    assert "<svg" in markup
    assert not re.search(r"(src|href)=\"(?!#)", markup)

    status, printed = run("readings", spec, "--out", page)
    assert status == 2
    assert "is there already; --overwrite replaces it" in printed


@pytest.mark.data
def test_data_without_times_are_refused(run: Run, shared: Path, tmp_path: Path) -> None:
    spec = settings(tmp_path, shared / "data/wine-quality/winequality-red.csv")
    status, printed = run("readings", spec)
    assert status == 2
    assert "no column 'timestamp'" in printed
    spec = settings(tmp_path, shared / "data/wine-quality/winequality-white.csv", timestamp="pH")
    status, printed = run("readings", spec)
    assert status == 2 or "cannot be understood" in printed


def test_what_cannot_be_used_is_named(run: Run, tmp_path: Path) -> None:
    assert run("readings", settings(tmp_path, tmp_path / "nowhere.csv"))[1].count("no such file") == 1
    status, printed = run("readings", settings(tmp_path, tmp_path / "x.csv"), "--out", tmp_path / "no" / "page.html")
    assert status == 2
    assert "does not exist" in printed
