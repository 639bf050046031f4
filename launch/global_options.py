"""The words of a command line, before the parser of commands: options that may stand anywhere are taken out of them here."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hindcast.launch.command_table import COMMANDS, Command
from hindcast.prep.errors import InputError

DASHES = "--"
DEBUG, HELP = "--debug", "--help"
# Who watches the run: the option, and the variable that says it where no option does.
WATCHERS = {"--run-dir": "HINDCAST_RUN_DIR", "--log": "HINDCAST_LOG", "--metrics": "HINDCAST_METRICS"}
FORMATS = ("text", "json")
# A field of the settings: a table, perhaps the name of an entrant, which may have letters of any language, and a field.
FIELD = re.compile(r"--([a-z_]+(\.[\w+-]+)*\.[a-z_]+)")


@dataclass(frozen=True)
class Watchers:
    """The options that have a run watched, of the command line or else of the environment.

    named   one of them that stood on the command line, if any did
    """

    run_dir: str | None = None
    log: str = "text"
    metrics: str | None = None
    named: str | None = None


@dataclass(frozen=True)
class Arguments:
    """line       all words but the options that have the run watched
    words      of the command, for its parser
    submitted  the dashes of `submit` and the command behind them, untouched
    fields     of the settings: "lstm.epochs" -> "3"
    unfinished the first field without a value
    helps      whether only the help of the command is printed
    command    None where there is none of that name
    """

    line: tuple[str, ...]
    words: tuple[str, ...]
    submitted: tuple[str, ...]
    fields: Mapping[str, str]
    unfinished: str | None
    watchers: Watchers
    debug: bool
    helps: bool
    command: Command | None

    @property
    def for_parser(self) -> list[str]:
        """The words and, behind further dashes, which the parser removes, the submitted command."""
        return [*self.words, DASHES, *self.submitted] if self.submitted else list(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        """The words that are no options: the command's own name first."""
        return tuple(word for word in self.words if not word.startswith("-"))

    def must_make_sense(self) -> None:
        """Raises InputError for a field without a value, and for a command that horovodrun started and that runs alone.

        It is called after the run has begun, so that its listeners get the error.
        """
        if self.helps:
            return
        if self.unfinished is not None:
            raise InputError(f"{self.unfinished}: a value is missing")
        if self.command is not None and self.command.works:
            self.command.must_run_alone(self.names)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Arguments:
    """Divides the words behind `hindcast`. Raises InputError for an option of watching without a value, and an unknown --log."""
    own, submitted = _divided(list(arguments))
    line, words, fields, watching = list[str](), list[str](), dict[str, str](), dict[str, str]()
    unfinished, rest = None, deque(own)
    while rest:
        word = rest.popleft()
        name, equals, text = word.partition("=")
        if name in WATCHERS:
            watching[name] = (text if equals else _following(rest)) or ""
            if not watching[name]:
                raise InputError(f"{name}: a value is missing")
        elif field := FIELD.fullmatch(name):
            value = text if equals else _following(rest)
            line += [word] if equals or value is None else [word, value]
            if value is None:
                unfinished = unfinished or name
            else:
                fields[field[1]] = value
        elif word != DEBUG:
            words.append(word)
            line.append(word)
    first = next((word for word in words if not word.startswith("-")), "")
    return Arguments(
        tuple(line),
        tuple(words),
        submitted,
        fields,
        unfinished,
        _watchers(watching, environment),
        DEBUG in own,
        HELP in words,
        COMMANDS.get(first),
    )


def _divided(arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """For `submit`, the words before the dashes and the rest; for another command, all words and nothing."""
    place = arguments.index(DASHES) if DASHES in arguments else len(arguments)
    if next((word for word in arguments[:place] if word != DEBUG), None) != "submit":
        return arguments, ()
    return arguments[:place], tuple(arguments[place:])


def _following(words: deque[str]) -> str | None:
    """The value of an option: the next word, where that is no option itself."""
    return words.popleft() if words and not words[0].startswith("--") else None


def _watchers(options: Mapping[str, str], environment: Mapping[str, str]) -> Watchers:
    values = {name: options.get(name) or environment.get(variable) or None for name, variable in WATCHERS.items()}
    log = values["--log"] or "text"
    if log not in FORMATS:
        where = "--log" if "--log" in options else WATCHERS["--log"]
        raise InputError(f"{where} {log}: expected one of {', '.join(FORMATS)}")
    return Watchers(values["--run-dir"], log, values["--metrics"], next(iter(options), None))
