"""The record of a run, its metrics and its lines of JSON, as they stand at every moment."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hindcast.launch.global_options import Arguments, parse
from hindcast.launch.watching import run_record, runs
from hindcast.launch.watching.log_lines import LogLines
from hindcast.launch.watching.metrics_file import MetricsFile
from hindcast.launch.watching.redaction import redacted, redacted_command
from hindcast.launch.watching.run_record import RunRecord, name_of
from hindcast.launch.watching.runs import MOST_STEPS, Run, set_run
from hindcast.launch.watching.watchers import begin, end
from hindcast.prep.errors import InputError


@pytest.fixture(autouse=True)
def _unwatched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("HINDCAST_RUN_DIR", "HINDCAST_LOG", "HINDCAST_METRICS"):
        monkeypatch.delenv(variable, raising=False)
    yield
    set_run(None)


class Heard:
    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def hear(self, run: Run, event: Mapping[str, Any]) -> None:
        self.events.append(event)


def record_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*/run.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def parsed(words: list[str], folder: Path | None = None) -> Arguments:
    return parse(words, {} if folder is None else {"HINDCAST_RUN_DIR": str(folder)})


def test_commands_that_do_no_work_are_watched_by_nobody(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--run-dir: `hindcast inspect` does no work to be watched$"):
        begin(parsed(["inspect", "d.seq", "--run-dir", str(tmp_path)]))
    for words in (["inspect", "d.seq"], ["fit", "hmm", "--help"], []):
        begin(parsed(words, tmp_path))
    assert not [*tmp_path.iterdir()]


def test_of_several_ranks_the_first_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("HOROVOD_RANK", rank)
        begin(parsed(["fit", "lstm"], tmp_path))
        assert len([*tmp_path.iterdir()]) == (rank == "0")


def test_the_record_says_what_ran_how_far_it_came_and_what_it_wrote(tmp_path: Path) -> None:
    begin(parsed(["fit", "hmm", "d.seq", "--out", "d.hmm"], tmp_path))
    run = runs.run()
    run.note(settings={"hmm": {"states": 3, "order": 48}})
    run.note(settings={"hmm": {"order": 12}}, spark={"master": "local[2]", "application": "local-1"})
    with run.stage("HMM", "3 states"):
        run.step("EM iteration", 1, {"iteration": 1, "log_likelihood": -7.5})
        standing = record_of(tmp_path)
    run.wrote("model", "d.hmm")
    end("succeeded")
    found = record_of(tmp_path)
    assert standing["state"] == "running"
    assert standing["stage"] == "HMM"
    assert found["state"] == "succeeded"
    assert (found["command"], found["command_line"]) == ("fit hmm", "hindcast fit hmm d.seq --out d.hmm")
    assert found["settings"] == {"hmm": {"states": 3, "order": 12}}
    assert found["spark"]["application"] == "local-1"
    assert found["written"] == [{"what": "model", "path": "d.hmm"}]
    assert {"python", "hindcast", "pyspark"} <= found["versions"].keys()
    assert "tensorflow" not in found["versions"]
    (stage,) = found["stages"]
    assert (stage["stage"], stage["about"], stage["state"]) == ("HMM", "3 states", "succeeded")
    (step,) = stage["steps"]
    assert (step["stage"], step["log_likelihood"]) == ("EM iteration 1", -7.5)
    assert 0 <= step["seconds"] <= stage["seconds"] <= found["seconds"]
    assert [file.name for file in next(tmp_path.iterdir()).iterdir()] == ["run.json"]
    assert runs.run().listeners == []


def test_two_runs_of_one_second_have_a_folder_each() -> None:
    now = time.time()
    names = {name_of("fit hmm", now) for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-fit-hmm-[0-9a-f]{6}", name) for name in names)
    assert name_of("z", 1.0) < name_of("a", 2.0)


KILLED = """
import os, signal, sys
from hindcast.launch.watching import runs, watchers
from hindcast.launch.global_options import parse
watchers.begin(parse(["prep", "spec.toml", "--run-dir", sys.argv[1]], {}))
with runs.run().stage("preparing"):
    runs.run().enter("reading")
    runs.run().enter("writing rows")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_the_stage_it_was_in(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=300).returncode == -9
    found = record_of(tmp_path)
    assert (found["state"], found["stage"], found["ended"]) == ("running", "preparing: writing rows", None)
    assert [(step["stage"], step["seconds"] is None) for step in found["stages"][0]["steps"]] == [
        ("reading", False), ("writing rows", True),
    ]  # fmt: skip


