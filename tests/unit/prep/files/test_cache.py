"""The directory of what a node keeps: nobody else's is used, and nothing is swept, read or written there that is not an entry."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash

from hindcast.prep.errors import InputError
from hindcast.prep.files import cache
from hindcast.prep.files.cache import (
    NAMES,
    NoRoomError,
    alone,
    boot,
    cache_directory,
    discard,
    make_entry,
    put_mark,
    sweep,
    touch,
)
from hindcast.prep.files.cached_arrays import GoneError, Sink, entry_arrays, keep, mapped, remove
from hindcast.prep.files.soundness import _fingerprint, open_verified

ARRAYS = {"values": np.arange(3)}
DIGEST = "0a" * 16
OLD = (0, 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache's directory is to be: it is not there yet."""
    monkeypatch.setenv("HINDCAST_CACHE", str(tmp_path))
    return tmp_path / f"hindcast-blocks-{os.getuid()}"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's files, one of them called as an entry is."""
    found = tmp_path / "victim"
    found.mkdir()
    for name in ("doc1.pdf", f"packed-1-{boot()}"):
        (found / name).write_text(name)
        os.utime(found / name, OLD)
    return found


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Of each entry, itself where it is a link: its name → mode, inode, time."""
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (status.st_mode, status.st_ino, status.st_mtime_ns) for name, status in sorted(found.items())}


def a_link(folder: Path, victim: Path) -> None:
    folder.symlink_to(victim)


def a_file(folder: Path, victim: Path) -> None:
    folder.touch()


def open_to_the_group(folder: Path, victim: Path) -> None:
    victim.rename(folder)
    folder.chmod(0o770)


def of_another_user(folder: Path, victim: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder to somebody else")
    victim.rename(folder)
    os.chown(folder, 65534, 65534)


def fill(sink: Sink) -> None:
    sink.reserve("values", np.dtype(int), (3,))(ARRAYS["values"])


def lock(folder: Path) -> None:
    with alone(folder, "entry x"):
        pass


USES: list[Callable[[Path], object]] = [
    lambda folder: make_entry(folder, f"x-{boot()}", lambda descriptor: None),
    lambda folder: entry_arrays(folder, "x", fill),
    lambda folder: keep(folder, "x", ARRAYS),
    lambda folder: mapped(folder, "packed-1"),
    lambda folder: remove(folder, ""),
    lambda folder: touch(folder / f"packed-1-{boot()}"),
    lambda folder: put_mark(folder, "mark.sound"),
    lambda folder: sweep(folder, 0),
    lock,
]


@pytest.mark.parametrize("intruder", [a_link, a_file, open_to_the_group, of_another_user])
def test_a_directory_that_is_not_ours_alone_is_not_used(
    folder: Path, victim: Path, intruder: Callable[[Path, Path], None]
) -> None:
    intruder(folder, victim)
    there = victim if victim.exists() else folder
    before = state(there)
    with pytest.raises(InputError, match=f"^{re.escape(str(folder))}: must be a folder that is yours.*HINDCAST_CACHE"):
        cache_directory()
    assert state(there) == before


@pytest.mark.parametrize("intruder", [a_link, open_to_the_group])
@pytest.mark.parametrize("use", USES)
def test_a_directory_that_is_exchanged_later_is_not_used_either(
    folder: Path, victim: Path, intruder: Callable[[Path, Path], None], use: Callable[[Path], object]
) -> None:
    assert cache_directory() == folder
    folder.rmdir()
    intruder(folder, victim)
    there = victim if victim.exists() else folder
    before = state(there)
    with pytest.raises(InputError, match=f"^{re.escape(str(folder))}: must be a folder that is yours"):
        use(folder)
    assert state(there) == before


def test_only_entries_are_swept(folder: Path, victim: Path) -> None:
    ours = [
        f"{DIGEST}-{'1b' * 8}-{boot()}",
        f"{DIGEST}-{'1b' * 8}-{'2c' * 4}",  # of before the machine was started
        f"packed-{DIGEST}-7-4096-{'2c' * 4}",
        f"{DIGEST}-0.fetched",
        f"{DIGEST}-{'1b' * 8}.sound",
        f"of-another-kind-{boot()}",
    ]
    others = ["doc1.pdf", "backup-20240101", "report-0", ".profile", "notes.sound", "packed-lunch", f"{DIGEST}-{'1b' * 8}.pdf"]
    for name in (*ours, *others, ".making-0a1b2c3d", ".lock-file-1"):
        (cache_directory() / name).write_text("x")
        os.utime(folder / name, OLD)
    (folder / f"a-folder-{boot()}").mkdir()
    for name in (f"a-link-{boot()}", ".making-link"):
        (folder / name).symlink_to(victim / "doc1.pdf")
    before, stays = state(victim), state(folder)
    sweep(folder, 0)
    stays = {name: stays[name] for name in stays if name not in (*ours, ".making-0a1b2c3d")}
    assert state(folder) == stays
    (folder / ours[0]).touch()
    discard(folder, "")
    assert state(folder) == stays
    assert state(victim) == before


def test_what_links_lead_to_is_neither_read_nor_written(folder: Path, victim: Path) -> None:
    file, before = victim / "doc1.pdf", state(victim)
    sound = f"{DIGEST}-{_fingerprint(str(file))}.sound"
    locks = [f".lock-{kind}-{number}" for kind in ("entry", "file") for number in range(cache.LOCKS)]
    for name in (f"x-{boot()}", f"y-{boot()}", f"{DIGEST}-{boot()}.fetched", sound):
        (cache_directory() / name).symlink_to(file)
    for name in locks:
        (folder / name).symlink_to(victim / "new")
    with pytest.raises(InputError, match="has been changed"):  # a link marks nothing as sound
        open_verified(folder, str(file), DIGEST)
    with pytest.raises(InputError, match="memory://nobody: is missing"):  # nor is it what was fetched
        open_verified(folder, "memory://nobody", DIGEST)
    with pytest.raises(GoneError):
        mapped(folder, "x")
    np.testing.assert_array_equal(entry_arrays(folder, "x", fill)["values"], ARRAYS["values"])
    assert keep(folder, "y", ARRAYS)
    assert not any((folder / f"{name}-{boot()}").is_symlink() for name in "xy")  # the entries are in the links' place
    assert all((folder / name).is_symlink() for name in locks)
    assert state(victim) == before


def test_a_pipe_in_an_entrys_place_keeps_nobody_waiting(folder: Path) -> None:
    os.mkfifo(cache_directory() / f"x-{boot()}")
    os.mkfifo(folder / ".making-x")
    os.utime(folder / ".making-x", OLD)
    began = time.monotonic()
    sweep(folder, 0)
    np.testing.assert_array_equal(entry_arrays(folder, "x", fill)["values"], ARRAYS["values"])
    assert time.monotonic() - began < 5


def test_what_the_project_keeps_is_called_as_it_is_swept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x")
    open_verified(cache_directory(), str(tmp_path / "part"), xxhash.xxh3_128(b"x").hexdigest())
    assert [name for name in state(folder) if not name.startswith(".") and not NAMES.fullmatch(name)] == []


def test_an_entry_that_cannot_be_put_in_its_place_leaves_nothing(folder: Path) -> None:
    def fail(descriptor: int) -> None:
        raise NoRoomError(OSError(28, ""))

    with pytest.raises(NoRoomError):
        make_entry(cache_directory(), "x", fail)
    assert list(folder.iterdir()) == []
