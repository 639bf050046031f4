"""Where the archive of Java's classes is, and what is said where there can be none."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from hindcast.launch.spark import class_archive
from hindcast.launch.spark.java import sharing_options


def test_java_is_told_of_an_archive_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "an environment"))
    assert sharing_options() == []
    place = tmp_path / "an environment/share/hindcast/spark-classes.jsa"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert shlex.split(" ".join(sharing_options()))[0] == f"-XX:SharedArchiveFile={place}"


def test_where_it_cannot_be_written_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "share").write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    class_archive.main()
    said = capsys.readouterr().err
    assert said.startswith("hindcast: no archive of Java's classes, and Spark starts as it does without: ")
    assert "Not a directory" in said


def test_where_spark_does_not_start_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho and more >&2\necho no Java 17 >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    class_archive.main()
    assert capsys.readouterr().err.endswith(
        "without: no Java 17. Mend that, then: python -m hindcast.launch.spark.class_archive\n"
    )
    assert list((tmp_path / "share/hindcast").iterdir()) == []
