"""Files by path and by URI: the same answers from every store, and an end and a name to every failure."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from hindcast.prep.dataset.blocks import Address, ArrayField, read
from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.sequences.rows import npy_column

CONTENT = "größer\n".encode() * 3


@pytest.fixture
def s3_environment(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    if not files.exists("data"):
        files.mkdir("data")
    fsspec.filesystem("s3").clear_instance_cache()
    return s3_server


@pytest.fixture(params=["path", "file", "memory", "s3", "local"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder in each kind of store, its name in need of encoding."""
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
    folder = tmp_path / "a b"
    return {
        "path": str(folder),
        "file": folder.as_uri(),
        "memory": f"memory://{tmp_path.name}/a b",
        "s3": f"s3://data/{tmp_path.name}/a b",
        "local": f"local://{folder}",  # for fsspec a store like others, and one with folders
    }[request.param]


@pytest.fixture(params=["memory", "s3", "local"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder in each kind of store that is written through fsspec."""
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
    return {"memory": f"memory://{tmp_path.name}/a b", "s3": f"s3://data/{tmp_path.name}/w", "local": f"local://{tmp_path}/a b"}[
        request.param
    ]


def put(base: str, relative: str, content: bytes) -> str:
    file = storage.join(base, relative)
    if storage.is_local(file):
        storage.local_path(file).parent.mkdir(parents=True, exist_ok=True)
        storage.local_path(file).write_bytes(content)
    else:
        storage.put(file, content)
    return file


def test_every_store_gives_the_same_answers(base: str) -> None:
    file = put(base, "split=train/one.txt", CONTENT)
    put(base, "two.txt", b"")
    assert storage.read_bytes(file) == CONTENT
    assert storage.read_text(file) == CONTENT.decode()
    assert storage.size_of(file) == len(CONTENT)
    assert storage.size_of(storage.join(base, "two.txt")) == 0
    assert storage.size_of(storage.join(base, "three.txt")) is None
    assert storage.size_of(storage.join(base, "split=train")) is None
    assert storage.names_in(base) == ["split=train", "two.txt"]
    assert storage.xxh128_of(file) == xxhash.xxh3_128(CONTENT).hexdigest()
    assert storage.absolute(file) == file
    for ask in (storage.read_bytes, storage.sha256_of, storage.open_for_arrow):
        with pytest.raises(InputError, match=r"three\.txt: is missing"):
            ask(storage.join(base, "three.txt"))
    assert storage.read_bytes(put(base, "two.txt", b"now longer")) == b"now longer"


def test_what_is_written_is_read_listed_and_removed(uri: str, tmp_path: Path) -> None:
    assert storage.objects(uri) == {}
    one, two = f"{uri}/split=train/part-1.parquet", f"{uri}/mark.json"
    (tmp_path / "file").write_bytes(CONTENT)
    storage.upload(tmp_path / "file", one)
    storage.put(two, b"first")
    storage.put(two, b"second, longer")
    assert storage.objects(uri) == {"split=train/part-1.parquet": len(CONTENT), "mark.json": 14}
    assert storage.objects(two) == {"": 14}
    assert storage.get(two) == b"second, longer"
    assert storage.get(f"{uri}/nothing") is None
    storage.download(one, tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == CONTENT
    storage.remove(two)
    storage.remove(two)
    assert storage.objects(uri) == {"split=train/part-1.parquet": len(CONTENT)}


def test_a_large_file_goes_up_in_pieces_that_are_heard_of(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", 5 << 20)  # S3 takes no smaller ones
    heard: list[int] = []
    monkeypatch.setattr(storage._LastProgress, "now", lambda self, size, value, **_: heard.append(value))
    content = np.random.default_rng(0).bytes(12 << 20)
    (tmp_path / "large").write_bytes(content)
    storage.upload(tmp_path / "large", f"{uri}/large")
    assert storage.read_bytes(f"{uri}/large") == content
    if uri.startswith("s3:"):
        assert heard[-3:] == [5 << 20, 10 << 20, 12 << 20]


def test_an_upload_may_take_long_while_it_gets_on_and_not_when_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "REMOTE_SECONDS", 0.5)
    files = fsspec.filesystem("memory")

    def slow(self: Any, file: str, name: str, callback: Any, **options: Any) -> None:
        for turn in range(5):
            time.sleep(0.2)
            if turn < 4 or "stands" not in name:
                callback.relative_update(1)
            else:
                time.sleep(5)

    monkeypatch.setattr(type(files), "put_file", slow)
    began = time.monotonic()
    storage.upload(tmp_path, "memory://x/gets-on")
    assert time.monotonic() - began > 0.9
    ended_soon(lambda: storage.upload(tmp_path, "memory://x/stands"), r"^memory://x/stands: nothing was heard for 0\.5 s", 3)


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_is_never_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    for write in (lambda: storage.put("s3://no-such/x/y", b""), lambda: storage.upload(tmp_path / "file", "s3://no-such/x/y")):
        with pytest.raises(InputError, match=r"^s3://no-such/x/y: is missing"):
            write()
    assert not fsspec.filesystem("s3", skip_instance_cache=True).exists("no-such")


def test_large_files_come_in_pieces(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHUNK_BYTES", "LOCAL_CHUNK_BYTES"):
        monkeypatch.setattr(storage, name, 1000)
    content = np.random.default_rng(0).bytes(2500)
    file = put(base, "large", content)
    assert storage.read_bytes(file) == content
    assert storage.xxh128_of(file) == xxhash.xxh3_128(content).hexdigest()


def test_row_groups_are_read_from_every_store(base: str) -> None:
    table = pa.table({"a": np.arange(1000), "b": np.arange(1000) * 0.5})
    written = io.BytesIO()
    pq.write_table(table, written, row_group_size=300)
    file = put(base, "t.parquet", written.getvalue())
    with storage.open_for_arrow(file) as opened:
        assert pq.ParquetFile(opened, pre_buffer=True).read_row_group(2).equals(table.slice(600, 300))


def test_blocks_are_read_from_every_store(base: str, tmp_path: Path) -> None:
    values = np.random.default_rng(hash(base) % 1000).normal(size=(5, 4, 3)).astype("<f4")
    integers = {name: np.arange(5, dtype=np.int32) for name in ("windows", "own_start", "own_stop")}
    start = np.datetime64("2025-01-01", "us") + np.arange(5)
    columns = {"values": npy_column(values), "observed": npy_column(np.ones((5, 4, 3), "u1")), "series": list("abcde")}
    written = io.BytesIO()
    pq.write_table(pa.table({**columns, "start": start, **integers}), written)
    file = put(base, "part.parquet", written.getvalue())
    arrays = (ArrayField("values", "<f4", (4, 3)), ArrayField("observed", "|u1", (4, 3)))
    address = Address(storage.absolute(file), xxhash.xxh3_128(written.getvalue()).hexdigest(), 0, 1, 4, arrays)
    np.testing.assert_array_equal(read(address).values, values[1:4])
    other = Address(address.file, xxhash.xxh3_128(b"another").hexdigest(), 0, 1, 4, arrays)
    with pytest.raises(InputError, match=r"part\.parquet: its bytes have the digest"):
        read(other)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nosuch://x/y", "nosuch://x/y: cannot be reached: ValueError: Protocol not known"),
        ("file://host/x", "file://host/x: names the machine 'host'"),
    ],
)
def test_what_is_no_store_of_ours_is_named(uri: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        storage.read_bytes(uri)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("path", ["10:00.csv", "C:x", "a/b://c"])
def test_names_with_colons_are_paths(path: str) -> None:
    assert storage.is_local(path)
    assert storage.local_path(path) == Path(path)


@pytest.mark.parametrize("relative", ["../secret", "/etc/passwd", "split=train/../../x"])
def test_nothing_outside_of_the_dataset_is_named(relative: str) -> None:
    with pytest.raises(InputError, match="leads out of it"):
        storage.join("/data/set", relative)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: cannot be read: Is a directory"):
        storage.read_bytes(str(tmp_path))
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="latin: is not UTF-8"):
        storage.read_text(str(tmp_path / "latin"))
    with pytest.raises(InputError, match="no: cannot be listed: No such file"):
        storage.names_in(str(tmp_path / "no"))


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"^s3://nobody-has-this/x: (is missing|cannot be reached)"):
        storage.read_bytes("s3://nobody-has-this/x")


@pytest.mark.usefixtures("s3_environment")
def test_an_endpoint_that_is_down_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    fsspec.filesystem("s3").clear_instance_cache()
    ended_soon(lambda: storage.read_bytes("s3://data/x"), r"^s3://data/x: cannot be reached: .*Check the address")


@pytest.mark.usefixtures("s3_environment")
def test_missing_rights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        fsspec.filesystem("s3").clear_instance_cache()
        ended_soon(lambda: storage.read_bytes("s3://data/x"), r"^s3://data/x: access is refused .*Check the credentials")


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "REMOTE_SECONDS", 0.3)
    files = fsspec.filesystem("memory")
    monkeypatch.setattr(type(files), "info", lambda self, path, **options: time.sleep(5))
    ended_soon(lambda: storage.size_of("memory://x/y"), r"^memory://x/y: nothing was heard for 0\.3 s", 3)


def ended_soon(call: Callable[[], Any], message: str, seconds: float = 30) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=message):
        call()
    assert time.monotonic() - began < seconds


class answering:  # noqa: N801
    """A server that says the same to everybody."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.listening = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(self.answer)

    def __exit__(self, *_: object) -> None:
        self.listening.close()
