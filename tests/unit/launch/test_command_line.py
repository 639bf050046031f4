"""The words of a command line are told apart wherever they stand."""

from __future__ import annotations

import pytest

from launch.command_line import Watchers, parse
from launch.commands import COMMANDS
from prep.errors import InputError


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
        (["prep", "--windows.horizon"], "--windows.horizon"),
    ],
)
def test_a_value_that_is_missing_is_named(words: list[str], name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: a value is missing$"):
        parse(words, {})


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
