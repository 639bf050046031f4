"""The table of commands is of the commands that there are."""

from __future__ import annotations

import pytest
import typer.main

from hindcast.launch.cli.commands import app
from hindcast.launch.command_table import COMMANDS
from hindcast.launch.global_options import parse
from hindcast.launch.kinds import KINDS
from hindcast.prep.errors import InputError


def test_every_command_is_in_the_table_and_the_other_way_round() -> None:
    group = typer.main.get_command(app)
    assert set(group.commands) == set(COMMANDS)  # type: ignore[attr-defined]
    assert set(group.commands["fit"].commands) == set(KINDS)  # type: ignore[attr-defined]


def test_what_works_is_told_from_what_does_not_and_what_has_settings_from_what_has_none() -> None:
    assert {name for name, command in COMMANDS.items() if not command.works} == {
        "doctor", "draw", "inspect", "package", "submit",
    }  # fmt: skip
    assert {name for name, command in COMMANDS.items() if not command.settings} == {"draw", "inspect", "package", "submit"}
    assert [name for name, command in COMMANDS.items() if command.fits] == ["demo", "fit", "tune", "compare"]


def test_a_run_is_called_by_its_command_and_the_kind_that_it_fits() -> None:
    assert COMMANDS["fit"].title(["fit", "hmm", "d.seq"]) == "fit hmm"
    assert COMMANDS["compare"].title(["compare", "d.seq"]) == "compare"


def test_a_record_holds_the_packages_of_the_kinds_that_a_command_fits() -> None:
    assert COMMANDS["fit"].packages(["fit", "hmm"]) == KINDS["hmm"].packages
    assert COMMANDS["fit"].packages(["fit", "lstm"]) == KINDS["lstm"].packages
    assert set(COMMANDS["compare"].packages(["compare"])) == {package for kind in KINDS.values() for package in kind.packages}
    assert COMMANDS["prep"].packages(["prep"]) == ()


def test_of_several_processes_only_what_trains_on_ranks_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    COMMANDS["compare"].must_run_alone(["compare"])
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    COMMANDS["fit"].must_run_alone(["fit", "lstm"])
    for words in (["doctor"], ["inspect", "d.seq"], ["fit", "hmm", "--help"], ["fly"]):
        parse(words, {}).must_make_sense()
    COMMANDS["fit"].must_run_alone(["fit", "forest"])  # the parser names the kinds that there are
    for words in (["fit", "hmm"], ["compare"], ["prep"]):
        with pytest.raises(InputError, match=rf"^{' '.join(words)}: was started by horovodrun, which is for `fit lstm` alone"):
            COMMANDS[words[0]].must_run_alone(words)
