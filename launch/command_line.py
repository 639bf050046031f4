"""The words of a command line, before the parser of commands sees them: what may stand anywhere in it is taken out here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from launch.commands import COMMANDS, Command
from prep.errors import InputError

DASHES = "--"
DEBUG, HELP = "--debug", "--help"
# Who watches the run: the option, and the variable that says it where no option does.
WATCHERS = {"--run-dir": "HINDCAST_RUN_DIR", "--log": "HINDCAST_LOG", "--metrics": "HINDCAST_METRICS"}
FORMATS = ("text", "json")
# A field of the settings: a table, perhaps the name of an entrant, and a field.
FIELD = re.compile(r"--([a-z_]+(\.[A-Za-z0-9_+-]+)*\.[a-z_]+)")


@dataclass(frozen=True)
class Watchers:
    """What was asked for on the command line, or else by the environment; `named`: an option that stood on the command line."""

    run_dir: str | None = None
    log: str = "text"
    metrics: str | None = None
    named: str | None = None


@dataclass(frozen=True)
class Arguments:
    """line       the words as they were given, but for what says who watches
    words      of the command, for its parser
    submitted  what stands behind the dashes of `submit`, them included: another command, left as it is
    fields     of the settings: "lstm.epochs" -> "3"
    helps      whether the command is only to say what it takes
    command    None where there is none of that name
    """

    line: tuple[str, ...]
    words: tuple[str, ...]
    submitted: tuple[str, ...]
    fields: Mapping[str, str]
    watchers: Watchers
    debug: bool
    helps: bool
    command: Command | None

    @property
    def for_parser(self) -> list[str]:
        """The words, and behind dashes, of which it takes the first away, what is submitted."""
        return [*self.words, DASHES, *self.submitted] if self.submitted else list(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        """The words that are no options: the command's own name first."""
        return tuple(word for word in self.words if not word.startswith("-"))


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Arguments:
    """Takes apart what follows `hindcast`. Raises InputError for an option whose value is missing, or an unknown --log."""
    own, submitted = _divided(list(arguments))
    line, words, fields, watching = list[str](), list[str](), dict[str, str](), dict[str, str]()
    rest = iter(own)
    for word in rest:
        name, equals, text = word.partition("=")
        if name in WATCHERS:
            watching[name] = _value(name, equals, text, rest, may_be_option=False)
        elif field := FIELD.fullmatch(name):
            fields[field[1]] = _value(name, equals, text, rest, may_be_option=True)
            line += [word] if equals else [word, fields[field[1]]]
        elif word != DEBUG:
            words.append(word)
            line.append(word)
    first = next((word for word in words if not word.startswith("-")), "")
    return Arguments(
        tuple(line),
        tuple(words),
        submitted,
        fields,
        _watchers(watching, environment),
        DEBUG in own,
        HELP in words,
        COMMANDS.get(first),
    )


def _divided(arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Of `submit`, what stands before the dashes, and the rest; of another command, all of it."""
    place = arguments.index(DASHES) if DASHES in arguments else len(arguments)
    if next((word for word in arguments[:place] if word != DEBUG), None) != "submit":
        return arguments, ()
    return arguments[:place], tuple(arguments[place:])


def _value(name: str, equals: str, text: str, rest: Iterator[str], may_be_option: bool) -> str:
    value = text if equals else next(rest, None)
    missing = value is None or (not may_be_option and (not value or (not equals and value.startswith("--"))))
    if missing or value is None:
        raise InputError(f"{name}: a value is missing")
    return value


def _watchers(given: Mapping[str, str], environment: Mapping[str, str]) -> Watchers:
    told = {name: given.get(name) or environment.get(variable) for name, variable in WATCHERS.items()}
    log = told["--log"] or "text"
    if log not in FORMATS:
        where = "--log" if "--log" in given else WATCHERS["--log"]
        raise InputError(f"{where} {log}: expected one of {', '.join(FORMATS)}")
    return Watchers(told["--run-dir"], log, told["--metrics"], next(iter(given), None))
