"""Files to arrays: the codec's own bytes and nothing else, damage found before it is decoded, and what a node keeps of it."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from petastorm.codecs import NdarrayCodec
from petastorm.unischema import UnischemaField

from hindcast.prep.dataset.blocks import Address, ArrayField, Block, cache_directory, decode, read, read_each
from hindcast.prep.errors import InputError
from hindcast.prep.files import cache as entries_
from hindcast.prep.files import cached_arrays, storage
from hindcast.prep.sequences.rows import npy_column

rng = np.random.default_rng(0)
ROWS, LENGTH = 7, 6
FIELDS = (
    ArrayField("values", "<f4", (LENGTH, 3)),
    ArrayField("observed", "|u1", (LENGTH, 3)),
    ArrayField("covariates", "<f4", (LENGTH, 2)),
    ArrayField("covariates_observed", "|u1", (LENGTH, 2)),
    ArrayField("labels", "<i4", (LENGTH, 1)),
    ArrayField("attributes", "<f4", (4,)),
)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDCAST_CACHE", str(tmp_path / "cache"))


def content(fields: tuple[ArrayField, ...] = FIELDS, rows: int = ROWS) -> dict[str, np.ndarray]:
    arrays = {field.name: rng.integers(0, 200, (rows, *field.shape)).astype(field.dtype) for field in fields}
    return {
        **arrays,
        "series": np.array([f"größe {row % 3}" for row in range(rows)]),
        "start": np.datetime64("2025-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h"),
        **{name: rng.integers(0, 9, rows).astype(np.int32) for name in ("windows", "own_start", "own_stop")},
    }


def part(file: Path, columns: dict[str, np.ndarray], fields: tuple[ArrayField, ...] = FIELDS, group: int = 4) -> list[Address]:
    """Written with `group` rows a row group: the addresses of all of them."""
    names = {field.name for field in fields}
    table = {name: npy_column(column) if name in names else pa.array(column) for name, column in columns.items()}
    pq.write_table(pa.table(table), file, row_group_size=group)
    return addresses(file, fields)


def addresses(file: Path, fields: tuple[ArrayField, ...] = FIELDS) -> list[Address]:
    digest = xxhash.xxh3_128(file.read_bytes()).hexdigest()
    metadata = pq.ParquetFile(file).metadata
    sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    return [Address(str(file), digest, index, 0, size, fields) for index, size in enumerate(sizes)]


def entries() -> list[Path]:
    """What is kept: neither locks nor marks."""
    return sorted(path for path in cache_directory().iterdir() if not path.name.startswith(".") and path.suffix != ".sound")


# What is read


def test_every_field_comes_back(tmp_path: Path) -> None:
    columns = content()
    for _ in range(3):  # decoded, mapped anew, mapped already
        blocks = [read(address) for address in part(tmp_path / "part", columns)]
        assert [len(block.windows) for block in blocks] == [4, 3]
        for name, column in columns.items():
            np.testing.assert_array_equal(np.concatenate([getattr(block, name) for block in blocks]), column)
            assert getattr(blocks[0], name).dtype == column.dtype
            assert not getattr(blocks[0], name).flags.writeable


def test_what_a_file_does_not_have_has_no_width(tmp_path: Path) -> None:
    block = read(part(tmp_path / "part", content(FIELDS[:2]), FIELDS[:2])[0])
    found = {name: getattr(block, name) for name in ("covariates", "covariates_observed", "labels", "attributes")}
    assert {name: array.shape for name, array in found.items()} == {
        "covariates": (4, LENGTH, 0),
        "covariates_observed": (4, LENGTH, 0),
        "labels": (4, LENGTH, 0),
        "attributes": (4, 0),
    }
    assert [array.dtype.str for array in found.values()] == ["<f4", "|u1", "<i4", "<f4"]


def test_an_address_is_some_rows_of_a_row_group(tmp_path: Path) -> None:
    columns = content()
    first, second = part(tmp_path / "part", columns)
    some = Address(second.file, second.digest, 1, 1, 3, FIELDS)
    np.testing.assert_array_equal(read(some).values, columns["values"][5:7])
    wrong = {"rows 0 to 9": (0, 0, 9), "the file has 2 row groups": (2, 0, 1), "rows 3 to 2": (1, 3, 2)}
    for message, (group, start, stop) in wrong.items():
        with pytest.raises(InputError, match=message):
            read(Address(first.file, first.digest, group, start, stop, FIELDS))


def test_blocks_read_ahead_come_in_order(tmp_path: Path) -> None:
    columns = content(rows=40)
    blocks = list(read_each(part(tmp_path / "part", columns, group=3)))
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), columns["values"])
    assert list(read_each([])) == []
    first = next(iter(read_each(addresses(tmp_path / "part"))))
    np.testing.assert_array_equal(first.values, columns["values"][:3])


@pytest.mark.parametrize(("dtype", "shape"), [("<f4", (7, 3)), ("u1", (5, 1)), ("<f4", (1, 1)), ("<i4", (4,))])
def test_columns_are_what_the_codec_writes(dtype: str, shape: tuple[int, ...]) -> None:
    arrays = rng.integers(0, 200, (4, *shape)).astype(dtype)
    field = UnischemaField("values", np.dtype(dtype).type, shape, NdarrayCodec(), False)
    theirs = [bytes(NdarrayCodec().encode(field, array)) for array in arrays]
    assert npy_column(arrays).to_pylist() == theirs
    chunks = [pa.array(theirs[:1]), pa.array(theirs)[1:3], pa.array([], pa.binary()), pa.array(theirs)[3:]]
    plain = pa.chunked_array(chunks)
    for column in (plain, plain.cast(pa.large_binary()), plain.dictionary_encode(), pa.chunked_array([], pa.binary())):
        np.testing.assert_array_equal(decode(column, shape, np.dtype(dtype), "file"), arrays[: len(column)])


def test_rows_with_headers_of_their_own_are_decoded_one_by_one() -> None:
    arrays = rng.normal(size=(4, 5, 3)).astype("<f4")
    written = [io.BytesIO() for _ in arrays]
    np.save(written[0], np.asfortranarray(arrays[0]))
    np.lib.format.write_array(written[1], arrays[1], version=(2, 0))
    np.save(written[2], arrays[2])
    short = str({"descr": "<f4", "fortran_order": False, "shape": (5, 3)}).encode().ljust(117) + b"\n"
    written[3].write(b"\x93NUMPY\x01\x00" + len(short).to_bytes(2, "little") + short + arrays[3].tobytes())
    column = pa.chunked_array([pa.array([each.getvalue() for each in written])])
    np.testing.assert_array_equal(decode(column, (5, 3), np.dtype("<f4"), "file"), arrays)


def saved(array: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, array, allow_pickle=True)
    return written.getvalue()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([b"short"], "not an array"),
        ([saved(np.zeros((2, 2), "<f4")), None], "1 missing values"),
        ([saved(np.zeros((4, 1), "<f4"))], r"a value is <f4 \(4, 1\), and the manifest says <f4 \(2, 2\)"),
        ([saved(np.zeros((2, 2), ">f4"))], r"a value is >f4 \(2, 2\)"),
        ([saved(np.zeros((2, 2), "<f4"))[:-1]], "not an array"),
        ([saved(np.array([[os.system]]))], "not an array"),  # a pickle
        (["text"], "a column of string"),
    ],
)
def test_foreign_values_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^file: .*{message}"):
        decode(pa.chunked_array([pa.array(values)]), (2, 2), np.dtype("<f4"), "file")


@pytest.mark.parametrize(("int96", "first"), [(True, "1678-01-01T12:34:56.789012"), (False, "0999-01-01T12:34:56.789012")])
def test_times_before_1970_are_read_as_spark_writes_them(tmp_path: Path, int96: bool, first: str) -> None:
    columns = content(FIELDS[:2], rows=3) | {"start": np.array([first, "1969-12-31T23:59", "2261-12-31"], "M8[us]")}
    table = {name: npy_column(column) if column.ndim > 1 else pa.array(column) for name, column in columns.items()}
    pq.write_table(pa.table(table), tmp_path / "part", use_deprecated_int96_timestamps=int96)
    found = read(addresses(tmp_path / "part", FIELDS[:2])[0])
    np.testing.assert_array_equal(found.start, columns["start"])


# What is refused


def test_one_changed_byte_anywhere_is_found_and_named(tmp_path: Path) -> None:
    file = tmp_path / "part"
    address = part(file, content())[0]
    whole = file.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        changed = bytearray(whole)
        changed[place] ^= 16
        file.write_bytes(changed)
        with pytest.raises(InputError, match=r"part: its bytes have the digest .* it has been changed or damaged"):
            read(address)
    file.write_bytes(whole)
    read(address)


def test_a_file_is_hashed_once_and_again_when_it_was_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part"
    hashed = []
    hashing = storage.xxh128_of
    monkeypatch.setattr(storage, "xxh128_of", lambda path: hashed.append(path) or hashing(path))
    first, second = part(file, content())
    read(first)
    read(second)
    assert hashed == [str(file)]
    for entry in entries():
        entry.unlink()
    changed = bytearray(file.read_bytes())
    changed[50] ^= 1
    os.chmod(file, 0o644)
    before = file.stat()
    file.write_bytes(changed)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # hidden as well as it can be
    with pytest.raises(InputError, match="changed or damaged"):
        read(second)


@pytest.mark.parametrize("digest", ["", "../../../../tmp/x", "A" * 32])
def test_a_hash_is_a_hash_before_it_names_a_file(tmp_path: Path, digest: str) -> None:
    address = part(tmp_path / "part", content())[0]
    with pytest.raises(InputError, match="is not a digest"):
        read(Address(address.file, digest, 0, 0, 1, FIELDS))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "part"
    address = part(file, content())[0]
    file.unlink()
    with pytest.raises(InputError, match=f"^{file}: is missing. The dataset is damaged: prepare it again"):
        read(address)
    file.mkdir()
    with pytest.raises(InputError, match=f"^{file}: cannot be read: Is a directory"):
        read(address)
    file.rmdir()
    file.write_bytes(b"PAR1 is how it begins, and no more")
    with pytest.raises(InputError, match=f"^{file}, row group 0: cannot be read: "):
        read(Address(str(file), xxhash.xxh3_128(file.read_bytes()).hexdigest(), 0, 0, 1, FIELDS))


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    columns = content()
    del columns["labels"]
    with pytest.raises(InputError, match="row group 0: there is no column 'labels'"):
        read(part(tmp_path / "part", columns)[0])


class Crafted:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {os.environ['CRAFTED']}",)


def test_a_pickle_in_the_metadata_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAFTED", str(tmp_path / "ran"))
    folder = tmp_path / "set"
    folder.mkdir()
    address = part(folder / "part-0.parquet", content())[0]
    keys = {b"dataset-toolkit.unischema.v1": pickle.dumps(Crafted())}
    for name in ("_common_metadata", "_metadata"):
        pq.write_metadata(pq.read_schema(folder / "part-0.parquet").with_metadata(keys), folder / name)
    read(address)
    assert not (tmp_path / "ran").exists()
    pickle.loads(keys[b"dataset-toolkit.unischema.v1"])
    assert (tmp_path / "ran").exists()  # it would have been noticed


# What is kept


def test_what_was_decoded_once_is_not_decoded_again(tmp_path: Path) -> None:
    columns = content()
    address = part(tmp_path / "part", columns)[0]
    read(address)
    assert all(entries_.NAMES.fullmatch(entry.name) for entry in entries())  # or they would never be swept
    (tmp_path / "part").unlink()
    np.testing.assert_array_equal(read(address).values, columns["values"][:4])
    code = "import sys; from hindcast.prep.dataset.blocks import *; print(read(eval(sys.argv[1])).values.sum())"
    ran = subprocess.run([sys.executable, "-c", code, repr(address)], capture_output=True, text=True, timeout=300, check=True)
    assert float(ran.stdout) == columns["values"][:4].sum()


def test_the_least_recently_used_go_first_and_what_is_mapped_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = (ArrayField("values", "<f4", (1000, 3)), ArrayField("observed", "|u1", (1000, 3)))
    columns = content(fields, rows=6)
    monkeypatch.setenv("HINDCAST_CACHE_BYTES", "70000")  # four entries of 16 KB and some
    some = part(tmp_path / "part", columns, fields, group=1)
    first = read(some[0])
    for address in some[1:4]:
        time.sleep(0.02)  # a file's time is that of the kernel's last tick
        read(address)
    time.sleep(0.02)
    read(some[0])
    before = set(entries())
    assert len(before) == 4
    time.sleep(0.02)
    read(some[4])
    assert len(set(entries()) - before) == 1
    assert len(before - set(entries())) == 1
    (tmp_path / "part").unlink()
    np.testing.assert_array_equal(read(some[0]).values, columns["values"][:1])  # used last, though made first
    with pytest.raises(InputError, match="is missing"):
        read(some[1])
    entries_.sweep(cache_directory(), 0)
    assert entries() == []
    np.testing.assert_array_equal(first.values, columns["values"][:1])


def test_limits_that_are_no_numbers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HINDCAST_CACHE_BYTES", "10G")
    with pytest.raises(InputError, match="HINDCAST_CACHE_BYTES: '10G' is not a number of bytes"):
        read(part(tmp_path / "part", content())[0])


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    folder = cache_directory()
    left, written = folder / ".making-left", folder / ".making-written"
    with written.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        left.touch()
        for path in (left, written):
            os.utime(path, (0, 0))
        entries_.sweep(folder)
        assert not left.exists()
        assert written.exists()


def test_entries_cut_short_are_made_anew(tmp_path: Path) -> None:
    columns = content()
    address = part(tmp_path / "part", columns)[0]
    for size in (0, 5, 1000):
        read(address)
        cached_arrays._last_used.clear()
        os.truncate(entries()[0], size)
        np.testing.assert_array_equal(read(address).values, columns["values"][:4])


def test_without_room_it_is_read_into_memory_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = content()
    address = part(tmp_path / "part", columns)[0]

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    writes = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda descriptor, data, at: full() if on_disk(descriptor) else writes(descriptor, data, at)
    )
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="cannot be kept: No space left on device.*HINDCAST_CACHE"):
            block = read(address)
        np.testing.assert_array_equal(block.values, columns["values"][:4])
    assert entries() == []
    assert not list(cache_directory().glob(".making-*"))
    assert not cached_arrays._last_used.keys() & set(entries())


def test_without_room_for_the_cache_itself_it_is_read_into_memory_and_kept_once_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = content()
    address = part(tmp_path / "part", columns)[0]
    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", lambda *_: raise_(OSError(errno.ENOSPC, "No space left on device")))
        for _ in range(2):
            with pytest.warns(RuntimeWarning, match="cannot be kept: No space left on device.*HINDCAST_CACHE"):
                block = read(address)
            np.testing.assert_array_equal(block.values, columns["values"][:4])
        assert not cache_directory().exists()
        patched.setattr(os, "mkdir", lambda *_: raise_(OSError(errno.EACCES, "Permission denied")))
        with pytest.raises(InputError, match="cannot be made: Permission denied"):
            read(address)
    read(address)
    assert len(entries()) == 1


def raise_(error: OSError) -> None:
    raise error


def on_disk(descriptor: int) -> bool:
    return "memfd" not in os.readlink(f"/proc/self/fd/{descriptor}")


def test_many_processes_that_start_at_once_and_sweep_each_other_read_the_same(tmp_path: Path) -> None:
    fields = (ArrayField("values", "<f4", (1000, 3)), ArrayField("observed", "|u1", (1000, 3)))
    columns = content(fields, rows=12)
    some = part(tmp_path / "part", columns, fields, group=1)
    code = """
import sys
from hindcast.prep.dataset.blocks import *
addresses = eval(sys.argv[1])
print([[float(read(address).values.sum()) for address in addresses] for _ in range(5)] == [eval(sys.argv[2])] * 5)
"""
    sums = [float(values.sum()) for values in columns["values"]]
    command = [sys.executable, "-c", code, repr(some), repr(sums)]
    environment = os.environ | {"HINDCAST_CACHE_BYTES": "50000"}
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)]
    assert [process.communicate(timeout=300)[0].strip() for process in started] == ["True"] * 4
    assert not list(cache_directory().glob(".making-*"))


def test_a_block_is_all_of_its_fields() -> None:
    assert set(Block.__dataclass_fields__) == {
        *(field.name for field in FIELDS),
        "series",
        "start",
        "windows",
        "own_start",
        "own_stop",
    }
