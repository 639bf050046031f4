"""Whole or not at all: what is in its place changes at once, in the end, or stays as it was, whenever the writer dies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prep import placing
from prep.errors import InputError
from prep.placing import holds, placed_file, placed_folder, recover, refuse_taken

CHECK = holds("mark", "a marked folder")
FILES = 12
# What the children run: generation after generation of folders whose files all say the same.
WRITER = """
import sys
from pathlib import Path
from prep import placing
out, first, in_one_step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if in_one_step == "no":
    placing._renamed_in_one_step = lambda one, other: False
print("started", flush=True)
for number in range(first, first + 100_000):
    with placing.placed_folder(out, True, placing.holds("mark", "a marked folder")) as staging:
        for name in ["mark", *map(str, range(FILES))]:
            (staging / name).write_text(str(number))
""".replace("FILES", str(FILES))


def write(out: Path, text: str, overwrite: bool = False) -> None:
    with placed_folder(out, overwrite, CHECK) as staging:
        (staging / "mark").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def child() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


def start(child: list[subprocess.Popen[str]], code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child.append(process)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("started")
    return process


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


def test_what_appeared_meanwhile_is_not_destroyed(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def second() -> None:
        with placed_folder(out, False, CHECK) as staging:
            (staging / "mark").write_text("second")
            out.mkdir()
            (out / "mark").write_text("first")

    with pytest.raises(InputError, match="is there already"):
        second()
    assert (out / "mark").read_text() == "first"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("in_one_step", ["yes", "no"])
def test_a_killed_writer_leaves_the_old_or_the_new_whole(
    tmp_path: Path, child: list[subprocess.Popen[str]], in_one_step: str
) -> None:
    out = tmp_path / "out"
    seen = set()
    for attempt in range(12):
        process = start(child, WRITER, out, attempt * 1_000_000, in_one_step)
        time.sleep(0.0137 * attempt)  # another moment of the loop each time
        process.kill()
        process.wait(timeout=30)
        if in_one_step == "no":
            recover(out)
        if out.exists() or seen:
            assert names(out) == sorted(["mark", *map(str, range(FILES))])
            texts = {path.read_text() for path in out.iterdir()}
            assert len(texts) == 1
            seen |= texts
    assert len(seen) > 4
    with placed_folder(out, True, CHECK) as staging:
        assert names(staging) == []
        (staging / "mark").write_text("after")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["mark"]


def test_what_a_writer_killed_between_two_renames_took_away_is_put_back(tmp_path: Path) -> None:
    out, staging = tmp_path / "out", tmp_path / ".out.writing"

    def die_between() -> None:
        write(out, "old", overwrite=True)
        staging.mkdir()
        out.rename(staging / placing.REPLACED)

    die_between()
    recover(out)
    assert (out / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]
    die_between()
    with pytest.raises(InputError, match="is there already"):
        write(out, "new")
    assert (out / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_interrupt_between_two_renames_does_not_remove_the_only_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(content: Path, out: Path, replaced: Path) -> None:
        out.rename(replaced)
        raise KeyboardInterrupt

    write(tmp_path / "out", "old")
    monkeypatch.setattr(placing, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_the_second_writer_is_refused_at_once_and_told_who_writes(tmp_path: Path, child: list[subprocess.Popen[str]]) -> None:
    out = tmp_path / "out"
    code = """
import sys, time
from pathlib import Path
from prep.placing import placed_folder
with placed_folder(Path(sys.argv[1]), True, print) as staging:
    (staging / "mark").write_text("first")
    print("started", flush=True)
    time.sleep(120)
"""
    process = start(child, code, out)
    began = time.monotonic()
    with pytest.raises(InputError, match=rf"out: is being written by process {process.pid} on "):
        write(out, "second")
    with pytest.raises(InputError, match="is being written"), placed_file(out):
        pass
    with pytest.raises(InputError, match="is being written"):  # before anything is computed
        refuse_taken(out, True, CHECK)
    assert time.monotonic() - began < 5
    process.kill()
    process.wait(timeout=30)
    refuse_taken(out, True, CHECK)
    write(out, "second")
    assert (out / "mark").read_text() == "second"
    assert names(tmp_path) == ["out"]


def test_threads_of_one_process_are_two_writers(tmp_path: Path) -> None:
    with placed_folder(tmp_path / "out", True, CHECK) as staging:
        (staging / "mark").write_text("x")
        with pytest.raises(InputError, match=f"is being written by process {os.getpid()}"):
            write(tmp_path / "out", "y")


def test_without_an_exchange_in_one_step_it_is_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_renamed_in_one_step", lambda one, other: False)
    write(tmp_path / "out", "one")
    write(tmp_path / "out", "two", overwrite=True)
    assert (tmp_path / "out" / "mark").read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_a_full_disk_ends_clearly_and_leaves_what_was_there(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from prep.errors import InputError
from prep.placing import holds, placed_folder
out = Path(sys.argv[1]) / "out"
def write(size):
    with placed_folder(out, True, holds("mark", "a marked folder")) as staging:
        (staging / "mark").write_text("x")
        (staging / "large").write_bytes(bytes(size))
write(100_000)
try:
    write(10_000_000)
except InputError as error:
    print(error)
print((out / "large").stat().st_size, [path.name for path in out.parent.iterdir()])
write(200_000)
print((out / "large").stat().st_size)
"""
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, code]
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("a small disk to fill needs the right to mount one (unshare --mount)")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    message, before, after = ran.stdout.splitlines()
    assert message.startswith(f"{tmp_path}/out: the disk of {tmp_path} is full.")
    assert before == "100000 ['out']"
    assert after == "200000"


def test_a_task_that_met_a_full_disk_is_told_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is full"), placed_folder(tmp_path / "out", False, CHECK):
        raise RuntimeError("Job aborted: java.io.IOException: No space left on device\n\tat java.base/…")


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(InputError, match=r"not a marked folder \(it has no mark\), and is not replaced"):
        write(tmp_path / "thesis", "x", overwrite=True)
    with pytest.raises(InputError, match="is not a file"), placed_file(tmp_path / "thesis"):
        pass
    assert names(tmp_path) == ["thesis"]


def test_a_file_is_put_in_place_in_the_end(tmp_path: Path) -> None:
    out = tmp_path / "f.csv"
    with placed_file(out) as staging:
        assert staging.suffix == ".csv"
        staging.write_text("x")
        assert not out.exists()
    assert out.read_text() == "x"
    assert names(tmp_path) == ["f.csv"]
    with pytest.raises(InputError, match="is there already"), placed_file(out, overwrite=False):
        pass
