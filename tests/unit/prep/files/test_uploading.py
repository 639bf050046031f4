"""Under a URI lies the old or the new, whole, whatever fails and whoever writes at the same time; and what is replaced goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest

from hindcast.prep.errors import InputError
from hindcast.prep.files import locks, storage, uploading
from hindcast.prep.files.locks import MARKER
from hindcast.prep.files.names import MANIFEST, ORIGINS, PETASTORM
from hindcast.prep.files.placing import holds
from hindcast.prep.files.targets import Target, fetched, placed, refuse_taken

CHECK = holds(MANIFEST, "a Hindcast dataset")
PARTS = 3


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "staging"
    folder.mkdir()
    monkeypatch.setenv("HINDCAST_STAGING", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/set"


@pytest.fixture
def s3_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """In a bucket of an S3 server of this process."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server_ = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = server_.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    if not files.exists("data"):  # servers of one process share what they hold
        files.mkdir("data")
    yield f"s3://data/{tmp_path.name}/set"
    server.stop()
    fsspec.filesystem("s3").clear_instance_cache()


def fill(target: Target, text: str, at: str = "") -> None:
    """What Spark writes: parts with names of their own, with its marks beside them; Petastorm's file, and the manifest."""
    folder = target.folder / at
    names = [f"split=train/part-{number}-{uuid.uuid4()}.parquet" for number in range(PARTS)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).with_name(f".{Path(name).name}.crc").write_text("of Hadoop")
    (folder / "_SUCCESS").touch()
    (folder / PETASTORM).write_text(text)
    (folder / MANIFEST).write_text(json.dumps({"text": text, "parts": names}))


def write(uri: str, text: str, overwrite: bool = False, meanwhile: Callable[[Target], object] = lambda target: None) -> None:
    with placed(uri, overwrite, CHECK) as target:
        fill(target, text)
        meanwhile(target)


def read(uri: str) -> str | None:
    """The text of a whole dataset, None where there is none; AssertionError for half of one."""
    found = storage.get(f"{uri}/{MANIFEST}")
    if found is None:
        return None
    manifest = json.loads(found)
    for name in manifest["parts"]:
        assert storage.get(f"{uri}/{name}") == manifest["text"].encode()
    return str(manifest["text"])


def named(uri: str) -> set[str]:
    return {MANIFEST, PETASTORM, *json.loads(storage.read_text(f"{uri}/{MANIFEST}"))["parts"]}


def mark(uri: str, age: float, token: str = "another") -> None:
    said = {"process": 4711, "host": "elsewhere", "time": int(time.time() - age), "token": token}
    storage.put(f"{uri}/{MARKER}", json.dumps(said).encode())


def test_what_is_written_replaces_what_was_there_and_nothing_else_stays(uri: str) -> None:
    write(uri, "one")
    assert (read(uri), set(storage.objects(uri))) == ("one", named(uri))
    before = named(uri)
    write(uri, "two", overwrite=True)
    assert (read(uri), set(storage.objects(uri))) == ("two", named(uri))
    assert before & named(uri) == {MANIFEST, PETASTORM}
    assert storage.read_text(f"{uri}/{PETASTORM}") == "two"


def test_what_is_kept_is_neither_uploaded_nor_removed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(uri, "one")
    kept = sorted(named(uri) - {MANIFEST, PETASTORM})[:2]
    uploaded: list[str] = []
    upload = storage.upload
    monkeypatch.setattr(storage, "upload", lambda file, to: (uploaded.append(to), upload(file, to)))
    write(uri, "two", True, lambda target: target.keep(kept))
    assert set(storage.objects(uri)) == {*named(uri), *kept}
    assert {name.removeprefix(f"{uri}/") for name in uploaded} == named(uri)
    with pytest.raises(InputError, match="part-gone: is missing"):
        write(uri, "three", True, lambda target: target.keep(["split=train/part-gone"]))
    assert read(uri) == "two"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("for_ever", [True, False])
