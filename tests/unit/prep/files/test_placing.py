"""Whole or not at all: what is in its place changes at once, in the end, or stays as it was, whenever the writer dies."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hindcast.classical.checkpoints import FileCheckpoint
from hindcast.deep.training.checkpoints import TrainingFile
from hindcast.forecasting.card import must_be_model
from hindcast.forecasting.report import page
from hindcast.prep.dataset.sequence_dataset import must_be_dataset
from hindcast.prep.errors import InputError
from hindcast.prep.files import own_folders, placing
from hindcast.prep.files.placing import holds, placed_file, placed_folder, recover, refuse_taken
from hindcast.prep.files.targets import placed
from hindcast.prep.synthetic import fleet

CHECK = holds("mark", "a marked folder")
FILES = 12
# What the children run: generation after generation of folders whose files all say the same.
WRITER = """
import sys
from pathlib import Path
from hindcast.prep.files import placing
out, first, in_one_step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if in_one_step == "no":
    placing._exchange_names = lambda first, second: False
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
from hindcast.prep.files.placing import placed_folder
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
    monkeypatch.setattr(placing, "_exchange_names", lambda first, second: False)
    write(tmp_path / "out", "one")
    write(tmp_path / "out", "two", overwrite=True)
    assert (tmp_path / "out" / "mark").read_text() == "two"
    assert names(tmp_path) == ["out"]


