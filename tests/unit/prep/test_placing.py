"""Whole or not at all: what is in its place changes at once, in the end, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from prep.errors import InputError
from prep.placing import holds, placed_file, placed_folder

CHECK = holds("mark", "a marked folder")


def write(out: Path, text: str, overwrite: bool = False) -> None:
    with placed_folder(out, overwrite, CHECK) as staging:
        (staging / "mark").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "one")

    def fail() -> None:
        with placed_folder(out, True, CHECK) as staging:
            (staging / "mark").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "mark").read_text() == "one"
    write(out, "two", overwrite=True)
    assert (out / "mark").read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_who_comes_second_does_not_destroy_the_work_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def second() -> None:
        with placed_folder(out, False, CHECK) as staging:
            (staging / "mark").write_text("second")
            write(out, "first")

    with pytest.raises(InputError, match="is there already"):
        second()
    assert (out / "mark").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_two_writers_do_not_share_a_staging_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with placed_folder(out, True, CHECK) as one, placed_folder(out, True, CHECK) as other:
        assert one != other
        for staging in (one, other):
            (staging / "mark").write_text("x")


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(InputError, match=r"not a marked folder \(it has no mark\), and is not replaced"):
        write(tmp_path / "thesis", "x", overwrite=True)
    with pytest.raises(InputError, match="is not a file"), placed_file(tmp_path / "thesis"):
        pass


def test_a_file_is_put_in_place_in_the_end(tmp_path: Path) -> None:
    out = tmp_path / "f.csv"
    with placed_file(out) as staging:
        staging.write_text("x")
        assert not out.exists()
    assert out.read_text() == "x"
    assert names(tmp_path) == ["f.csv"]
    with pytest.raises(InputError, match="is there already"), placed_file(out, overwrite=False):
        pass
