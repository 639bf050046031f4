"""The words of a command line are told apart wherever they stand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hindcast.launch.cli.main import main
from hindcast.launch.command_table import COMMANDS
from hindcast.launch.global_options import Watchers, parse
from hindcast.prep.errors import InputError


def test_fields_watchers_and_debug_are_taken_wherever_they_stand() -> None:
    words = ["--debug", "prep", "--windows.horizon", "96", "a.toml", "--log=json", "--lstm.epochs=3", "--out", "b"]
    words += ["--grid.step=1h", "--entrants.wide-2.units", "-1", "--metrics", "m.prom"]
    found = parse(words, {})
    assert found.words == ("prep", "a.toml", "--out", "b")
    assert found.fields == {"windows.horizon": "96", "lstm.epochs": "3", "grid.step": "1h", "entrants.wide-2.units": "-1"}
    assert found.watchers == Watchers(None, "json", "m.prom", "--log")
    assert (found.debug, found.helps, found.command) == (True, False, COMMANDS["prep"])
    assert found.names == ("prep", "a.toml", "b")
    assert found.for_parser == ["prep", "a.toml", "--out", "b"]
    # What a run's record says was typed: who watches is told elsewhere.
    assert found.line == tuple(word for word in words if word not in ("--debug", "--log=json", "--metrics", "m.prom"))


def test_the_environment_speaks_where_no_option_does() -> None:
    environment = {"HINDCAST_RUN_DIR": "s3://runs", "HINDCAST_LOG": "json"}
    assert parse(["prep"], environment).watchers == Watchers("s3://runs", "json", None, None)
    assert parse(["prep", "--log", "text"], environment).watchers == Watchers("s3://runs", "text", None, "--log")
    blank = dict.fromkeys(("HINDCAST_RUN_DIR", "HINDCAST_LOG", "HINDCAST_METRICS"), "")
    assert parse(["prep"], blank).watchers == Watchers()
    with pytest.raises(InputError, match=r"^HINDCAST_LOG xml: expected one of text, json$"):
        parse(["prep"], {"HINDCAST_LOG": "xml"})
    with pytest.raises(InputError, match=r"^--log xml: expected one of text, json$"):
        parse(["prep", "--log", "xml"], {})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["prep", "--run-dir"], "--run-dir"),
        (["prep", "--run-dir", "--overwrite"], "--run-dir"),
        (["prep", "--run-dir="], "--run-dir"),
        (["prep", "--run-dir", ""], "--run-dir"),
        (["prep", "--windows.horizon"], "--windows.horizon"),
        (["prep", "--windows.horizon", "--overwrite", "--grid.step"], "--windows.horizon"),
        (["--windows.horizon"], "--windows.horizon"),
    ],
)
def test_a_value_that_is_missing_is_named(words: list[str], name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: a value is missing$"):
        parse(words, {}).must_make_sense()


def test_an_option_is_not_the_value_of_a_field() -> None:
    found = parse(["prep", "a", "--windows.horizon", "--run-dir", "r", "b", "--grid.step", "--debug"], {})
    assert (found.words, found.watchers.run_dir, found.debug) == (("prep", "a", "b"), "r", True)
    assert (found.fields, found.unfinished) == ({}, "--windows.horizon")
    assert found.line == ("prep", "a", "--windows.horizon", "b", "--grid.step")
    # Behind = anything is.
    assert parse(["prep", "--readings.path=--a=b", "--grid.fill="], {}).fields == {"readings.path": "--a=b", "grid.fill": ""}


def test_a_field_of_an_entrant_may_have_a_name_that_only_its_user_could_write() -> None:
    words = ["compare", "d.seq", "--entrants.Größe_2+.partitions.models=series", "--Entrants.x", "1", "--lstm.epochs", "3"]
    found = parse([*words, "--lstm.epochs", "4"], {})
    assert found.fields == {"entrants.Größe_2+.partitions.models": "series", "lstm.epochs": "4"}
    assert found.words == ("compare", "d.seq", "--Entrants.x", "1")


def test_a_command_is_found_behind_fields_and_options() -> None:
    found = parse(["--lstm.epochs", "3", "--log", "json", "fit", "--run-dir", "r", "lstm", "d.seq"], {})
    assert (found.command, found.names) == (COMMANDS["fit"], ("fit", "lstm", "d.seq"))


def test_what_is_submitted_stays_as_it_is() -> None:
    command = ["--", "fit", "hmm", "--debug", "--hmm.states", "3", "--log", "json", "--", "x"]
    found = parse(["submit", "--master", "spark://host:7077", "--log=json", *command], {})
    assert found.submitted == tuple(command)
    assert found.words == ("submit", "--master", "spark://host:7077")
    # The parser takes the first dashes away.
    assert found.for_parser == ["submit", "--master", "spark://host:7077", "--", *command]
    assert (found.debug, found.fields, found.watchers.named) == (False, {}, "--log")
    assert parse(["--debug", "submit"], {}).submitted == ()
    # Of any other command, dashes are words.
    other = parse(["prep", "--", "--windows.horizon", "3"], {})
    assert (other.submitted, other.fields) == ((), {"windows.horizon": "3"})


def test_a_command_that_there_is_not_is_left_to_the_parser() -> None:
    assert parse(["train", "x"], {}).command is None
    assert parse([], {}).command is None
    assert parse(["fit", "hmm", "--help"], {}).helps


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["hindcast", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_what_is_wrong_with_a_command_line_is_told_to_who_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_of(line: str, folder: Path) -> str:
        assert run(f"{line} --run-dir {folder}", monkeypatch) == 2
        (file,) = folder.glob("*/run.json")
        record = json.loads(file.read_text())
        assert (record["state"], record["command_line"]) == ("failed", f"hindcast {line}")
        return str(record["error"])

    assert error_of("prep a.toml b.seq --windows.horizon", tmp_path / "a") == "--windows.horizon: a value is missing"
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    assert error_of("prep a.toml b.seq", tmp_path / "b").startswith("prep: was started by horovodrun")


@pytest.mark.parametrize("line", ["prep a b --log xml", "prep a b --lstm.units"])
def test_debug_shows_where_a_command_line_was_refused(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, shown in (("", False), (" --debug", True)):
        assert run(line + more, monkeypatch) == 2
        printed = capsys.readouterr().err
        assert printed.splitlines()[-1].startswith("hindcast: --l")
        assert ("Traceback" in printed) == shown


def test_an_unknown_command_is_the_parsers_to_refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fly --lstm.epochs 3 --run-dir r", monkeypatch) == 2
    assert "No such command 'fly'" in capsys.readouterr().err


def test_who_asks_for_help_gets_it_and_it_names_the_commands_that_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parse(["fit", "hmm", "--help", "--hmm.states"], {}).must_make_sense()
    monkeypatch.setenv("COLUMNS", "200")
    for line, before in (("--help", "Watching, of "), ("submit --help", "Commands: ")):
        assert run(line, monkeypatch) == 0
        assert f"{before}{', '.join(name for name, command in COMMANDS.items() if command.works)}" in capsys.readouterr().out