def test_wherever_the_store_fails_the_old_or_the_new_is_there_and_the_next_writer_mends(
    uri: str, there: bool, for_ever: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request in its turn fails, alone or with all that follow it."""
    monkeypatch.setattr(uploading, "THREADS", 1)
    outcomes: list[str] = []
    for turn in range(1, 100):
        monkeypatch.setattr(locks, "STALE_SECONDS", 0.0)  # a marker that could not be removed is old at once
        base = f"{uri}/{turn}"
        if there:
            write(base, "old")
        with failing(monkeypatch, turn, for_ever) as count:
            try:
                write(base, "new", overwrite=there)
                message = ""
            except InputError as error:
                message = str(error)
        assert not message or message.startswith(base)
        found = read(base)
        assert found == "new" or (message and found == ("old" if there else None))
        if found == "old":
            assert storage.read_text(f"{base}/{PETASTORM}") == "old"
            if not for_ever and "Write again: that" not in message:
                assert set(storage.objects(base)) <= named(base) | {MARKER}
        outcomes.append(f"{found} {bool(message)}")
        write(base, "next", overwrite=found is not None)
        assert (read(base), set(storage.objects(base))) == ("next", named(base))
        if count[0] < turn:
            break
    assert turn > 15
    assert outcomes[-1] == "new False"
    # Of what was replaced, a file that cannot be removed is told.
    assert set(outcomes) == ({"old True", "new True", "new False"} if there else {"None True", "new False"})


class failing:  # noqa: N801
    """A memory store whose request of this number fails, or it and all after it; with the number of requests so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, turn: int, for_ever: bool) -> None:
        self.monkeypatch, self.turn, self.for_ever, self.count = monkeypatch, turn, for_ever, [0]

    def __enter__(self) -> list[int]:
        self.patched = self.monkeypatch.context()
        patch, files = self.patched.__enter__(), type(fsspec.filesystem("memory"))
        for name in ("put_file", "pipe_file", "cat_file", "rm_file", "find", "info"):
            patch.setattr(files, name, self.counted(getattr(files, name)))
        return self.count

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def then(*given: Any, **options: Any) -> Any:
            self.count[0] += 1
            if self.count[0] == self.turn or (self.for_ever and self.count[0] > self.turn):
                raise OSError("the store is out of order")
            return call(*given, **options)

        return then

    def __exit__(self, *_: object) -> None:
        self.patched.__exit__(None, None, None)


def test_a_failure_while_spark_writes_leaves_what_was_there(uri: str) -> None:
    write(uri, "old")
    with pytest.raises(ZeroDivisionError):
        write(uri, "new", True, lambda target: 1 / 0)
    assert (read(uri), set(storage.objects(uri))) == ("old", named(uri))


def test_what_could_not_be_taken_back_is_in_nobodys_way(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "THREADS", 1)
    files = type(fsspec.filesystem("memory"))
    put, remove = files.put_file, files.rm_file

    def refuse(call: Callable[..., object], part: str) -> Callable[..., object]:
        def then(self: Any, *names: str) -> object:
            if part in names[-1]:
                raise PermissionError("not this one")
            return call(self, *names)

        return lambda self, *names, callback=None: then(self, *names)

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", refuse(put, "part-2"))
        patch.setattr(files, "rm_file", refuse(remove, "part-"))
        with pytest.raises(InputError, match="access is refused"):
            write(uri, "one")
    left = set(storage.objects(uri))
    assert len(left) == PARTS
    assert MARKER in left
    with pytest.raises(ZeroDivisionError):  # which does not make them a stranger's
        write(uri, "two", False, lambda target: 1 / 0)
    assert set(storage.objects(uri)) == left
    write(uri, "three")
    assert (read(uri), set(storage.objects(uri))) == ("three", named(uri))


def test_what_is_there_is_replaced_only_when_told_and_only_when_it_is_ours(uri: str) -> None:
    storage.put(f"{uri}/thesis/chapter-1", b"x")
    for overwrite, message in ((False, "is there already; --overwrite"), (True, r"not a Hindcast dataset \(it has no _manifest")):
        with pytest.raises(InputError, match=f"^{uri}: {message}"):
            refuse_taken(uri, overwrite, CHECK)
        with pytest.raises(InputError, match=f"^{uri}: {message}"):
            write(uri, "x", overwrite)
        with pytest.raises(InputError, match=message):
            refuse_taken(f"{uri}/thesis/chapter-1", overwrite, CHECK)
    assert storage.objects(uri) == {"thesis/chapter-1": 1}


@pytest.mark.parametrize("name", [MANIFEST, "split=train/part-of-nobody"])
def test_what_appeared_meanwhile_is_not_destroyed(uri: str, name: str) -> None:
    with pytest.raises(InputError, match="is there already"):
        write(uri, "mine", False, lambda target: storage.put(f"{uri}/{name}", b"theirs"))
    assert storage.objects(uri) == {name: 6}


