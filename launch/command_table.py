"""The table of commands, with what the rest of `launch` has to know of each. A new command is a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hindcast.deep.ways.started import started_by_horovod
from hindcast.launch.kinds import KINDS
from hindcast.prep.errors import InputError


@dataclass(frozen=True)
class Command:
    """name      the word
    settings  whether fields of the settings can be given as options
    works     whether a run of it can be watched, and it can go through spark-submit
    fits      whether it fits models: the kind that is the word behind it, or else any
    by_kind   whether a kind of models is the word behind it
    """

    name: str
    settings: bool = True
    works: bool = True
    fits: bool = False
    by_kind: bool = False

    def title(self, words: Sequence[str]) -> str:
        """The title of a run: "compare", "fit lstm"."""
        return " ".join(words[: 2 if self.by_kind else 1])

    def packages(self, words: Sequence[str]) -> tuple[str, ...]:
        """The packages of the kinds of models that it fits, whose versions stand in the record of a run."""
        kinds = [KINDS[word] for word in words[1:2] if word in KINDS] if self.by_kind else KINDS.values() if self.fits else ()
        return tuple(dict.fromkeys(package for kind in kinds for package in kind.packages))

    def must_run_alone(self, words: Sequence[str]) -> None:
        """Raises InputError where horovodrun has started the command on several ranks, and it is no fit on ranks."""
        # A kind that there is not is the parser's to refuse, which says what kinds there are.
        if not started_by_horovod() or (self.by_kind and all(KINDS[word].on_ranks for word in words[1:2] if word in KINDS)):
            return
        ranks = ", ".join(f"fit {kind.name}" for kind in KINDS.values() if kind.on_ranks)
        raise InputError(f"{self.title(words)}: was started by horovodrun, which is for `{ranks}` alone: start it by itself")


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("doctor", works=False),
        Command("demo", fits=True),
        Command("draw", settings=False, works=False),
        Command("readings"),
        Command("prep"),
        Command("append"),
        Command("inspect", settings=False, works=False),
        Command("fit", fits=True, by_kind=True),
        Command("tune", fits=True),
        Command("forecast"),
        Command("compare", fits=True),
        Command("package", settings=False, works=False),
        Command("submit", settings=False, works=False),
    )
}
