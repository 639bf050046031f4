"""requirements/install.sh: what it refuses, and what it repeats. The whole of it runs in tests/release."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTS = {name: (ROOT / f"requirements/debian-{name}.txt").read_text().split() for name in ("build", "run")}


def script(folder: Path, body: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text(f"#!/bin/sh\n{body}\n")
    folder.chmod(0o755)


def install(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "requirements/install.sh"), *map(str, arguments)]
    chosen = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=chosen, timeout=300)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for the front of the PATH, with a compiler and make in it whatever the machine has."""
    for name in ("g++", "make"):
        script(tmp_path / "tools" / name, "exit 0")
    return tmp_path / "tools"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose Python writes down what it is asked for, fails where FAILS_AT says, and has installed INSTALLED."""
    script(
        tmp_path / "venv/bin/python",
        'printf "%s\\n" "$*" >> "$0.asked"\n'
        'case "$*" in *"show -qq $INSTALLED") exit 0 ;; *"show -qq"*) exit 1 ;; esac\n'
        'case "$*" in *"${FAILS_AT:-nowhere}"*) exit 1 ;; esac',
    )
    return tmp_path / "venv"


def asked(venv: Path) -> str:
    """What the environment's pip was asked to install or remove since the last look, by their last words."""
    file = venv / "bin/python.asked"
    lines = [line for line in file.read_text().splitlines() if " install " in line or " uninstall " in line]
    file.unlink()
    return " ".join(line.split()[-1] for line in lines)


def test_an_unknown_profile_is_refused_in_a_line_and_nothing_is_made(tmp_path: Path) -> None:
    ran = install(tmp_path / "venv", "cuda")
    assert ran.returncode == 1
    assert re.fullmatch(r"hindcast: no profile 'cuda': it is runtime, dev or gpu, [^\n]*\n", ran.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("full", "profile", "needed"), [("venv", "runtime", 3500), ("venv", "gpu", 7000), ("temporary", "gpu", 3000)]
)
def test_too_little_space_is_found_before_anything_is_made(
    tmp_path: Path, tools: Path, full: str, profile: str, needed: int
) -> None:
    (tmp_path / "temporary").mkdir()
    where = tmp_path if full == "venv" else tmp_path / "temporary"
    free = f'[ "$2" = {where} ] && kib=2047999 || kib=999999999; printf "Filesystem\\nnone 0 0 $kib\\n"'
    script(tools / "df", free)
    ran = install(tmp_path / "venv", profile, PATH=f"{tools}:/usr/bin:/bin", TMPDIR=str(tmp_path / "temporary"))
    assert ran.returncode == 1
    assert ran.stderr == f"hindcast: no space: 1999 MiB are free in {where}, and {needed} MiB are needed\n"
    assert not (tmp_path / "venv").exists()


def test_another_python_and_no_uv_is_said_in_a_line(tmp_path: Path, tools: Path) -> None:
    script(tools / "df", 'printf "Filesystem\\nnone 0 0 999999999\\n"')
    script(tools / "python3.10", "exit 1")
    ran = install(tmp_path / "venv", PATH=f"{tools}:/usr/bin:/bin", PYTHON="python3.10")
    assert ran.returncode == 1
    assert re.fullmatch(r"hindcast: Python 3\.11 is needed, and [^\n]* was found\. [^\n]*\n", ran.stderr)


def test_what_was_done_is_not_done_again_and_what_was_interrupted_is(venv: Path, tools: Path) -> None:
    path = f"{tools}:/usr/bin:/bin"
    assert install(venv, PATH=path, FAILS_AT="horovod.txt").returncode == 1
    assert asked(venv) == "requirements/runtime.txt requirements/horovod.txt"
    assert install(venv, PATH=path).returncode == 0
    assert asked(venv) == "requirements/horovod.txt ."
    assert install(venv, "dev", PATH=path).returncode == 0
    assert asked(venv) == "requirements/dev.txt"


def test_the_other_tensorflow_goes_before_this_one_comes_also_after_an_interruption(venv: Path, tools: Path) -> None:
    path = f"{tools}:/usr/bin:/bin"
    assert install(venv, PATH=path).returncode == 0
    asked(venv)
    assert install(venv, "gpu", PATH=path, INSTALLED="tensorflow-cpu", FAILS_AT="gpu.txt").returncode == 1
    assert asked(venv) == "tensorflow-cpu requirements/gpu.txt"
    assert install(venv, PATH=path, INSTALLED="tensorflow").returncode == 0
    assert asked(venv) == "tensorflow requirements/runtime.txt"  # Horovod's is there again
    assert install(venv, "gpu", PATH=path, INSTALLED="tensorflow-cpu").returncode == 0
    assert asked(venv) == "tensorflow-cpu requirements/gpu.txt requirements/horovod.txt"


def test_the_debian_packages_are_named_in_one_place() -> None:
    readme, image = (ROOT / "README.md").read_text(), (ROOT / "docker/Dockerfile").read_text()
    (named,) = re.findall(r"^apt-get install (.*)$", readme, re.MULTILINE)
    assert named.split() == [*LISTS["build"], "git"]
    assert image.count("xargs -a") == len(LISTS)
    assert all(f"debian-{name}.txt" in image for name in LISTS)