def test_a_full_disk_ends_clearly_and_leaves_what_was_there(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import holds, placed_folder
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


def entered(writer: AbstractContextManager[object]) -> None:
    with writer:
        pass


# All that the project writes beside its place.
WRITERS: dict[str, Callable[[Path], object]] = {
    "a dataset": lambda out: entered(placed(str(out), True, must_be_dataset)),
    "a model": lambda out: entered(placed_folder(out, False, must_be_model)),
    "forecasts": lambda out: entered(placed_file(out, overwrite=False)),
    "a report": lambda out: page.write(None, out),  # type: ignore[arg-type]
    "a checkpoint of EM": lambda out: FileCheckpoint(out, {}, {}, every=1).save(1, []),
    "a checkpoint of a training": lambda out: TrainingFile(out, {}).write(b""),
    "made-up readings": lambda out: fleet.write_readings(fleet.draw(1, 9, 0), out, out.with_name("regimes"), 0),
    "what goes elsewhere": lambda out: entered(placing.scratch(out, "s3://bucket/set")),
    "nothing yet": lambda out: refuse_taken(out, True, CHECK),
}


def tree(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Everything in a folder, links not followed: its path → mode, inode, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        link, file = stat.S_ISLNK(status.st_mode), stat.S_ISREG(status.st_mode)
        content = os.readlink(path) if link else path.read_text() if file else ""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_ino, content)
    return found


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's files, some of them called as a writer's are."""
    folder = tmp_path / "victim"
    for name in ("thesis", "chapters/1", "content-abc/2", "replaced/mark", "holder.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def a_link(staging: Path, victim: Path) -> None:
    staging.symlink_to(os.path.relpath(victim, staging.parent))


def a_link_to_a_file(staging: Path, victim: Path) -> None:
    staging.symlink_to(victim / "thesis")


def a_link_that_leads_nowhere(staging: Path, victim: Path) -> None:
    staging.symlink_to(victim / "not there")


def a_file(staging: Path, victim: Path) -> None:
    staging.write_text("x")


def a_pipe(staging: Path, victim: Path) -> None:
    os.mkfifo(staging)


def open_to_all(staging: Path, victim: Path) -> None:
    (staging / "content-abc").mkdir(parents=True)
    staging.chmod(0o777)


def of_another_user(staging: Path, victim: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder to somebody else")
    (staging / "content-abc").mkdir(parents=True)
    os.chown(staging, 65534, 65534)


def with_a_file_of_somebody(staging: Path, victim: Path) -> None:
    (staging / "content-abc").mkdir(parents=True)
    (staging / "notes").write_text("x")


def with_a_folder_of_somebody(staging: Path, victim: Path) -> None:
    shutil.copytree(victim, staging / "chapters")


def with_a_file_called_like_content(staging: Path, victim: Path) -> None:
    staging.mkdir()
    (staging / "content-of-my-thesis").write_text("x")


def with_a_folder_called_like_the_holder(staging: Path, victim: Path) -> None:
    shutil.copytree(victim, staging / placing.HOLDER)


def with_a_link_called_like_the_holder(staging: Path, victim: Path) -> None:
    staging.mkdir()
    (staging / placing.HOLDER).symlink_to(victim / "thesis")


INTRUDERS = [
    a_link,
    a_link_to_a_file,
    a_link_that_leads_nowhere,
    a_file,
    a_pipe,
    open_to_all,
    of_another_user,
    with_a_file_of_somebody,
    with_a_folder_of_somebody,
    with_a_file_called_like_content,
    with_a_folder_called_like_the_holder,
    with_a_link_called_like_the_holder,
]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_where_something_else_is_in_the_way_nothing_is_written_and_nothing_removed(
    tmp_path: Path, victim: Path, writer: str, intruder: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "render", lambda contents: "")
    intruder(tmp_path / ".out.writing", victim)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path / '.out.writing'))}.*\(rm (-r )?.*\.out\.writing\)"):
        WRITERS[writer](tmp_path / "out")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_a_reader_puts_nothing_back_out_of_what_is_not_a_writers(
    tmp_path: Path, victim: Path, intruder: Callable[[Path, Path], None]
) -> None:
    intruder(tmp_path / ".out.writing", victim)
    before = tree(tmp_path)
    recover(tmp_path / "out")
    assert tree(tmp_path) == before


def test_links_in_what_a_killed_writer_left_are_removed_and_not_followed(tmp_path: Path, victim: Path) -> None:
    """Where a target that was a link had been replaced, or a link lay in it."""
    staging, before = tmp_path / ".out.writing", tree(victim)
    (staging / "content-12_ab").mkdir(parents=True)
    (staging / "content-12_ab" / "chapters").symlink_to(victim / "chapters")
    (staging / "content-gone").symlink_to("../victim")
    write(tmp_path / "out", "one")
    (staging / "content-abc").mkdir(parents=True)
    (staging / placing.REPLACED).symlink_to("../victim")
    write(tmp_path / "out", "two", overwrite=True)
    assert tree(victim) == before
    assert names(tmp_path) == ["out", "victim"]


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o700])
def test_what_a_killed_writer_left_is_swept_whatever_its_umask_was(tmp_path: Path, mode: int) -> None:
    staging = tmp_path / ".out.writing"
    for name in ("content-x1_y2z3a/split=train/part-0", "replaced/mark", "holder.json"):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text("{}")
    staging.chmod(mode)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mark").touch()
    with placed_folder(tmp_path / "out", True, CHECK) as content:
        (content / "mark").write_text("new")
        assert names(staging) == sorted([content.name, placing.HOLDER])
        assert not staging.stat().st_mode & 0o022  # the group could have put something there
    assert (tmp_path / "out" / "mark").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_nobody_else_can_write_where_it_is_staged(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with placed_folder(tmp_path / "out", False, CHECK) as content:
            assert stat.S_IMODE(content.stat().st_mode) == stat.S_IMODE(content.parent.stat().st_mode) == 0o755
    finally:
        os.umask(before)


@pytest.mark.parametrize("intruder", [a_link, with_a_folder_of_somebody])
def test_a_staging_folder_that_is_exchanged_meanwhile_is_noticed(
    tmp_path: Path, victim: Path, intruder: Callable[[Path, Path], None]
) -> None:
    staging, before = tmp_path / ".out.writing", tree(victim)

    def exchanged(writer: AbstractContextManager[Path]) -> None:
        with writer:
            staging.rename(tmp_path / "away")
            intruder(staging, victim)

    for writer in (placed_folder(tmp_path / "out", False, CHECK), placed_file(tmp_path / "out")):
        with pytest.raises(InputError, match=r"out: somebody has moved .*\.out\.writing away"):
            exchanged(writer)
        assert tree(victim) == before
        assert names(tmp_path / "away") == []
        assert not (tmp_path / "out").exists()
        assert os.path.lexists(staging)
        shutil.rmtree(staging) if intruder is with_a_folder_of_somebody else staging.unlink()
        (tmp_path / "away").rmdir()


@pytest.mark.parametrize("in_one_step", [True, False])
def test_of_a_target_that_is_a_link_the_link_is_replaced(
    tmp_path: Path, in_one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_step:
        monkeypatch.setattr(placing, "_exchange_names", lambda first, second: False)
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "set", "old")
    (tmp_path / "elsewhere" / "page").write_text("old")
    before = tree(tmp_path / "elsewhere")
    for name in ("set", "page"):
        (tmp_path / name).symlink_to(f"elsewhere/{name}")
    with pytest.raises(InputError, match="is there already"):
        write(tmp_path / "set", "new")
    write(tmp_path / "set", "new", overwrite=True)
    with placed_file(tmp_path / "page") as staged:
        staged.write_text("new")
    assert (tmp_path / "set" / "mark").read_text() == (tmp_path / "page").read_text() == "new"
    assert not any((tmp_path / name).is_symlink() for name in ("set", "page"))
    assert tree(tmp_path / "elsewhere") == before
    assert names(tmp_path) == ["elsewhere", "page", "set"]


def test_a_target_that_is_a_link_is_put_back_as_one(tmp_path: Path) -> None:
    write(tmp_path / "set", "old")
    (tmp_path / ".out.writing").mkdir()
    (tmp_path / ".out.writing" / placing.REPLACED).symlink_to("set")  # from where it lies now, it leads nowhere
    recover(tmp_path / "out")
    assert os.readlink(tmp_path / "out") == "set"
    assert names(tmp_path) == ["out", "set"]


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("disk that is not mounted/out")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="out: is a link that leads nowhere, and is not replaced"):
            write(tmp_path / "out", "new", overwrite)
        with pytest.raises(InputError, match="leads nowhere"), placed_file(tmp_path / "out", overwrite):
            pass
    assert names(tmp_path) == ["out"]


def test_where_every_folder_gets_another_owner_it_is_staged_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server that gives all files to one user."""
    us = os.geteuid()
    monkeypatch.setattr(own_folders.os, "geteuid", lambda: us + 1)
    write(tmp_path / "out", "one")
    assert names(tmp_path) == ["out"]
    with pytest.raises(InputError, match="must be a folder that is yours"):  # where what is in it counts
        own_folders.open_folder(tmp_path)


def test_made_up_readings_take_the_place_of_links(tmp_path: Path) -> None:
    """A folder that says it is an earlier demo may come from anywhere."""
    (tmp_path / "victim").write_text("x")
    for name in ("readings.csv", "regimes.csv"):
        (tmp_path / name).symlink_to("victim")
    fleet.write_readings(fleet.draw(1, 9, 0), tmp_path / "readings.csv", tmp_path / "regimes.csv", 0)
    assert (tmp_path / "victim").read_text() == "x"
    assert (tmp_path / "readings.csv").read_text().startswith("time,sensor,")
    assert names(tmp_path) == ["readings.csv", "regimes.csv", "victim"]