def test_a_second_writer_is_refused_and_told_who_writes(uri: str, staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with placed(uri, False, CHECK) as target:
        fill(target, "first")
        with pytest.raises(InputError, match=rf"^{uri}: is being written by process {os.getpid()} on "):
            write(uri, "second")
        (staging / "of another machine").mkdir()
        monkeypatch.setenv("HINDCAST_STAGING", str(staging / "of another machine"))
        for refused in (lambda: write(uri, "second"), lambda: refuse_taken(uri, True, CHECK)):
            with pytest.raises(InputError, match=rf"process {os.getpid()} on .* heard of . s ago. Wait .*{MARKER} is removed"):
                refused()
        (staging / "of another machine").rmdir()
        monkeypatch.setenv("HINDCAST_STAGING", str(staging))
    assert read(uri) == "first"
    mark(uri, age=100)
    with pytest.raises(InputError, match=rf"^{uri}: is being written by process 4711 on elsewhere, which was heard of 10. s ago"):
        write(uri, "second", overwrite=True)
    mark(uri, age=200)
    write(uri, "second", overwrite=True)
    assert (read(uri), set(storage.objects(uri))) == ("second", named(uri))


def test_the_marker_is_refreshed_but_never_put_back_over_that_of_another(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(uri, "old")
    monkeypatch.setattr(locks, "REFRESH_SECONDS", 0.02)
    put, puts, fifth = storage.put, [], threading.Event()

    def counted(to: str, content: bytes) -> None:
        put(to, content)
        puts.append(content)
        if len(puts) == 5:
            put(to, json.dumps({"time": int(time.time()), "token": "another"}).encode())
            fifth.set()

    def another_comes(target: Target) -> None:
        assert fifth.wait(30)
        time.sleep(0.2)

    monkeypatch.setattr(storage, "put", counted)
    with pytest.raises(InputError, match="another writer took over"):
        write(uri, "new", True, another_comes)
    assert len(puts) == 5
    assert read(uri) == "old"
    assert set(storage.objects(uri)) == {*named(uri), MARKER}
    assert json.loads(storage.read_text(f"{uri}/{MARKER}"))["token"] == "another"


def test_a_writer_that_comes_back_after_another_was_done_replaces_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_writes(target: Target) -> None:
        with monkeypatch.context() as elsewhere:
            (tmp_path / "elsewhere").mkdir()
            elsewhere.setenv("HINDCAST_STAGING", str(tmp_path / "elsewhere"))
            elsewhere.setattr(locks, "STALE_SECONDS", -1.0)
            write(uri, "other")

    with pytest.raises(InputError, match="another writer took over"):
        write(uri, "sleeper", True, another_writes)
    assert (read(uri), set(storage.objects(uri))) == ("other", named(uri))
    assert storage.read_text(f"{uri}/{PETASTORM}") == "other"


def test_what_a_killed_writer_left_is_nothing_and_is_swept(s3_uri: str, staging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import sys, time
from hindcast.prep.files import uploading
from hindcast.prep.files.placing import holds
from hindcast.prep.files.targets import placed
def reached(*_):
    print("reached", flush=True)
    time.sleep(120)
uploading._compare = reached
with placed(sys.argv[1], False, holds("{MANIFEST}", "")) as target:
    for name in ("part-1", "part-2", "{MANIFEST}", "{PETASTORM}"):
        (target.folder / name).write_text("of the killed one")
"""
    process = subprocess.Popen([sys.executable, "-c", code, s3_uri], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
    finally:
        process.kill()
        process.communicate(timeout=30)
    assert set(storage.objects(s3_uri)) == {"part-1", "part-2", MARKER}
    assert list(staging.iterdir()) != []
    with pytest.raises(InputError, match=f"is being written by process {process.pid} on "):
        write(s3_uri, "x")
    monkeypatch.setattr(locks, "STALE_SECONDS", -1.0)
    write(s3_uri, "next")  # without overwriting: there is nothing
    assert (read(s3_uri), set(storage.objects(s3_uri))) == ("next", named(s3_uri))


def test_readers_of_s3_see_the_old_or_the_new_at_every_moment(s3_uri: str) -> None:
    write(s3_uri, "0")
    seen: set[str] = set()
    ended = threading.Event()
    failed: list[BaseException] = []

    def watch() -> None:
        while not ended.is_set():
            before = storage.get(f"{s3_uri}/{MANIFEST}")
            try:
                seen.add(str(read(s3_uri)))
            except AssertionError as error:  # a file that was removed meanwhile, because there is another manifest by now
                if storage.get(f"{s3_uri}/{MANIFEST}") == before:
                    failed.append(error)
            except BaseException as error:
                failed.append(error)

    reader = threading.Thread(target=watch)
    reader.start()
    for number in range(1, 9):
        write(s3_uri, str(number), overwrite=True)
    ended.set()
    reader.join()
    assert failed == []
    assert len(seen) > 2
    assert (read(s3_uri), set(storage.objects(s3_uri))) == ("8", named(s3_uri))


def test_what_names_the_others_comes_last(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, order = storage.upload, []
    monkeypatch.setattr(storage, "upload", lambda file, to: (order.append(to.removeprefix(f"{uri}/")), upload(file, to)))
    for again in (False, True):
        order.clear()
        with placed(uri, again, holds(ORIGINS, "a folder of rolling origins")) as target:
            fill(target, "x", "origin-0")
            fill(target, "x", "origin-1")
            (target.folder / ORIGINS).write_text("{}")
        turns = [f"origin-{number}/{PETASTORM}" for number in range(2)], [f"origin-{number}/{MANIFEST}" for number in range(2)]
        marks = [*turns[1], ORIGINS]
        # Petastorm's file of the old ones is replaced when the new ones are there.
        assert order[2 * PARTS :] == ([*marks, *turns[0]] if again else [*turns[0], *marks])
    assert {read(f"{uri}/origin-{number}") for number in range(2)} == {"x"}


def test_a_file_that_did_not_arrive_whole_is_noticed_before_it_counts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(uri, "old")
    files = type(fsspec.filesystem("memory"))
    put = files.put_file

    def cut(self: Any, file: str, name: str, **options: Any) -> None:
        put(self, file, name, **options)
        if "part-1" in name:
            self.pipe_file(name, b"")

    monkeypatch.setattr(files, "put_file", cut)
    with pytest.raises(InputError, match=r"part-1.*: 3 bytes were uploaded, and 0 are there.*before is as it was"):
        write(uri, "new", overwrite=True)
    assert (read(uri), set(storage.objects(uri))) == ("old", named(uri))


def test_a_full_staging_disk_says_so(uri: str, staging: Path) -> None:
    message = rf"^{uri}: the disk of {staging} is full.*or set HINDCAST_STAGING"
    with pytest.raises(InputError, match=message), placed(uri, False, CHECK):
        raise RuntimeError("Job aborted: java.io.IOException: No space left on device\n\tat java.base/…")
    assert storage.objects(uri) == {}


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_no_datasets_is_never_removed(uri: str, killed: bool) -> None:
    """Neither with --overwrite, nor where a marker says that a writer was killed there."""
    others = {
        "thesis.pdf",
        "split=train/notes.txt",
        "tables/part-0.parquet",
        "tables/_manifest.json",
        "part/1",
        "_manifest.json.old",
    }
    ours = {
        "_tail/part-1",
        "_quarantine/part-2.json",
        "split=test/part-3",
        "part-4",
        "origin-0/split=train/part-5",
        "origin-1/" + PETASTORM,
    }
    mark(uri, age=1e6) if killed else write(uri, "old")
    for name in others | ours:
        storage.put(f"{uri}/{name}", b"x")
    write(uri, "new", overwrite=not killed)
    assert set(storage.objects(uri)) == named(uri) | others


def test_a_staging_directory_that_is_not_ours_alone_is_not_used(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("HINDCAST_STAGING")
    own = tmp_path / f"hindcast-staging-{os.getuid()}"
    (tmp_path / "victim").mkdir()
    own.symlink_to("victim")
    with pytest.raises(InputError, match=rf"^{own}: must be a folder that is yours.*symbolic link.*HINDCAST_STAGING"):
        write(uri, "x")
    own.unlink()
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(InputError, match=rf"^{own}: must be a folder that is yours.*mode 777"):
        write(uri, "x")
    assert list((tmp_path / "victim").iterdir()) == list(own.iterdir()) == []


def test_without_a_staging_directory_it_is_one_of_our_own(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("HINDCAST_STAGING")
    with placed(uri, False, CHECK) as target:
        own = tmp_path / f"hindcast-staging-{os.getuid()}"
        assert own in target.folder.parents
        assert own.stat().st_mode & 0o777 == 0o700
        fill(target, "x")
    monkeypatch.setenv("HINDCAST_STAGING", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=f"HINDCAST_STAGING: {tmp_path}/nowhere is no directory"):
        write(uri, "y", overwrite=True)


def test_files_are_fetched_for_spark(uri: str, tmp_path: Path) -> None:
    for base in (uri, str(tmp_path / "set")):
        write(base, "x")
        file = storage.join(base, "_tail/part-1")
        if storage.is_local(base):
            Path(file).parent.mkdir()
            Path(file).write_bytes(b"tail")
        else:
            storage.put(file, b"tail")
        with fetched(base, ["_tail/part-1"]) as files:
            assert [Path(file).read_bytes() for file in files] == [b"tail"]
        for name, message in (("_tail/part-2", "part-2: is missing"), ("../secret", "leads out of it")):
            with pytest.raises(InputError, match=message), fetched(base, [name]):
                pass
