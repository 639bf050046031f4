"""Which readings are prepared by a Java that compiles once alone."""

from __future__ import annotations

import os
from pathlib import Path

from hindcast.launch.spark.java import BRIEF, BRIEF_BYTES, DRIVER_JAVA, brief_java_conf, driver_java_conf


def test_few_bytes_of_this_machine_are_read_by_a_brief_java(tmp_path: Path) -> None:
    small, folder, large = tmp_path / "a.csv", tmp_path / "more", tmp_path / "large.csv"
    folder.mkdir()
    small.write_text("time,a\n")
    (folder / "b.csv").write_text("time,a\n")
    for paths in ([str(small)], [str(small), str(folder)], [str(tmp_path / "*.csv")]):
        options = brief_java_conf(paths)[DRIVER_JAVA]
        assert options.endswith(BRIEF)
        # All else that Java is told by itself, such as its archive of classes.
        assert options.removesuffix(BRIEF).strip() == driver_java_conf().get(DRIVER_JAVA, "")
    large.touch()
    os.truncate(large, BRIEF_BYTES + 1)
    for paths in ([str(large)], [str(tmp_path)], [str(tmp_path / "*.csv")]):
        assert brief_java_conf(paths) == {}


def test_of_what_is_elsewhere_nothing_is_known(tmp_path: Path) -> None:
    small = tmp_path / "a.csv"
    small.write_text("time,a\n")
    assert brief_java_conf([]) == {}
    assert brief_java_conf([str(small), "s3a://bucket/b.csv"]) == {}
