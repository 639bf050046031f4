"""`hindcast draw`: made-up readings, to try Hindcast on where there are none of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import must_be_file, refuse_taken
from hindcast.prep.synthetic import fleet, transformer

SENSORS, HOURS, SEED = 24, 2400, 7


@dataclass(frozen=True)
class Subject:
    """What readings are of.

    steps  hours that are drawn unless another number is asked for
    write  steps, skip, seed, file -> None: the hours that follow the first `skip`
    """

    steps: int
    write: Callable[[int, int, int, Path], None]


def draw_readings(subject: str, out: Path, steps: int | None, skip: int, seed: int, overwrite: bool) -> int:
    """Writes readings of one of SUBJECTS as CSV, and returns how many hours they are.

    Raises InputError for another subject, a file that is there already, or is no .csv, and for numbers that are too small.
    """
    if subject not in SUBJECTS:
        raise InputError(f"draw {subject}: expected one of {', '.join(SUBJECTS)}")
    if out.suffix != ".csv":
        raise InputError(f"{out}: expected a name that ends in .csv")
    chosen = SUBJECTS[subject]
    hours = chosen.steps if steps is None else steps
    for name, number, least in (("steps", hours, 1), ("skip", skip, 0), ("seed", seed, 0)):
        if number < least:
            raise InputError(f"--{name} {number}: expected {least} or more")
    refuse_taken(out, overwrite, must_be_file)
    chosen.write(hours, skip, seed, out)
    return hours


def _fleet(steps: int, skip: int, seed: int, out: Path) -> None:
    fleet.write_readings(fleet.draw(SENSORS, steps, seed, skip), out, None, seed + skip)


def _transformer(steps: int, skip: int, seed: int, out: Path) -> None:
    transformer.write_readings(transformer.draw(steps, seed, skip), skip, out)


SUBJECTS = {"fleet": Subject(HOURS, _fleet), "transformer": Subject(transformer.HOURS, _transformer)}
