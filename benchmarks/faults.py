"""How often what dies leaves nothing lost: the tests that kill, cut off and fill, again and again, on a machine that others use.

    python benchmarks/faults.py [--rounds 3] [--load 2] [--only EXPRESSION]

    --load     processes that do nothing but use a core each
    --only     those of the tests that pytest's -k names so, such as "em and not disk"

Prints what every failure said, and at the end for each test how often it passed, of how often it ran, and its longest seconds.
With status 1 where one failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
TESTS = [f"tests/cluster/test_{name}.py" for name in ("lost_processes", "lost_host", "full_disk")]
SPIN = "while True: pass"
ROUND_SECONDS = 2 * 3600
SHOWN = 4000  # characters of a failure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, default=2)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    every = dict[str, list[Result]]()
    with ExitStack() as stack:
        stack.callback(show, every)
        for _ in range(asked.load):
            stack.callback(subprocess.Popen([sys.executable, "-c", SPIN]).kill)
        for number in range(asked.rounds):
            for test, result in ran(asked.only).items():
                every.setdefault(test, []).append(result)
                if result.failure is not None:
                    print(f"round {number + 1}, {test}:\n{result.failure[-SHOWN:]}", flush=True)
    raise SystemExit(any(result.failure is not None for results in every.values() for result in results))


@dataclass(frozen=True)
class Result:
    """Of a test in a round. `failure`: what it said, if it failed."""

    seconds: float
    skipped: bool
    failure: str | None


def ran(only: str) -> dict[str, Result]:
    """A round, by the names of the tests."""
    with tempfile.TemporaryDirectory() as scratch:
        place, log = Path(scratch) / "results.xml", Path(scratch) / "log"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={place}", "-k", only, *TESTS]
        with log.open("w") as out:
            pytest = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                pytest.wait(ROUND_SECONDS)
            finally:
                if pytest.poll() is None:
                    os.killpg(pytest.pid, signal.SIGKILL)  # and masters, workers and drivers
        if not place.is_file():
            raise SystemExit(f"pytest wrote no results:\n{log.read_text()[-SHOWN:]}")
        found = dict[str, Result]()
        for case in ElementTree.parse(place).iter("testcase"):  # a test and its end may fail each
            said = [part.text or "" for kind in ("failure", "error") for part in case.iter(kind)]
            if said or case.attrib["name"] not in found:
                skipped = case.find("skipped") is not None
                found[case.attrib["name"]] = Result(float(case.attrib["time"]), skipped, "\n".join(said) if said else None)
    if not found:
        raise SystemExit(f"no test is named by {only!r}")
    return found


def show(every: Mapping[str, Sequence[Result]]) -> None:
    for test, results in every.items():
        run = [result for result in results if not result.skipped]
        passed = sum(result.failure is None for result in run)
        longest = max((result.seconds for result in run), default=0.0)
        print(f"{passed} of {len(run)}  {longest:5.0f} s  {test}" if run else f"skipped          {test}")


if __name__ == "__main__":
    main()
