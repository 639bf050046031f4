"""Arrays that a node keeps under a name until they are removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.prep.files import cache
from hindcast.prep.files.cached_arrays import GoneError, keep, mapped, remove

ARRAYS = {"values": np.arange(6, dtype=np.int8).reshape(3, 2), "lengths": np.array([1, 2])}


def test_what_is_kept_is_mapped_and_what_is_kept_in_its_place(tmp_path: Path) -> None:
    assert keep(tmp_path, "one", ARRAYS)
    before = mapped(tmp_path, "one")
    assert keep(tmp_path, "one", {"values": np.zeros(2)})
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(before[name], array)
        assert before[name].dtype == array.dtype
        assert not before[name].flags.writeable
    np.testing.assert_array_equal(mapped(tmp_path, "one")["values"], [0, 0])


def test_what_is_removed_is_gone_and_its_bytes_too(tmp_path: Path) -> None:
    for name in ("fit-1", "fit-2", "other"):
        keep(tmp_path, name, ARRAYS)
        mapped(tmp_path, name)
    remove(tmp_path, "fit-")
    with pytest.raises(GoneError, match="fit-2: it was kept, and is not there"):
        mapped(tmp_path, "fit-2")
    assert mapped(tmp_path, "other")["lengths"].tolist() == [1, 2]
    assert f"{tmp_path}/fit" not in Path("/proc/self/maps").read_text()


def test_what_cannot_be_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache.os, "posix_fallocate", full)
        with pytest.warns(RuntimeWarning, match="can be kept there: No space left on device"):
            assert not keep(tmp_path, "one", ARRAYS)
    monkeypatch.setenv("HINDCAST_CACHE_BYTES", "0")
    assert not keep(tmp_path, "two", ARRAYS)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