def test_steps_are_written_seldom_and_stages_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("name", "fit lstm", [record := RunRecord(str(tmp_path), "name", ["fit", "lstm"])])
    writes = []
    monkeypatch.setattr(record, "write", lambda text: writes.append(json.loads(text)))
    run.begin()
    with run.stage("LSTM"):
        for epoch in range(1, MOST_STEPS + 101):
            run.step("epoch", epoch, {"loss": 1 / epoch})
    assert len(writes) < 20
    (stage,) = writes[-1]["stages"]
    assert len(stage["steps"]) == MOST_STEPS
    assert (stage["steps"][0]["stage"], stage["steps_left_out"]) == ("epoch 101", 100)


def test_a_record_that_cannot_be_begun_ends_the_command_and_one_that_is_lost_later_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"run\.json: the record of the run cannot be written: Not a directory$"):
        begin(parsed(["prep"], tmp_path / "file"))
    end("failed", 2)
    assert not caplog.records
    begin(parsed(["prep"], tmp_path / "runs"))
    (folder,) = (tmp_path / "runs").iterdir()
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    for _ in range(2):
        with runs.run().stage("preparing"):
            pass
    (warning,) = caplog.records
    assert warning.getMessage().endswith("The run goes on without")
    assert [file.name for file in folder.iterdir()] == ["run.json"], "nothing half-written is left"


def test_what_a_link_beside_a_record_leads_to_is_neither_written_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_text("x")
    monkeypatch.setattr(run_record.secrets, "token_hex", lambda size: "0a")
    links = [tmp_path / f".m.prom.{word}.writing" for word in ("0a", os.getpid())]
    for link in links:
        link.symlink_to("victim")
    with pytest.raises(FileExistsError):
        run_record.replace(tmp_path / "m.prom", "y")
    links[0].unlink()
    (tmp_path / "m.prom").symlink_to("victim")
    run_record.replace(tmp_path / "m.prom", "y")
    assert (tmp_path / "victim").read_text() == "x"
    assert not (tmp_path / "m.prom").is_symlink()
    assert sorted(tmp_path.iterdir()) == sorted([links[1], tmp_path / "m.prom", tmp_path / "victim"])


def test_a_record_may_lie_at_a_uri() -> None:
    import fsspec

    begin(parsed(["prep", "--run-dir", "memory://runs"]))
    end("failed", 2, "no such file")
    (file,) = fsspec.filesystem("memory").glob("/runs/*/run.json")
    found = json.loads(fsspec.filesystem("memory").cat(file))
    assert (found["state"], found["error"], found["exit_status"]) == ("failed", "no such file", 2)


def test_secrets_are_written_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "prep", "https://me:hunter2@h/x?X-Amz-Signature=hunter2&part=1", "--api.token", "hunter2", "--db.password=hunter2",
        "--readings.path", "s3://key:hunter2@bucket/a",
    ]  # fmt: skip
    begin(parsed([*words, "--log", "json", "--metrics", str(tmp_path / "m.prom")], tmp_path))
    runs.run().note(settings={"password": "hunter2", "path": ["s3://key:hunter2@bucket/a"], "token_file": "/etc/token"})
    end("failed", 2, "s3://key:hunter2@bucket/a: access is refused")
    written = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file()) + capsys.readouterr().err
    assert "hunter2" not in written
    assert "s3://***@bucket/a: access is refused" in written
    assert redacted({"token_file": "/etc/token", "loss": float("nan")}) == {"token_file": "/etc/token", "loss": None}
    assert redacted_command(["a", "--b.secret", "x", "y z"]) == "a --b.secret '***' 'y z'"


def test_a_revision_is_told_of_a_checkout_of_its_own_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "ROOT", tmp_path)
    assert run_record.revision() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "code.py").write_text("")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    revision = run_record.revision()
    assert revision is not None
    assert re.fullmatch("[0-9a-f]{40}", revision)
    (tmp_path / "code.py").write_text("changed")
    assert run_record.revision() == f"{revision}-dirty"
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(run_record, "ROOT", tmp_path / "below")
    assert run_record.revision() is None


def test_parts_and_steps_last_from_one_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(runs.time, "time", lambda: now)
    run = Run("name", "fit hmm", [heard := Heard()])
    with run.stage("HMM"):
        now = 3.0
        run.step("EM iteration", 1, {})
        now = 5.0
        run.step("EM iteration", 2, {"log_likelihood": -1.0})
        now = 9.0
        run.step("epoch", 1, {}, seconds=1.5)
        run.enter("part")
        now = 10.0
    over = [(event["stage"], event["seconds"]) for event in heard.events if event["event"] == "stage"]
    assert over == [("EM iteration 1", 3.0), ("EM iteration 2", 2.0), ("epoch 1", 1.5), ("part", 1.0), ("HMM", 10.0)]
    assert run.spent["EM iteration"] == (2, 5.0)


SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (NaN|[+-]Inf|-?[\d.]+(?:e[+-]?\d+)?)')


def samples(file: Path) -> dict[str, str]:
    """Of each sample, its value. What stands in the file must be what Prometheus' text format allows."""
    found: dict[str, str] = {}
    types: dict[str, str] = {}
    text = file.read_text()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, kind, name, said = line.split(" ", 3)
            assert name not in (types if kind == "TYPE" else {})
            types |= {name: said} if kind == "TYPE" else {}
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        family = sample[1] if sample[1] in types else re.sub("_(sum|count)$", "", sample[1])
        assert types[family] == ("summary" if family != sample[1] else "counter" if family.endswith("_total") else "gauge")
        assert line not in found
        found[f"{sample[1]}{{{sample[2]}}}"] = sample[3]
    return found


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    file = tmp_path / "nightly.prom"
    own = 'command="fit hmm",file="nightly"'
    run = Run("name", "fit hmm", [MetricsFile(file)])
    run.begin()
    with run.stage("HMM"):
        run.step("EM iteration", 1, {"iteration": 1, "log_likelihood": -123.25, "unheard_of": 3}, seconds=2.0)
        run.step("EM iteration", 2, {"iteration": 2, "log_likelihood": float("nan")}, seconds=0.5)
        going = samples(file)
    run.count("readings", 5, dataset='a "b"\\\n', split="train")
    run.end("succeeded")
    found = samples(file)
    assert going[f"hindcast_run_running{{{own}}}"] == "1"
    assert not any("run_success" in name for name in going)
    assert found[f"hindcast_run_running{{{own}}}"] == "0"
    assert found[f"hindcast_run_success{{{own}}}"] == "1"
    assert found[f"hindcast_log_likelihood{{{own}}}"] == "NaN"
    assert found[f"hindcast_iteration{{{own}}}"] == "2"
    assert found[f'hindcast_stage_seconds_sum{{{own},stage="EM iteration"}}'] == "2.5"
    assert found[f'hindcast_stage_seconds_count{{{own},stage="EM iteration"}}'] == "2"
    assert found[rf'hindcast_readings_total{{{own},dataset="a \"b\"\\\n",split="train"}}'] == "5"
    assert not any("unheard_of" in name for name in found)
    assert [place.name for place in tmp_path.iterdir()] == ["nightly.prom"]
    last = found[f"hindcast_run_last_success_time_seconds{{{own}}}"]
    assert float(last) == run.ended
    failed = Run("name", "fit hmm", [MetricsFile(file)])
    failed.begin()
    failed.end("failed", 2, "why")
    found = samples(file)
    assert found[f"hindcast_run_success{{{own}}}"] == "0"
    assert found[f"hindcast_run_last_success_time_seconds{{{own}}}"] == last, "a failed run does not forget the one before"


def test_metrics_without_a_folder_are_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no/m\.prom: the metrics cannot be written: No such file or directory$"):
        begin(parsed(["prep", "--metrics", str(tmp_path / "no" / "m.prom")]))


def test_a_line_of_json_for_each_stage_and_each_warning(capsys: pytest.CaptureFixture[str]) -> None:
    begin(parsed(["fit", "lstm", "--log", "json"]))
    assert not runs.run().shows

    def break_off() -> None:
        with runs.run().stage("LSTM", "2 ranks"):
            runs.run().step("epoch", 3, {"epoch": 3, "loss": 0.25, "validation_loss": float("inf")}, seconds=1.23456)
            logging.getLogger("hindcast.deep.ways.ranks").warning("rank %d is lost", 1)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    end("failed", 1, "it broke")
    logging.getLogger("hindcast.deep.ways.ranks").warning("nobody listens any more")
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [json.loads(line) for line in printed.err.splitlines() if line.startswith("{")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time")) for line in lines)
    began, stage, epoch, said, over, ended = lines
    assert (began["event"], began["command"]) == ("run", "fit lstm")
    assert stage == {"event": "begin", "stage": "LSTM", "about": "2 ranks"}
    numbers = {"epoch": 3, "loss": 0.25, "validation_loss": None}
    assert epoch == {"event": "stage", "stage": "epoch 3", "seconds": 1.235, "within": "LSTM", **numbers}
    assert said == {"event": "log", "level": "WARNING", "logger": "hindcast.deep.ways.ranks", "message": "rank 1 is lost"}
    assert (over["event"], over["stage"], over["state"]) == ("stage", "LSTM", "failed")
    assert (ended["event"], ended["state"], ended["error"]) == ("end", "failed", "it broke")
    assert not any(isinstance(handler, LogLines) for handler in logging.getLogger().handlers)
